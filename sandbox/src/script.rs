//! Shell scripts that stand for plugins in tests.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Makes an executable script. A child writes it: were it open for writing in this process, then a
/// process started by another thread could inherit the descriptor for a moment, and the script
/// could not be run ("text file busy").
///
/// # Errors
/// Fails if `/bin/sh` cannot be run or cannot write the file.
pub fn write(path: &Path, body: &str) -> io::Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", r#"umask 022; cat >"$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "#!/bin/sh\n{body}")?;
    }
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("/bin/sh: {status}")))
    }
}
