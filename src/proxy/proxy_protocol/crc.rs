//! CRC-32C (Castagnoli), the checksum that version 2 of the PROXY protocol may carry.

/// The polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of `parts`, one after the other. Bit by bit: few headers have one, and they are short.
pub(super) fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _bit| {
            (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(crc32c([&b"12345"[..], b"6789"]), 0xe306_9283);
        assert_eq!(crc32c([]), 0);
    }
}
