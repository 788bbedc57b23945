//! Makes the list of the built-in profiles from their folder: a new file there is a new profile.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=profiles");
    let folder = fs::canonicalize("profiles")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|end| end == "json") {
            names.extend(stem.map(str::to_owned));
        }
    }
    names.sort();
    let entries = names.iter().map(|name| {
        let path = folder.join(format!("{name}.json"));
        format!(
            "({name:?}, include_str!({:?})),",
            path.display().to_string()
        )
    });
    let list = format!("&[{}]", entries.collect::<String>());
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("profiles.rs"), list)
}
