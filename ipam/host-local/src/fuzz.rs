//! Entry functions for the fuzzer: requests, resolv.conf, and the files beside the records, changed
//! by anybody but with the right checksums. Compiled with the feature `fuzzing` only.

use crate::{
    alloc::{Span, Spans},
    config::resolv_conf,
    machine::Boot,
    plugin::HostLocal,
    store::{
        ContainerHash, FileIdentity, Origin, OriginTable,
        index::{self, Index, IndexedRecord, Stamp},
        table,
    },
};
use cni_types::{Environment, Json, fuzz::serve};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    net::IpAddr,
    path::Path,
};

/// The limit of the operations of each kind in one run.
const MAX_OPERATIONS: usize = 32;

/// Answers a request (see [`cni_types::fuzz::request`]) with the data directory in an empty folder.
///
/// # Panics
/// If the specification does not allow the answer.
pub fn request(folder: &Path, data: &[u8]) {
    let (environment, stdin) = cni_types::fuzz::request(data);
    let stdin = match Json::parse(&stdin) {
        Ok(json) => kept_inside(json, folder).to_string().into_bytes(),
        Err(_) => stdin,
    };
    let _ = serve(&HostLocal::default(), environment, stdin);
}

/// The configuration with every path in it in the folder.
fn kept_inside(mut json: Json, folder: &Path) -> Json {
    let path = |name| Json::String(folder.join(name).display().to_string());
    let Json::Object(members) = &mut json else {
        return json;
    };
    for (key, ipam) in members.iter_mut() {
        if !key.eq_ignore_ascii_case("ipam") || !ipam.is_object() {
            continue;
        }
        ipam.insert("dataDir", path("networks"));
        if ipam.lookup("resolvConf").is_some() {
            ipam.insert("resolvConf", path("resolv.conf"));
        }
    }
    json
}

/// Reads a text in the format of resolv.conf(5), writes it and reads it again.
///
/// # Panics
/// If the two differ.
pub fn resolv_conf(data: &[u8]) {
    let dns = resolv_conf::parse(&String::from_utf8_lossy(data));
    let mut text = format!(
        "search {}\noptions {}\n",
        dns.search.join(" "),
        dns.options.join(" ")
    );
    dns.nameservers
        .iter()
        .for_each(|server| text += &format!("nameserver {server}\n"));
    text += &format!("domain {}\n", dns.domain);
    assert_eq!(resolv_conf::parse(&text), dns);
}

/// Makes an index and an origin table, changes bytes of them, corrects the checksums, and uses
/// them.
///
/// # Panics
/// If their code panics.
pub fn tables(data: &[u8]) {
    let mut input = Input(data);
    // Only the kernel's refusal of memory ends this early.
    let _ = use_index(&mut input);
    let _ = use_origin_table(&mut input);
}

fn use_index(input: &mut Input<'_>) -> io::Result<()> {
    let boot = [1; 16];
    let mut records: Vec<IndexedRecord> = input.many(Input::record);
    let file = memory()?;
    let stamp = Stamp::of(&file.metadata()?);
    Index::build(file.try_clone()?, boot, &mut records)?.seal(stamp)?;
    input.change(file.try_clone()?, index::correct_checksums)?;
    let Some(mut index) = Index::open(file, boot) else {
        return Ok(());
    };
    for _ in 0..MAX_OPERATIONS {
        let Some(kind) = input.byte() else { break };
        let record = input.record();
        let outcome = match kind % 6 {
            0 => index.insert(record),
            1 => index.remove(record),
            2 => index.set_taken(record.address),
            3 => record
                .container
                .map_or(Ok(()), |container| index.addresses_of(container).map(drop)),
            4 => input
                .span()
                .map_or(Ok(()), |span| index.first_free(span).map(drop)),
            _ => input.span().map_or(Ok(()), |span| {
                index.count(&[&Spans::from_iter([span])]).map(drop)
            }),
        };
        // An error is the right answer to damage.
        drop(outcome);
    }
    let _ = (index.is_full(), index.taken(), index.is_unchanged());
    Ok(())
}

fn use_origin_table(input: &mut Input<'_>) -> io::Result<()> {
    let origin = Origin {
        boot: Boot {
            machine: [2; 16],
            boot: [1; 16],
        },
        netns: None,
    };
    let file = memory()?;
    let [one, other] = [
        FileIdentity::of(&file.metadata()?),
        FileIdentity::of(&memory()?.metadata()?),
    ];
    let identity = |input: &mut Input<'_>| match input.byte() {
        Some(byte) if byte % 2 == 1 => other,
        _ => one,
    };
    let mut origins = OriginTable::create(file.try_clone()?)?;
    for (record, identity) in input.many(|input| (input.record(), identity(input))) {
        origins.insert(record.address, identity, &origin)?;
    }
    input.change(file.try_clone()?, table::correct_checksums)?;
    let Some(mut origins) = OriginTable::open(file)? else {
        return Ok(());
    };
    for _ in 0..MAX_OPERATIONS {
        let Some(kind) = input.byte() else { break };
        let address = input.record().address;
        let identity = identity(input);
        match kind % 4 {
            0 => drop(origins.insert(address, identity, &origin)),
            1 => drop(origins.remove(address)),
            2 => drop(origins.origin(address, identity)),
            _ => drop(origins.copy_into(memory()?, 2, |_, other| other == identity)),
        }
    }
    Ok(())
}

fn memory() -> io::Result<File> {
    Ok(memfd_create(c"fuzz", MFdFlags::MFD_CLOEXEC)?.into())
}

/// Runs the plugin on a data directory whose index somebody changes between the requests, with its
/// checksums. The records are the truth: with any index, nobody loses an address, and
/// nobody gets one that another has.
///
/// # Panics
/// If an address is lost or given twice.
pub fn data_directory(folder: &Path, data: &[u8]) {
    let mut input = Input(data);
    let run = |command: &str, id: &str| {
        let reply = serve(
            &HostLocal::default(),
            environment(command, id),
            configuration(folder),
        );
        reply.stdout.filter(|_| reply.success)
    };
    assert!(
        run("ADD", "witness").is_some(),
        "the first address of an empty pool is refused"
    );
    let records = folder.join("networks/net");
    let witness = records.join("10.1.0.2");
    assert_eq!(read(&witness), "witness\r\neth0");
    for step in 0..4 {
        // Without the file there is nothing to change.
        let index = File::options()
            .read(true)
            .write(true)
            .open(folder.join("networks/.index/net"));
        let _ = index.and_then(|file| input.change(file, index::correct_checksums));
        let id = format!("c{}", input.byte().unwrap_or(step) % 4);
        let command = ["ADD", "DEL", "CHECK", "STATUS", "ADD", "GC"];
        let command = command.get(usize::from(input.byte().unwrap_or_default()) % 6);
        let result = run(command.copied().unwrap_or("ADD"), &id).unwrap_or_default();
        assert!(
            !result.contains("10.1.0.2/"),
            "the witness's address is given to {id}: {result}"
        );
        assert_eq!(read(&witness), "witness\r\neth0");
    }
}

fn environment(command: &str, id: &str) -> Environment {
    [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", id),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/proc/self/ns/net"),
        ("CNI_PATH", "/nonexistent"),
    ]
    .into_iter()
    .collect()
}

fn configuration(folder: &Path) -> Vec<u8> {
    let data_dir = Json::String(folder.join("networks").display().to_string());
    let ids = ["witness", "c0", "c1"];
    let valid = ids
        .map(|id| format!(r#"{{"containerID":"{id}","ifname":"eth0"}}"#))
        .join(",");
    format!(
        r#"{{"cniVersion":"1.1.0","name":"net","type":"bridge","cni.dev/valid-attachments":[{valid}],
        "ipam":{{"type":"host-local","subnet":"10.1.0.0/29","dataDir":{data_dir}}}}}"#
    )
    .into_bytes()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| e.to_string())
}

/// Takes values off the front of the fuzzer's input. After its end, every value is 0.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte().unwrap_or_default())
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = usize::from(self.byte().unwrap_or_default()) % MAX_OPERATIONS;
        (0..count).map(|_| one(self)).collect()
    }

    /// An address close to one of the ends of the numbers, or anywhere.
    fn address(&mut self) -> IpAddr {
        let [kind, a, b, c] = self.take();
        match kind % 5 {
            0 => [10, 1, 0, a].into(),
            1 => [255, 255, b, a].into(),
            2 => [0, a, b, c].into(),
            3 => IpAddr::V6(u128::from(a).into()),
            _ => IpAddr::V6((u128::MAX - u128::from(u32::from_le_bytes([a, b, c, 0]))).into()),
        }
    }

    fn record(&mut self) -> IndexedRecord {
        let address = self.address();
        let container = self
            .byte()
            .filter(|id| id % 8 != 0)
            .map(|id| ContainerHash::of(&id.to_string()));
        IndexedRecord { address, container }
    }

    fn span(&mut self) -> Option<Span> {
        Span::new(self.address(), self.address())
    }

    /// Overwrites bytes in the first part of pages, where most entries are, and corrects the
    /// checksums.
    fn change(&mut self, mut file: File, correct: fn(&mut [u8])) -> io::Result<()> {
        let changes = self.many(|input| {
            let [page, offset] = input.take();
            (
                usize::from(page % 16) * table::PAGE + usize::from(offset),
                input.take::<8>(),
            )
        });
        if changes.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        for (at, new) in changes {
            bytes
                .iter_mut()
                .skip(at)
                .zip(new)
                .for_each(|(place, byte)| *place = byte);
        }
        correct(&mut bytes);
        file.rewind()?;
        file.write_all(&bytes)
    }
}
