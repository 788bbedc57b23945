//! ADD, CHECK and DEL, as cnitool does them: the same container id, the same arguments, the same cache.

use crate::{
    arguments::{Arguments, Request},
    failure::Failure,
    networks,
    screen::{Screen, indented},
    trace,
};
use cni_types::{AddResult, Command, Environment, Json, NetworkName};
use conformance::runtime::{Asked, CachedAttachment, Parameters};
use sha2::{Digest, Sha512};
use std::path::{Component, Path, PathBuf};

/// Carries out one of the three.
///
/// # Errors
/// A plugin's, or why no plugin was asked.
pub(crate) fn attachment(
    arguments: &Arguments,
    environment: &Environment,
    screen: &Screen,
) -> Result<(), Failure> {
    let Request::Attachment { command, network, netns, id, if_name } = &arguments.request else {
        return Ok(());
    };
    let netns = absolute(netns)?;
    let own_id = id.clone().unwrap_or_else(|| container_id(&netns));
    let mut parameters = Parameters::new(&own_id, if_name, &netns)?;
    let cached = if *command == Command::Add { None } else { cached(arguments, network, &parameters) };
    if *command != Command::Add && cached.is_none() && id.is_none() {
        refuse_another_s(arguments, network, &parameters)?;
    }
    set_arguments(&mut parameters, environment, cached.as_ref())?;
    let network = networks::find_or_remember(&arguments.places, network, cached.as_ref(), screen)?;
    let runtime = trace::runtime(arguments);
    match command {
        Command::Check => tell(runtime.check(&network, &parameters)?, "as ADD left it", screen),
        Command::Del => {
            runtime.del(&network, &parameters)?;
            tell(Asked::All, "detached", screen);
        }
        _ => show(&runtime.add(&network, &parameters)?.json, &network.name, &parameters, screen),
    }
    Ok(())
}

/// The id that cnitool makes from a namespace's path, so that either finds what the other attached.
fn container_id(netns: &str) -> String {
    let digest: String =
        Sha512::digest(netns.as_bytes()).iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("cnitool-{digest}")
}

/// The path without a look at what it leads to: a DEL must find the name of a namespace that is gone. Written as cnitool
/// writes it, since the container id is made from it: no `..`, no slash at the end.
fn absolute(netns: &Path) -> Result<String, Failure> {
    if netns.as_os_str().is_empty() {
        return Err(Failure::text("NETNS is empty: the path of a network namespace is wanted"));
    }
    let path = std::path::absolute(netns)
        .map_err(|e| Failure::text(format!("cannot tell where {} is: {e}", netns.display())))?;
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

/// A runtime has its own container ids. Asked by a namespace alone, the wrong attachment would be checked, or the right one
/// half ended.
fn refuse_another_s(arguments: &Arguments, network: &str, parameters: &Parameters) -> Result<(), Failure> {
    let is_there = |known: &CachedAttachment| {
        known.network.as_str() == network
            && known.parameters.netns == parameters.netns
            && known.parameters.if_name == parameters.if_name
    };
    let known = networks::cache(&arguments.places).attachments().unwrap_or_default();
    known.into_iter().find(is_there).map_or(Ok(()), |known| {
        let id = known.parameters.container_id.as_str();
        Err(Failure::text(format!(
            "a runtime attached this namespace to {network} as container {id}: say --id {id}"
        )))
    })
}

fn cached(arguments: &Arguments, network: &str, parameters: &Parameters) -> Option<CachedAttachment> {
    let name = NetworkName::parse(network).ok()?;
    networks::cache(&arguments.places).load(&name, parameters).ok().flatten()
}

/// `CNI_ARGS` and `CAP_ARGS`; where they are not set, what the attachment was made with. CHECK and DEL must get the same as
/// ADD (spec section 3).
fn set_arguments(
    parameters: &mut Parameters,
    environment: &Environment,
    cached: Option<&CachedAttachment>,
) -> Result<(), Failure> {
    if let Some(cached) = cached {
        parameters.args.clone_from(&cached.parameters.args);
        parameters.capability_args.clone_from(&cached.parameters.capability_args);
    }
    let args = environment.text("CNI_ARGS");
    if !args.is_empty() {
        parameters.args = args.split(';').map(pair).collect::<Result<_, _>>()?;
    }
    let capabilities = environment.text("CAP_ARGS");
    if !capabilities.is_empty() {
        parameters.capability_args = match Json::parse(capabilities.as_bytes()) {
            Ok(Json::Object(members)) => members,
            Ok(_) => return Err(Failure::text("CAP_ARGS: a JSON object is wanted")),
            Err(e) => return Err(Failure::text(format!("CAP_ARGS: {e}"))),
        };
    }
    Ok(())
}

fn pair(text: &str) -> Result<(String, String), Failure> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .ok_or_else(|| {
            Failure::text(format!(
                "invalid CNI_ARGS pair {text:?}: KEY=VALUE is wanted, with semicolons between pairs"
            ))
        })?;
    Ok((key.to_owned(), value.to_owned()))
}

fn tell(asked: Asked, what: &str, screen: &Screen) {
    match asked {
        Asked::None(why) => screen.complain(&format!("no plugin was asked: {why}")),
        Asked::All if screen.is_for_a_person() => screen.print(&format!("{what}\n")),
        Asked::All => {}
    }
}

/// The result: a summary at a terminal, else the JSON that cnitool prints.
fn show(json: &Json, network: &NetworkName, parameters: &Parameters, screen: &Screen) {
    let result = AddResult::from_json(json).ok().filter(|_| screen.is_for_a_person());
    let Some(result) = result else { return screen.print(&indented(json)) };
    let Parameters { container_id, if_name, .. } = parameters;
    let mut text = format!("attached {} to {network} as {}\n", container_id.as_str(), if_name.as_str());
    for ip in &result.ips {
        let gateway = ip.gateway.map(|gateway| format!(", gateway {gateway}")).unwrap_or_default();
        text += &format!("  address    {}{gateway}\n", ip.address);
    }
    for route in &result.routes {
        let via = route.gw.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        text += &format!("  route      {}{via}\n", route.dst);
    }
    for interface in &result.interfaces {
        let place = if interface.sandbox.is_empty() { "on the host" } else { "in the namespace" };
        text += &format!("  interface  {} {} {place}\n", interface.name, interface.mac);
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
        for (path, wanted) in
            [("/run/netns/../netns/a", "/run/netns/a"), ("/run//netns/./a/", "/run/netns/a"), ("/../a", "/a")]
        {
            assert_eq!(absolute(Path::new(path)).unwrap(), wanted);
        }
        assert!(absolute(Path::new("")).is_err());
    }

    #[test]
    fn arguments_of_the_add_are_kept_unless_there_are_others() {
        let mut old = Parameters::new("c1", "eth0", "/p").unwrap().with_arg("A", "1");
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
        let environment = Environment::default().with("CNI_ARGS", "B=2;C=3").with("CAP_ARGS", r#"{"x":[1]}"#);
        set_arguments(&mut parameters, &environment, Some(&cached)).unwrap();
        assert_eq!(parameters.cni_args(), "B=2;C=3");
        assert_eq!(parameters.capability_args.len(), 1);
    }

    #[test]
    fn a_pair_without_its_parts_is_refused() {
        for (variable, text) in
            [("CNI_ARGS", "bad"), ("CNI_ARGS", "A=1;"), ("CAP_ARGS", "{bad"), ("CAP_ARGS", "[]")]
        {
            let environment = Environment::default().with(variable, text);
            let mut parameters = Parameters::new("c1", "eth0", "").unwrap();
            assert!(set_arguments(&mut parameters, &environment, None).is_err(), "{text}");
        }
    }
}
