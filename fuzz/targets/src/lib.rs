//! The functions that the fuzzer calls, each with any bytes, and which seeds it starts from.
//!
//! The fuzzer itself is in the folder above, a workspace of its own; `scripts/fuzz` runs it. Here
//! every seed is an ordinary test, so that what was found once is tried with every change.

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

/// A target: its name, which is that of its seeds' folder, and what is called.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
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

/// A request to host-local, in a folder of its own.
///
/// # Panics
/// If the answer is none that the specification allows.
pub fn host_local(data: &[u8]) {
    ::host_local::fuzz::request(&Scratch::new().0, data);
}

/// Requests to host-local while somebody changes its index.
///
/// # Panics
/// If an attachment loses its address.
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
        // What resolvConf is made to name.
        fs::write(path.join("resolv.conf"), "nameserver 10.0.0.53\n").expect("a temporary file");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
