//! State on disk: its permissions, and its place.

use crate::suite::{Case, Clause, Failure, Fault, Kind, Made, Need, Versions, require};
use cni_types::{Command, SpecVersion};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

const ONCE: Versions = Versions::since(SpecVersion::LATEST);

pub(super) const CASES: &[Case] = &[FILES_PRIVATE, DATA_LINK];

const FILES_PRIVATE: Case = Case::may(
    "security/files-private",
    "files with state can be read and written by their owner only",
    Clause::silent(
        "nothing is said about state on disk; who else can write to it can give out addresses",
    ),
)
.versions(ONCE)
.faults(&[Fault::new("lets everybody read", |real, call| {
    let answer = real.run(&call)?;
    if call.is(Command::Add) {
        fs::write("/var/lib/cni/state", "{}")?;
        fs::set_permissions("/var/lib/cni/state", fs::Permissions::from_mode(0o644))?;
    }
    Ok(answer)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment.add()?;
    let changes = context.state()?.changes_since(&before);
    let open = |line: &&str| {
        let mode = line
            .split(' ')
            .next()
            .and_then(|mode| u32::from_str_radix(mode, 8).ok())
            .unwrap_or_default();
        // Regular files: S_IFREG is 0o100000.
        mode & 0o170_000 == 0o100_000 && mode & 0o077 != 0
    };
    let files = changes
        .iter()
        .filter_map(|line| line.strip_prefix("+ file: "));
    let found: Vec<&str> = files.filter(open).collect();
    require(
        found.is_empty(),
        "no file that others can use",
        found.join(", "),
    )
});

const DATA_LINK: Case = Case::may(
    "security/data-link",
    "a symbolic link in the place of a network's folder is not followed",
    Clause::silent(
        "nothing is said about state on disk; who can put a link there makes a plugin write \
         elsewhere",
    ),
)
.versions(ONCE)
.kinds(&[Kind::Ipam])
.needs(&[Need::Makes(Made::Reservation)])
.faults(&[Fault::new("follows links", |real, call| {
    let path = "/run/cni-conformance/data/conformance";
    if let Ok(target) = fs::read_link(path) {
        fs::write(target.join("10.77.0.2"), "c1")?;
    }
    real.run(&call)
})])
.body(|context| {
    let config = context.config();
    let folder = config.pointer("/ipam/dataDir").and_then(Value::as_str);
    let folder =
        Path::new(folder.ok_or_else(|| Failure::skip("the configuration names no ipam.dataDir"))?);
    let elsewhere = Path::new("/run/cni-conformance/elsewhere");
    fs::create_dir_all(elsewhere)?;
    fs::create_dir_all(folder)?;
    symlink(elsewhere, folder.join("conformance"))?;
    let attachment = context.attachment("c1")?;
    attachment.request(Command::Add).run()?;
    let names = fs::read_dir(elsewhere)?
        .flatten()
        .map(|entry| entry.file_name().display().to_string());
    let found = names.collect::<Vec<_>>().join(", ");
    require(found.is_empty(), "no file behind the link", found)
});
