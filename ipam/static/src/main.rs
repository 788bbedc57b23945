//! The `static` program; all of it is in the library.

fn main() -> std::process::ExitCode {
    cni_types::main(&static_ipam::Static)
}
