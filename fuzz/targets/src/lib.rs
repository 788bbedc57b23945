//! The functions that the fuzzer calls with arbitrary bytes, and its seeds.
//!
//! The fuzzer itself is in the folder above, a workspace of its own; `scripts/fuzz` runs it. Here
//! every seed is an ordinary test, so that every change is tested with all earlier findings.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

pub use ::bridge::fuzz::request as bridge;
pub use ::host_local::fuzz::{resolv_conf, tables};
pub use ::loopback::fuzz::request as loopback;
pub use cni_net::fuzz::{iptables_save, netlink, nftables};
pub use cni_types::fuzz::{result, values};

/// A target: its name, which is that of its seeds' folder, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: [Target; 11] = [
    ("bridge", bridge),
    ("loopback", loopback),
    ("host_local", host_local),
    ("data_directory", data_directory),
    ("tables", tables),
    ("resolv_conf", resolv_conf),
    ("result", result),
    ("values", values),
    ("netlink", netlink),
    ("nftables", nftables),
    ("iptables_save", iptables_save),
];

/// Sends a request to host-local, with its own data directory.
///
/// # Panics
/// Panics if the specification does not allow the answer.
pub fn host_local(data: &[u8]) {
    ::host_local::fuzz::request(&Scratch::new().0, data);
}

/// Sends requests to host-local and changes its index in between.
///
/// # Panics
/// Panics if an attachment loses its address.
pub fn data_directory(data: &[u8]) {
    ::host_local::fuzz::data_directory(&Scratch::new().0, data);
}

/// An empty folder, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    #[expect(clippy::expect_used, reason = "without a folder nothing is tried")]
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cni-fuzz-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a temporary folder");
        // The file for `resolvConf`.
        fs::write(path.join("resolv.conf"), "nameserver 10.0.0.53\n").expect("a temporary file");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
