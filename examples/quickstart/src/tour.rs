//! The tour: the calls of a container runtime for a network, from the first ADD to the last DEL.

use crate::{
    error::Error,
    leftovers,
    outside::Outside,
    screen::{Screen, millis},
};
use cni_runtime::{Added, Asked, Cache, Event, Network, Parameters, Runtime};
use sandbox::{Netns, probe::ping};
use std::{
    io::Read,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const CONFLIST: &str = include_str!("../network.conflist");
const TIMEOUT: Duration = Duration::from_secs(2);

/// A pod: its namespace, and the result of its ADD.
struct Pod {
    name: &'static str,
    netns: Netns,
    parameters: Parameters,
    added: Added,
}

/// The state of the tour.
struct Tour<'a> {
    screen: &'a mut Screen,
    runtime: Runtime,
    network: Network,
    outside: Outside,
    events: Arc<Mutex<Vec<Event>>>,
}

/// Runs all steps. An error ends the tour; after a failed check it goes on.
pub(crate) fn run(screen: &mut Screen, plugins: &Path, keep: bool) -> Result<(), Error> {
    let outside = Outside::create()?;
    for (ours, theirs) in &outside.addresses {
        screen.ok(&format!(
            "made an outside host {theirs}, on one link with this host, {ours}"
        ));
    }
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&events);
    let runtime = Runtime::new(&[plugins], Cache::of_system()).on_exit(move |event| {
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event.clone())
    });
    let network = Network::parse(CONFLIST.as_bytes())?;
    let mut tour = Tour {
        screen,
        runtime,
        network,
        outside,
        events,
    };
    tour.screen
        .title("ADD: two pods join the network (loopback, then bridge with host-local)");
    let a = tour.add("pod-a")?;
    let b = tour.add("pod-b")?;
    tour.reach(&a, &b);
    tour.check(&[&a, &b]);
    tour.status();
    if keep {
        tour.wait(&[&a, &b]);
    }
    tour.collect(&a, &b)?;
    tour.delete(&b);
    tour.prove(&[&a, &b])
}

impl Tour<'_> {
    fn add(&mut self, name: &'static str) -> Result<Pod, Error> {
        let netns = Netns::create(name)?;
        let parameters = Parameters::new(name, "eth0", &netns.path().display().to_string())?;
        let added = self
            .runtime
            .add(&self.network, &parameters)
            .inspect_err(|_| self.show_log())?;
        let steps: Vec<String> = self
            .take_events()
            .iter()
            .map(|event| format!("{} {}", event.plugin, millis(event.duration)))
            .collect();
        self.screen.ok(&format!("{name}   {}", steps.join(", ")));
        for interface in &added.result.interfaces {
            let place = if interface.sandbox.is_empty() {
                "host"
            } else {
                name
            };
            self.screen.detail(&format!(
                "{place:<6} {:<13} {}",
                interface.name, interface.mac
            ));
        }
        for ip in &added.result.ips {
            let gateway = ip
                .gateway
                .map(|gateway| format!("gateway {gateway}"))
                .unwrap_or_default();
            self.screen
                .detail(format!("{:<20} {:<20} {gateway}", "", ip.address.to_string()).trim_end());
        }
        Ok(Pod {
            name,
            netns,
            parameters,
            added,
        })
    }

    fn reach(&mut self, a: &Pod, b: &Pod) {
        self.screen.title("Pings: every pair, IPv4 and IPv6");
        for address in b.addresses() {
            self.ping(a, "pod-b", address);
        }
        for address in a.addresses() {
            self.ping(b, "pod-a", address);
        }
        for gateway in a.gateways() {
            self.ping(a, "gateway", gateway);
        }
        for (ours, theirs) in self.outside.addresses.clone() {
            self.ping(a, "outside", theirs);
            let seen = a
                .netns
                .run(|| self.outside.reflector.seen_source(theirs, TIMEOUT));
            let text = format!("{}  arrives from ", route(a, "outside", theirs));
            match seen {
                Ok(Ok(source)) if source == ours => {
                    self.screen.ok(&format!("{text}{source}, this host's own"))
                }
                Ok(Ok(source)) => self
                    .screen
                    .failed(&format!("{text}{source}, expected {ours}")),
                Ok(Err(e)) => self.screen.failed(&format!("{text}no address: {e}")),
                Err(e) => self.screen.failed(&e.to_string()),
            }
        }
    }

    fn ping(&mut self, from: &Pod, name: &str, to: IpAddr) {
        let text = format!("{}  ", route(from, name, to));
        match from.netns.run(|| ping(to, TIMEOUT)) {
            Ok(answer) => self.screen.result(&text, answer.map(millis)),
            Err(e) => self.screen.failed(&format!("{text}{e}")),
        }
    }

    fn check(&mut self, pods: &[&Pod]) {
        self.screen.title("CHECK: every pod is as ADD left it");
        for pod in pods {
            let outcome = self.runtime.check(&self.network, &pod.parameters);
            let outcome = outcome.map(|asked| self.describe(asked));
            self.screen.result(&format!("{}   ", pod.name), outcome);
        }
    }

    fn status(&mut self) {
        self.screen.title("STATUS: the network accepts more pods");
        let outcome = self
            .runtime
            .status(&self.network)
            .map(|asked| self.describe(asked));
        self.screen.result("", outcome);
    }

    /// Returns the plugins that were called, with their times.
    fn describe(&self, asked: Asked) -> String {
        let steps: Vec<String> = self
            .take_events()
            .iter()
            .map(|event| format!("{} {}", event.plugin, millis(event.duration)))
            .collect();
        match asked {
            Asked::All => steps.join(", "),
            Asked::None(reason) => format!("not called: {reason}"),
        }
    }

    /// Removes a pod from the cache without a DEL, as after a crash. GC must free its resources.
    fn collect(&mut self, lost: &Pod, kept: &Pod) -> Result<(), Error> {
        self.screen.title(&format!(
            "GC: {} ended without a DEL, only {} is valid",
            lost.name, kept.name
        ));
        self.runtime
            .cache()
            .remove(&self.network.name, &lost.parameters)?;
        let valid = [(kept.name.to_owned(), "eth0".to_owned())];
        match self.runtime.gc(&self.network, &valid) {
            Ok(asked) => {
                let text = self.describe(asked);
                self.screen.ok(&text);
            }
            Err(errors) => errors
                .iter()
                .for_each(|e| self.screen.failed(&e.to_string())),
        }
        let of_kept: Vec<String> = kept
            .addresses()
            .map(|address| address.to_string())
            .collect();
        self.none(
            "interface of the lost pod",
            leftovers::pod_interfaces(&lost.netns),
        );
        self.same("addresses kept", leftovers::reservations(), &of_kept);
        self.none(
            "masquerade rule of the lost pod",
            leftovers::masquerade_rules().map(|rules| only_naming(&rules, lost.name)),
        );
        for (_, theirs) in self.outside.addresses.clone() {
            self.ping(kept, "outside", theirs);
        }
        Ok(())
    }

    fn delete(&mut self, pod: &Pod) {
        self.screen.title(&format!("DEL: {} ends", pod.name));
        let outcome = self
            .runtime
            .del(&self.network, &pod.parameters)
            .map(|()| self.describe(Asked::All));
        self.screen.result("", outcome);
        let again = self
            .runtime
            .del(&self.network, &pod.parameters)
            .map(|()| self.describe(Asked::All));
        self.screen.result("repeated: ", again);
    }

    fn prove(&mut self, pods: &[&Pod]) -> Result<(), Error> {
        self.screen.title("Nothing is left");
        self.none("veth on the host", leftovers::host_interfaces());
        self.screen
            .detail("(the bridge stays for the next pod: DEL never removes it)");
        for pod in pods {
            self.none(
                &format!("interface in {}", pod.name),
                leftovers::pod_interfaces(&pod.netns),
            );
        }
        self.none("reserved address", leftovers::reservations());
        self.none("masquerade rule", leftovers::masquerade_rules());
        let cached = self.runtime.cache().attachments()?;
        self.none(
            "cached result",
            Ok(cached
                .iter()
                .map(|c| c.parameters.container_id.to_string())
                .collect()),
        );
        Ok(())
    }

    fn none(&mut self, what: &str, found: Result<Vec<String>, Error>) {
        match found {
            Ok(found) if found.is_empty() => self.screen.ok(&format!("no {what}")),
            Ok(found) => self
                .screen
                .failed(&format!("expected no {what}, found {}", found.join(", "))),
            Err(e) => self.screen.failed(&format!("{what}: {e}")),
        }
    }

    fn same(&mut self, what: &str, found: Result<Vec<String>, Error>, wanted: &[String]) {
        match found {
            Ok(found) if found == wanted => {
                self.screen.ok(&format!("{what}: {}", found.join(", ")))
            }
            Ok(found) => {
                self.screen.failed(&format!(
                    "{what}: found {}, expected {}",
                    found.join(", "),
                    wanted.join(", ")
                ));
            }
            Err(e) => self.screen.failed(&format!("{what}: {e}")),
        }
    }

    /// Keeps the pods until Enter is pressed. After Ctrl-C, everything ends with the process.
    fn wait(&self, pods: &[&Pod]) {
        let pid = std::process::id();
        let enter = format!("nsenter -t {pid} -U --preserve-credentials -m");
        self.screen
            .title("The pods are kept. Enter them from another terminal:");
        self.screen.text(&format!("  host    {enter} -n\n"));
        for pod in pods {
            let path = pod.netns.path().display();
            self.screen.text(&format!(
                "  {:<6}  {enter} --net=/proc/{pid}/root{path}\n",
                pod.name
            ));
        }
        self.screen
            .text("\nPress Enter to clean up. Ctrl-C ends the tour, and leaves nothing either.\n");
        if matches!(std::io::stdin().read(&mut [0]), Ok(0) | Err(_)) {
            // Without a terminal nobody can press Enter; a signal ends the process.
            loop {
                std::thread::park();
            }
        }
    }

    fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows the logs of the plugins before one of them failed.
    fn show_log(&self) {
        for event in self.take_events() {
            event
                .stderr
                .lines()
                .for_each(|line| self.screen.detail(&format!("{}: {line}", event.plugin)));
        }
    }
}

impl Pod {
    /// Returns the addresses by which others reach the pod; the result may also have those of `lo`.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.added
            .result
            .ips
            .iter()
            .map(|ip| ip.address.address())
            .filter(|address| !address.is_loopback())
    }

    fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.added.result.ips.iter().filter_map(|ip| ip.gateway)
    }
}

fn route(from: &Pod, to: &str, address: IpAddr) -> String {
    format!("{} -> {to:<7}  {:<15}", from.name, address.to_string())
}

/// Returns the rules whose comment names the pod.
fn only_naming(rules: &[String], name: &str) -> Vec<String> {
    rules
        .iter()
        .filter(|comment| comment.contains(&format!("id: {name}")))
        .cloned()
        .collect()
}
