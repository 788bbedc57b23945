//! A plugin's stdin.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{
    fs::File,
    io::{self, Seek, Write},
    process::Stdio,
    thread,
};

/// Provides `bytes` as a file in memory: unlike a pipe it cannot fill up, and needs no writer.
/// Falls back to a pipe if the file is refused: by seccomp, by `vm.memfd_noexec`, by a kernel
/// before 3.17, or by RLIMIT_FSIZE, which applies to such a file too.
pub(super) fn of(bytes: &[u8]) -> io::Result<Stdio> {
    in_memory(bytes).map(Stdio::from).or_else(|_| piped(bytes))
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"cni", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Provides `bytes` by a pipe into which a thread writes. If the plugin does not read, the thread
/// stays until the plugin ends.
fn piped(bytes: &[u8]) -> io::Result<Stdio> {
    let (reader, mut writer) = io::pipe()?;
    let bytes = bytes.to_vec();
    thread::Builder::new().spawn(move || {
        // EPIPE: the plugin need not read all of its stdin.
        let _ = writer.write_all(&bytes);
    })?;
    Ok(reader.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_pipe_carries_more_than_it_can_hold() {
        let input = vec![b'x'; 3 << 20];
        let output = Command::new("cat")
            .stdin(piped(&input).unwrap())
            .output()
            .unwrap();
        assert!(output.stdout == input, "{} bytes", output.stdout.len());
    }

    #[test]
    fn a_plugin_that_reads_nothing_of_a_pipe_blocks_nobody() {
        let output = Command::new("true")
            .stdin(piped(&vec![b'x'; 3 << 20]).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success());
    }
}
