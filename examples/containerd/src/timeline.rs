//! The calls of a real kubelet to containerd, with their CNI calls.
//!
//! The CRI calls come from containerd's log: no program is between it and kubelet, so that either
//! can be killed. Only calls that change something are shown; kubelet asks for states several times
//! a second.

use crate::{record, runtime::Outcome, show};
use std::{collections::HashMap, path::Path};

const SHOWN: [&str; 7] = [
    "runpodsandbox",
    "stoppodsandbox",
    "removepodsandbox",
    "createcontainer",
    "startcontainer",
    "stopcontainer",
    "removecontainer",
];

/// Prints the calls that began at `since` or later, with times relative to `zero`. Both are in
/// seconds since 1970.
pub fn print(records: &Path, log: &Path, since: &str, zero: &str) -> Outcome<()> {
    let (since, zero): (f64, f64) = (since.parse()?, zero.parse()?);
    let mut calls = record::read(records)?;
    calls.sort_by(|a, b| a.began.total_cmp(&b.began));
    let log = std::fs::read(log)?;
    let mut names = Names::default();
    let lines: Vec<(f64, String)> =
        String::from_utf8_lossy(&log).lines().filter_map(|line| names.read(line)).collect();

    let mut calls_left = calls.iter().filter(|call| call.began >= since).peekable();
    for (at, text) in lines.iter().filter(|(at, _)| *at >= since) {
        while let Some(call) = calls_left.next_if(|call| call.began <= *at) {
            show::cni_call(call.began - zero, call);
        }
        show::log_line(at - zero, text);
    }
    calls_left.for_each(|call| show::cni_call(call.began - zero, call));
    Ok(())
}

/// The names of sandboxes and containers in the log, by their ids.
#[derive(Default)]
struct Names {
    by_id: HashMap<String, String>,
}

impl Names {
    /// Returns the time and the text of a message that is shown.
    fn read(&mut self, line: &str) -> Option<(f64, String)> {
        let message = quoted(line, "msg=")?;
        let call = message.split_whitespace().next()?;
        if !SHOWN.contains(&call.to_lowercase().as_str()) {
            return None;
        }
        let at = seconds(&quoted(line, "time=")?)?;
        self.learn(&message);
        let mut text = self.named(&message);
        if let Some(error) = quoted(line, "error=") {
            text = format!("{text}: {}", self.named(&error));
        }
        Some((at, text))
    }

    /// Reads `… for &PodSandboxMetadata{Name:web,…} returns sandbox id "0a1b…"`, and the same for
    /// containers.
    fn learn(&mut self, message: &str) {
        let Some((before, after)) = message.split_once(" id \"") else { return };
        let (Some(name), Some(id)) = (metadata_name(before), after.split('"').next()) else { return };
        let name = match (before.contains("&ContainerMetadata"), before.split('"').nth(1)) {
            (true, Some(sandbox)) => format!("{}/{name}", self.name(sandbox)),
            _ => name.to_owned(),
        };
        self.by_id.insert(id.to_owned(), name);
    }

    fn name(&self, id: &str) -> String {
        self.by_id.get(id).cloned().unwrap_or_else(|| short(id).to_owned())
    }

    /// Returns the message without the details for programs.
    fn named(&self, message: &str) -> String {
        let mut words = String::new();
        for (index, part) in message.split('"').enumerate() {
            // Every second part was between quotation marks: an id.
            match index % 2 {
                0 => words += part,
                _ if words.ends_with(" id ") => words += short(part),
                _ => words += &self.name(part),
            }
        }
        match (words.find('&'), words.rfind('}')) {
            (Some(from), Some(to)) => {
                let name = metadata_name(&words).unwrap_or_default().to_owned();
                words.replace_range(from..=to, &name);
                words
            }
            _ => words,
        }
    }
}

/// Returns the name in `&PodSandboxMetadata{Name:web,Uid:…}`.
fn metadata_name(text: &str) -> Option<&str> {
    text.split_once("Metadata{Name:")?.1.split(',').next()
}

fn short(id: &str) -> &str {
    if id.len() == 64 { id.get(..12).unwrap_or(id) } else { id }
}

/// Returns the value of a key in a log line: `key="value"`, in which `\"` is a quotation mark.
fn quoted(line: &str, key: &str) -> Option<String> {
    let mut rest = line.split_once(&format!("{key}\""))?.1.chars();
    let mut value = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => value.push(rest.next()?),
            other => value.push(other),
        }
    }
}

/// Returns the seconds since 1970 of `2024-11-23T04:35:10.123456789Z`, or `None` for other time
/// zones than UTC.
fn seconds(time: &str) -> Option<f64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut clock = clock.split(':').map(str::parse::<f64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    // Years begin in March here, so the leap day is their last day.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let days = i32::try_from(days).ok()?;
    Some(f64::from(days) * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_log_is_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:01.5Z"), Some(1.5));
        assert_eq!(seconds("2024-02-29T12:00:00.000000000Z"), Some(1_709_208_000.0));
        assert_eq!(seconds("2026-11-23T04:35:10Z"), Some(1_795_408_510.0));
        assert_eq!(seconds("2026-11-23T04:35:10+01:00"), None);
    }

    #[test]
    fn ids_become_the_names_of_the_log() {
        let id = "0123456789abcdef".repeat(4);
        let mut names = Names::default();
        let begin = r#"msg="RunPodSandbox for &PodSandboxMetadata{Name:web,Uid:1,Namespace:default,Attempt:0,} returns sandbox id"#;
        let line = format!(r#"time="1970-01-01T00:00:01Z" level=info {begin} \"{id}\"""#);
        let (at, text) = names.read(&line).unwrap();
        assert_eq!((at, text.as_str()), (1.0, "RunPodSandbox for web returns sandbox id 0123456789ab"));

        let line = format!(r#"time="1970-01-01T00:00:02Z" level=info msg="StopPodSandbox for \"{id}\"""#);
        assert_eq!(names.read(&line).unwrap().1, "StopPodSandbox for web");
        let line = r#"time="1970-01-01T00:00:02Z" level=trace msg="ListPodSandbox with filter nil""#;
        assert_eq!(names.read(line), None);
    }
}
