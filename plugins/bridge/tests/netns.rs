//! The loopback plugin on real namespaces.
fn main() -> std::process::ExitCode {
    conformance::testbed::main(Vec::new())
}
