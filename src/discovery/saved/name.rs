//! Service name to file name.

use super::format::checksum;

/// Suffix of every saved file.
const SUFFIX: &str = ".json";

/// Longest file name that Linux file systems take, bytes.
const MAX_BYTES: usize = 255;

/// A name in the directory: readable, unique, never a path and never hidden.
///
/// Letters, digits, `-` and `_` stay, and dots that are not first; every other byte becomes `%XX`. What would be too
/// long is cut and ends in `~` and the checksum of the whole name.
pub(super) fn file_name(service: &str) -> String {
    let mut name = String::with_capacity(service.len() + SUFFIX.len());
    for (at, byte) in service.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() + SUFFIX.len() > MAX_BYTES {
        let hash = format!("~{:016x}", checksum(service.as_bytes()));
        // All of it is ASCII: every byte is a character.
        name.truncate(MAX_BYTES - SUFFIX.len() - hash.len());
        name.push_str(&hash);
    }
    name.push_str(SUFFIX);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_names_stay_readable() {
        for (service, name) in [
            ("search", "search.json"),
            ("a-b_c.main:80", "a-b_c.main%3A80.json"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.json"),
            (".", "%2E.json"),
            ("ä", "%C3%A4.json"),
            ("50%", "50%25.json"),
        ] {
            assert_eq!(file_name(service), name);
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (a, b) = (format!("{}a", "x".repeat(300)), format!("{}b", "x".repeat(300)));
        assert_eq!(file_name(&a).len(), MAX_BYTES);
        assert_ne!(file_name(&a), file_name(&b));
        assert_eq!(file_name(&"x".repeat(250)).len(), MAX_BYTES);
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_directory(service in "\\PC{1,400}") {
            let name = file_name(&service);
            prop_assert!(name.len() <= MAX_BYTES);
            prop_assert!(!name.starts_with('.') && !name.contains('/') && !name.contains('\0'));
            prop_assert!(name.ends_with(SUFFIX));
        }

        #[test]
        fn different_services_have_different_files(a in ".{1,300}", b in ".{1,300}") {
            prop_assert_eq!(a == b, file_name(&a) == file_name(&b));
        }
    }
}
