//! Hashes as names and comments contain them: the first hexadecimal digits of a SHA-512.

use sha2::{Digest, Sha512};
use std::fmt::Write;

/// Returns the bytes as hexadecimal digits, two for each.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Returns the SHA-512 of a text.
#[must_use]
pub fn sha512(text: impl AsRef<[u8]>) -> [u8; 64] {
    Sha512::digest(text.as_ref()).into()
}

/// Returns the first hexadecimal digits of the SHA-512 of a text, at most 128.
#[must_use]
pub fn sha512_hex(text: impl AsRef<[u8]>, digits: usize) -> String {
    let mut hash = hex(&sha512(text));
    hash.truncate(digits);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_sha512sum() {
        // printf abc | sha512sum | cut -c-17
        assert_eq!(sha512_hex("abc", 17), "ddaf35a193617abac");
        assert_eq!(sha512_hex("", 1000).len(), 128);
        assert_eq!(hex(&[0, 0x0a, 0xff]), "000aff");
    }
}
