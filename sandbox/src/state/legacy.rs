//! The tables of the old ("legacy") iptables, which are not in nf_tables. Only its own program can
//! read them. It is run only if there is a table: to run it makes the kernel create one, which then
//! stays, empty, and is therefore left out.

use std::{fs, path::Path, process::Command};

/// Folders to search besides `PATH`: Debian keeps the programs in folders that only root searches.
const FOLDERS: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// Reads the chains and rules of the thread's namespace.
pub(super) fn tables() -> Vec<String> {
    let mut lines = Vec::new();
    for (program, file) in [
        ("iptables", "ip_tables_names"),
        ("ip6tables", "ip6_tables_names"),
    ] {
        let tables =
            fs::read_to_string(Path::new("/proc/thread-self/net").join(file)).unwrap_or_default();
        if tables.is_empty() {
            continue;
        }
        let path = std::env::var("PATH").unwrap_or_default() + ":" + FOLDERS;
        let saved = Command::new(format!("{program}-legacy-save"))
            .env("PATH", path)
            .output();
        if let Ok(saved) = saved {
            lines.extend(rules(program, &String::from_utf8_lossy(&saved.stdout)));
        }
    }
    lines
}

/// Reads the output of iptables-save(8), without counters, and without the built-in chains whose
/// policy is to accept.
fn rules(program: &str, saved: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((name, policy)) = line
            .strip_prefix(':')
            .and_then(|chain| chain.split_once(' '))
        {
            let policy = policy.split(' ').next().unwrap_or_default();
            if policy != "ACCEPT" {
                lines.push(format!("legacy {program} {table} chain {name} {policy}"));
            }
        } else if line.starts_with("-A ") {
            lines.push(format!("legacy {program} {table} {line}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::rules;

    #[test]
    fn chains_and_rules_are_listed_without_counters() {
        let saved = "# Generated\n*nat\n:PREROUTING ACCEPT [7:9]\n:OUTPUT DROP [0:0]\n:CNI-1 - [0:0]\n\
                     -A OUTPUT -j CNI-1\nCOMMIT\n*filter\n:CNI-2 - [0:0]\nCOMMIT\n";
        assert_eq!(
            rules("iptables", saved),
            [
                "legacy iptables nat chain OUTPUT DROP",
                "legacy iptables nat chain CNI-1 -",
                "legacy iptables nat -A OUTPUT -j CNI-1",
                "legacy iptables filter chain CNI-2 -",
            ]
        );
    }
}
