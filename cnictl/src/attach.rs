//! ADD, CHECK and DEL of one attachment, with the container id, arguments and cache of cnitool.

use crate::{
    arguments::{Arguments, Request},
    failure::Failure,
    networks,
    screen::{Screen, indented},
    trace,
};
use cni_runtime::{Asked, CachedAttachment, Error, Network, Parameters};
use cni_types::{AddResult, Command, Environment, Json, NetworkName, hash::sha512_hex};
use std::path::{Component, Path, PathBuf};

/// Carries out ADD, CHECK or DEL of one attachment and prints the outcome.
///
/// # Errors
/// Fails with a plugin's error, or if the request was refused before any plugin was run.
pub(crate) fn attachment(
    arguments: &Arguments,
    environment: &Environment,
    screen: &Screen,
) -> Result<(), Failure> {
    let Request::Attachment {
        command,
        network,
        netns,
        id,
        if_name,
    } = &arguments.request
    else {
        return Ok(());
    };
    refuse_a_bare_name(netns)?;
    let netns = absolute(netns)?;
    let own_id = id.clone().unwrap_or_else(|| container_id(&netns));
    let mut parameters = Parameters::new(&own_id, if_name, &netns)?;
    let cached = if *command == Command::Add {
        None
    } else {
        cached(arguments, network, &parameters)
    };
    if *command != Command::Add && cached.is_none() {
        refuse_foreign_attachment(arguments, *command, network, &parameters, id.is_some())?;
    }
    set_arguments(&mut parameters, environment, cached.as_ref())?;
    let network = networks::find_or_cached(&arguments.paths, network, cached.as_ref(), screen)?;
    networks::refuse_self_delegation(&network)?;
    let runtime = trace::runtime(arguments);
    match command {
        Command::Check => {
            let outcome = runtime.check(&network, &parameters)?;
            print_outcome(outcome, &intact(&network, &parameters), screen);
        }
        Command::Del => {
            runtime.del(&network, &parameters)?;
            let what = if cached.is_some() {
                "detached"
            } else {
                "nothing to detach: the cache has no such attachment"
            };
            print_outcome(Asked::All, what, screen);
        }
        _ => match runtime.add(&network, &parameters) {
            Ok(added) => show(&added.json, &network.name, &parameters, screen),
            Err(e) => {
                hint_at_remains(&network, &parameters, &e, id.is_some(), screen);
                return Err(e.into());
            }
        },
    }
    Ok(())
}

/// Prints the command for the DEL that must follow a failed ADD (spec section 2), if a plugin
/// before the failed one had succeeded. The user must run it: `cnictl` sends no DEL of its own.
fn hint_at_remains(
    network: &Network,
    parameters: &Parameters,
    error: &Error,
    has_id: bool,
    screen: &Screen,
) {
    let Error::Plugin { plugin, .. } = error else {
        return;
    };
    if network
        .plugins
        .first()
        .is_none_or(|first| first.kind() == plugin)
    {
        return;
    }
    let mut command = format!("cnictl del {}", network.name);
    if let Some(netns) = &parameters.netns {
        command += &format!(" {netns}");
    }
    command += &format!(" --ifname {}", parameters.if_name);
    if has_id {
        command += &format!(" --id {}", parameters.container_id);
    }
    screen.message(&format!(
        "the attachment is incomplete; to undo it: {command}"
    ));
}

/// Refuses the mere name of a namespace of `ip netns`: CNI takes paths.
///
/// # Errors
/// Fails if `netns` has no slash and exists only below `/run/netns`.
fn refuse_a_bare_name(netns: &Path) -> Result<(), Failure> {
    let named = Path::new("/run/netns").join(netns);
    if netns.components().count() == 1 && netns.is_relative() && !netns.exists() && named.exists() {
        return Err(Failure::text(format!(
            "NETNS must be a path: use {} for the namespace {}",
            named.display(),
            netns.display()
        )));
    }
    Ok(())
}

/// Returns the id that cnitool makes from a namespace's path, so that either tool finds the
/// attachments of the other.
fn container_id(netns: &str) -> String {
    format!("cnitool-{}", sha512_hex(netns, 20))
}

/// Returns the absolute path, without following links: a DEL must work for a namespace that is
/// gone. The path has no `..` and no slash at its end, because cnitool cleans it like this before
/// it makes the container id from it.
///
/// # Errors
/// Fails if `netns` is empty or the working directory is unknown.
fn absolute(netns: &Path) -> Result<String, Failure> {
    if netns.as_os_str().is_empty() {
        return Err(Failure::text(
            "NETNS is empty; expected the path of a network namespace",
        ));
    }
    let path = std::path::absolute(netns)
        .map_err(|e| Failure::text(format!("cannot make {} absolute: {e}", netns.display())))?;
    let mut clean = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            clean.pop();
        } else {
            clean.push(component);
        }
    }
    Ok(clean.display().to_string())
}

/// Refuses a CHECK or DEL that the user probably means for another attachment.
///
/// # Errors
/// Fails if the user gave no container id, but a runtime attached the namespace to the network
/// under an id of its own: cnitool's id would check the wrong attachment, or remove the right one
/// only in part. A CHECK fails also if the attachment is not in the cache, but others of the same
/// namespace or container are; a DEL of such an attachment may go on.
fn refuse_foreign_attachment(
    arguments: &Arguments,
    command: Command,
    network: &str,
    parameters: &Parameters,
    has_id: bool,
) -> Result<(), Failure> {
    let is_same_place = |known: &CachedAttachment| {
        let same_netns = parameters.netns.is_some() && known.parameters.netns == parameters.netns;
        same_netns || has_id && known.parameters.container_id == parameters.container_id
    };
    let known = networks::cache(&arguments.paths)
        .attachments()
        .unwrap_or_default();
    let known: Vec<_> = known.into_iter().filter(is_same_place).collect();
    let is_wanted = |known: &&CachedAttachment| {
        known.network.as_str() == network && known.parameters.if_name == parameters.if_name
    };
    if let Some(known) = known.iter().find(is_wanted).filter(|_| !has_id) {
        let id = known.parameters.container_id.as_str();
        return Err(Failure::text(format!(
            "a runtime attached this namespace to {network} as container {id}; use --id {id}"
        )));
    }
    if command != Command::Check || known.is_empty() {
        return Ok(());
    }
    let others: Vec<String> = known
        .iter()
        .map(
            |CachedAttachment {
                 network,
                 parameters,
                 ..
             }| {
                format!(
                    "to {network} as {} (--id {})",
                    parameters.if_name, parameters.container_id
                )
            },
        )
        .collect();
    Err(Failure::text(format!(
        "not attached to {network} as {}; attached {}",
        parameters.if_name,
        others.join(", ")
    )))
}

/// Returns the attachment from the cache; `None` also if it cannot be read, since DEL works
/// without.
fn cached(
    arguments: &Arguments,
    network: &str,
    parameters: &Parameters,
) -> Option<CachedAttachment> {
    let name = NetworkName::parse(network).ok()?;
    networks::cache(&arguments.paths)
        .load(&name, parameters)
        .ok()
        .flatten()
}

/// Sets the arguments to those of `CNI_ARGS` and `CAP_ARGS`. In place of an unset variable it takes
/// the arguments of the attachment's ADD, since CHECK and DEL must get the same (spec section 3).
///
/// # Errors
/// Fails if a variable cannot be parsed.
fn set_arguments(
    parameters: &mut Parameters,
    environment: &Environment,
    cached: Option<&CachedAttachment>,
) -> Result<(), Failure> {
    if let Some(cached) = cached {
        parameters.args.clone_from(&cached.parameters.args);
        parameters
            .capability_args
            .clone_from(&cached.parameters.capability_args);
    }
    let args = environment.text("CNI_ARGS");
    if !args.is_empty() {
        parameters.args = args.split(';').map(pair).collect::<Result<_, _>>()?;
    }
    let capabilities = environment.text("CAP_ARGS");
    if !capabilities.is_empty() {
        parameters.capability_args = match Json::parse(capabilities.as_bytes()) {
            Ok(Json::Object(members)) => members,
            Ok(_) => return Err(Failure::text("CAP_ARGS: expected a JSON object")),
            Err(e) => return Err(Failure::text(format!("CAP_ARGS: {e}"))),
        };
    }
    Ok(())
}

/// Parses a pair of `CNI_ARGS`.
///
/// # Errors
/// Fails if there is no `=`, or if the key or the value is empty.
fn pair(text: &str) -> Result<(String, String), Failure> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .ok_or_else(|| {
            Failure::text(format!(
                "invalid CNI_ARGS pair {text:?}: expected KEY=VALUE, with semicolons between pairs"
            ))
        })?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Returns the sentence for a CHECK that found no difference.
fn intact(network: &Network, parameters: &Parameters) -> String {
    let netns = match &parameters.netns {
        Some(netns) => format!(" in {netns}"),
        None => String::new(),
    };
    format!(
        "ok: {}{netns} (network {}) is as ADD left it",
        parameters.if_name, network.name
    )
}

/// Prints `what` at a terminal, or the reason why no plugin was run.
fn print_outcome(asked: Asked, what: &str, screen: &Screen) {
    match asked {
        Asked::None(why) => screen.message(&format!("not checked: {why}")),
        Asked::All if screen.is_interactive() => screen.print(&format!("{what}\n")),
        Asked::All => {}
    }
}

/// Prints the result of an ADD: a summary at a terminal, else JSON as cnitool prints it.
fn show(json: &Json, network: &NetworkName, parameters: &Parameters, screen: &Screen) {
    let result = AddResult::from_json(json)
        .ok()
        .filter(|_| screen.is_interactive());
    let Some(result) = result else {
        return screen.print(&indented(json));
    };
    let Parameters {
        container_id,
        if_name,
        ..
    } = parameters;
    let mut text = format!(
        "attached {} to {network} as {}\n",
        container_id.as_str(),
        if_name.as_str()
    );
    for ip in &result.ips {
        let gateway = ip
            .gateway
            .map(|gateway| format!(", gateway {gateway}"))
            .unwrap_or_default();
        text += &format!("  address    {}{gateway}\n", ip.address);
    }
    for route in &result.routes {
        let via = route
            .gw
            .map(|gateway| format!(" via {gateway}"))
            .unwrap_or_default();
        text += &format!("  route      {}{via}\n", route.dst);
    }
    for interface in &result.interfaces {
        let place = if interface.sandbox.is_empty() {
            "on the host"
        } else {
            "in the namespace"
        };
        text += &format!(
            "  interface  {} {} {place}\n",
            interface.name, interface.mac
        );
    }
    screen.print(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_id_is_cnitool_s() {
        assert_eq!(container_id("/run/x/p"), "cnitool-1a158be93b9ef8d76976");
    }

    #[test]
    fn a_namespace_s_path_is_written_as_cnitool_writes_it() {
        for (path, wanted) in [
            ("/run/netns/../netns/a", "/run/netns/a"),
            ("/run//netns/./a/", "/run/netns/a"),
            ("/../a", "/a"),
        ] {
            assert_eq!(absolute(Path::new(path)).unwrap(), wanted);
        }
        assert!(absolute(Path::new("")).is_err());
    }

    #[test]
    fn arguments_of_the_add_are_used_unless_others_are_given() {
        let mut old = Parameters::new("c1", "eth0", "/p")
            .unwrap()
            .with_arg("A", "1");
        old = old.with_capability_arg("mac", "02:00:00:00:00:01".into());
        let cached = CachedAttachment {
            network: NetworkName::parse("n").unwrap(),
            config: Vec::new(),
            parameters: old.clone(),
            result: Json::Null,
        };
        let mut parameters = Parameters::new("c1", "eth0", "/p").unwrap();
        set_arguments(&mut parameters, &Environment::default(), Some(&cached)).unwrap();
        assert_eq!(parameters, old);
        let environment = Environment::default()
            .with("CNI_ARGS", "B=2;C=3")
            .with("CAP_ARGS", r#"{"x":[1]}"#);
        set_arguments(&mut parameters, &environment, Some(&cached)).unwrap();
        assert_eq!(parameters.cni_args(), "B=2;C=3");
        assert_eq!(parameters.capability_args.len(), 1);
    }

    #[test]
    fn a_pair_without_its_parts_is_refused() {
        for (variable, text) in [
            ("CNI_ARGS", "bad"),
            ("CNI_ARGS", "A=1;"),
            ("CAP_ARGS", "{bad"),
            ("CAP_ARGS", "[]"),
        ] {
            let environment = Environment::default().with(variable, text);
            let mut parameters = Parameters::new("c1", "eth0", "").unwrap();
            assert!(
                set_arguments(&mut parameters, &environment, None).is_err(),
                "{text}"
            );
        }
    }
}
