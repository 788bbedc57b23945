//! The `host-local` program; all of it is in the library.

fn main() -> std::process::ExitCode {
    cni_types::main(&host_local::HostLocal::default())
}
