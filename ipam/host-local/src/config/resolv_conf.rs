//! `resolvConf`: a file in the format of resolv.conf(5) that becomes the result's `dns`.

use cni_types::{Code, Dns, Error};
use nix::sys::stat::{major, minor};
use std::{
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 64 << 10;

/// Reads the file at `path`.
///
/// # Errors
/// Code 5 if it cannot be read, is larger than 64 KiB, or is neither a plain file nor `/dev/null`.
pub(crate) fn read(path: &Path) -> Result<Dns, Error> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::new(Code::IO, format!("open {}: {e}", path.display()))
            .with_details("the file is named by resolvConf in the IPAM configuration")
    };
    // Before it is opened: that would wait for the writer of a FIFO.
    let meta = path.metadata().map_err(|e| failed(&e))?;
    if is_null_device(&meta) {
        return Ok(Dns::default());
    }
    if !meta.is_file() {
        return Err(failed(&"not a plain file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| failed(&e))?;
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| failed(&e))?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(failed(&format!("larger than {MAX_SIZE} bytes")));
    }
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// Returns true for `/dev/null` under any name: device 1:3 (Documentation/admin-guide/devices.txt).
/// Some configurations name it for "no file", and the reference reads it as an empty one.
fn is_null_device(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && (major(meta.rdev()), minor(meta.rdev())) == (1, 3)
}

/// Reads lines as the reference does: of `nameserver` and `domain` the first word counts, repeats
/// accumulate, but the last `domain` wins; comments are whole lines.
pub(crate) fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
    {
        let mut words = line.split_whitespace().map(str::to_owned);
        let keyword = words.next().unwrap_or_default();
        match keyword.as_str() {
            "nameserver" => dns.nameservers.extend(words.next()),
            "domain" => dns.domain = words.next().unwrap_or(dns.domain),
            "search" => dns.search.extend(words),
            "options" => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_reference_reads_it() {
        let text = "  # c\n ;x\nnameserver 1.1.1.1 2.2.2.2\nnameserver\t3.3.3.3\n  domain a.b\ndomain c.d\n\
                    domain\nsearch a b\r\nsearch c\noptions x y:2 # z\nfoo bar\nnameserver\nsortlist a";
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let wanted = Dns {
            nameservers: words(&["1.1.1.1", "3.3.3.3"]),
            domain: "c.d".into(),
            search: words(&["a", "b", "c"]),
            options: words(&["x", "y:2", "#", "z"]),
        };
        assert_eq!(parse(text), wanted);
        assert!(parse("").is_empty());
    }

    #[test]
    fn the_null_device_is_an_empty_file() {
        assert!(read(Path::new("/dev/null")).unwrap().is_empty());
    }

    #[test]
    fn only_a_plain_file_of_sensible_size_is_read() {
        for (path, wanted) in [
            ("/nonexistent", "open /nonexistent: No such file"),
            ("/dev/zero", "open /dev/zero: not a plain file"),
            ("/", "open /: not a plain file"),
        ] {
            let error = read(Path::new(path)).unwrap_err();
            assert!(
                error.code == Code::IO && error.msg.starts_with(wanted),
                "{error}"
            );
        }
    }
}
