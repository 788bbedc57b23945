//! Every seed of every target, as an ordinary test.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_seed_is_read_without_a_crash() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let folders: BTreeSet<_> = fs::read_dir(&seeds)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let targets: BTreeSet<_> = targets::ALL
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(folders, targets, "each target has a folder of seeds");
    for (name, target) in targets::ALL {
        let mut files: Vec<_> = fs::read_dir(seeds.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "{name} has no seeds");
        files.sort();
        for file in files {
            // If the test fails, the last line of its output names the seed.
            println!("{}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}
