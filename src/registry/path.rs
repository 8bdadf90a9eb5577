//! Child names: path-encoded records, sequence numbers.
//!
//! nerve can put the whole record into the child's *name* (`use_path_encoding`), so that one list of children answers
//! everything: `base64_<LEN>_<URL-SAFE BASE64, PADDED>_<10-DIGIT SEQUENCE>`, LEN counting the base64 characters (which may
//! contain `_` themselves). Names come from outside: a name that merely looks encoded is an error here, and its data is
//! read instead.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Marks an encoded name.
const PREFIX: &str = "base64_";

/// Longest encoded record, in base64 characters; above it nerve uses a plain name.
pub const MAX_ENCODED_CHARS: usize = 65_536;

/// Digits that ZooKeeper appends to the name of a sequential node.
const SEQUENCE_DIGITS: usize = 10;

/// Writes padding (as nerve), reads with or without (as Ruby's `urlsafe_decode64`).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A record found in a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRecord {
    /// The record's bytes (JSON, if nerve wrote it).
    pub data: Vec<u8>,
    /// The sequence number behind it.
    pub sequence: Option<u64>,
}

/// Why a name that starts with `base64_` is not an encoded record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No `<digits>_` after the prefix.
    #[error("no length after base64_")]
    NoLength,
    /// Fewer characters than announced, or something other than `_` behind them.
    #[error("not {announced} characters of base64 followed by _ or nothing")]
    WrongLength {
        /// The length in the name.
        announced: usize,
    },
    /// The alphabet or the padding is wrong.
    #[error("not base64: {0}")]
    NotBase64(base64::DecodeError),
}

/// The path of child `name` of `parent`.
pub fn child(parent: &str, name: &str) -> String {
    format!("{}/{name}", parent.trim_end_matches('/'))
}

/// The number at the end of a child's name: the last `_`-separated token, if it is all digits. `None` as well when it
/// does not fit (ZooKeeper's counter can turn negative).
pub fn sequence(name: &str) -> Option<u64> {
    // Ruby's split drops empty tokens at the end.
    let last = name.trim_end_matches('_').rsplit('_').next()?;
    all_digits(last).then(|| last.parse().ok()).flatten()
}

/// True for a name that ends as ZooKeeper ends sequential nodes: ten digits. Such a name is never used twice under one
/// parent, so its data need not be read twice. A hand-made `db_1` is not of that kind.
pub fn is_sequential(name: &str) -> bool {
    name.len().checked_sub(SEQUENCE_DIGITS).and_then(|at| name.get(at..)).is_some_and(all_digits)
}

/// The record in a child's name. `None`: the name does not claim to hold one.
pub fn decode(name: &str) -> Option<Result<EncodedRecord, PathError>> {
    name.strip_prefix(PREFIX).map(decode_rest)
}

fn decode_rest(rest: &str) -> Result<EncodedRecord, PathError> {
    let (length, rest) =
        rest.split_once('_').filter(|(length, _)| all_digits(length)).ok_or(PathError::NoLength)?;
    let announced: usize = length.parse().map_err(|_overflow| PathError::NoLength)?;
    let (encoded, behind) = rest
        .split_at_checked(announced)
        .filter(|(_, behind)| behind.is_empty() || behind.starts_with('_'))
        .ok_or(PathError::WrongLength { announced })?;
    let data = BASE64.decode(encoded).map_err(PathError::NotBase64)?;
    Ok(EncodedRecord { data, sequence: sequence(behind) })
}

/// The name prefix for `data`, with the trailing `_` to which ZooKeeper appends the sequence number. `None` when it would
/// be longer than [`MAX_ENCODED_CHARS`]: nerve then uses `<instance_id>_`.
pub fn encode(data: &[u8]) -> Option<String> {
    let encoded = BASE64.encode(data);
    (encoded.len() <= MAX_ENCODED_CHARS).then(|| format!("{PREFIX}{}_{encoded}_", encoded.len()))
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_number_is_the_last_token_of_digits() {
        for (name, expected) in [
            ("i-abc_0000000012", Some(12)),
            ("foo_", None),
            ("foo_7__", Some(7)),
            ("12", Some(12)),
            ("i-abc", None),
            ("a_-2147483648", None),
            ("a_99999999999999999999", None),
            ("", None),
            ("___", None),
        ] {
            assert_eq!(sequence(name), expected, "{name}");
        }
    }

    #[test]
    fn ten_digits_make_a_sequential_name() {
        assert!(is_sequential("member_0000000007"));
        assert!(is_sequential("0000000007"));
        assert!(!is_sequential("db_1"));
        assert!(!is_sequential("i-abc_"));
        assert!(!is_sequential("é00000007"));
    }

    #[test]
    fn reads_the_golden_name() {
        let name = "base64_68_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMifQ==_0000000003";
        let record = decode(name).unwrap().unwrap();
        assert_eq!(record.data, br#"{"host":"10.0.0.1","port":8080,"name":"i-abc123"}"#);
        assert_eq!(record.sequence, Some(3));
        assert_eq!(encode(&record.data).unwrap() + "0000000003", name);
    }

    #[test]
    fn the_sequence_may_be_missing() {
        for name in ["base64_4_e30=", "base64_4_e30=_", "base64_3_e30_"] {
            let record = decode(name).unwrap().unwrap();
            assert_eq!((record.data.as_slice(), record.sequence), (&b"{}"[..], None));
        }
    }

    #[test]
    fn names_that_only_look_encoded_are_errors() {
        assert_eq!(decode("i-abc_0000000001"), None);
        assert_eq!(decode("base64_").unwrap(), Err(PathError::NoLength));
        assert_eq!(decode("base64_x_e30=").unwrap(), Err(PathError::NoLength));
        assert_eq!(decode("base64_99_xx_").unwrap(), Err(PathError::WrongLength { announced: 99 }));
        assert_eq!(decode("base64_2_e30=").unwrap(), Err(PathError::WrongLength { announced: 2 }));
        assert!(matches!(decode("base64_4_e30*_").unwrap(), Err(PathError::NotBase64(_))));
        // A length that ends inside a character must not split it.
        assert!(decode("base64_1_é").unwrap().is_err());
    }

    #[test]
    fn too_long_records_are_not_encoded() {
        assert!(encode(&[0; 49_152]).is_some());
        assert!(encode(&[0; 49_153]).is_none());
    }

    #[test]
    fn children_of_the_root_have_one_slash() {
        assert_eq!(child("/", "a"), "/a");
        assert_eq!(child("/a/b", "c"), "/a/b/c");
    }

    proptest! {
        #[test]
        fn no_name_panics(name in "\\PC*", rest in "[0-9_=a-zA-Zé]*") {
            drop(decode(&name));
            drop(decode(&format!("base64_{rest}")));
            let _ = (sequence(&name), is_sequential(&name));
        }

        #[test]
        fn every_record_comes_back(
            data in proptest::collection::vec(any::<u8>(), 0..300), number in 0_u32..,
        ) {
            let name = format!("{}{number:010}", encode(&data).unwrap());
            let record = decode(&name).unwrap().unwrap();
            prop_assert_eq!(record.data, data);
            prop_assert_eq!(record.sequence, Some(u64::from(number)));
        }
    }
}
