//! Bytes as hexadecimal digits, in lower case only: there is one way to write them.

/// `bytes` in hex.
pub fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// The bytes that `text` is the hex of; `None` unless they are exactly `N`, in lower case.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        assert_eq!(hex(&[0, 9, 10, 171, 255]), "00090aabff");
        assert_eq!(unhex("00090aabff"), Some([0, 9, 10, 171, 255]));
        for wrong in [
            "",
            "0",
            "00090aabf",
            "00090aabff0",
            "00090aabff00",
            "00090AABFF",
            "00090aabfg",
            "00090aab f",
            "+0090aabff",
        ] {
            assert_eq!(unhex::<5>(wrong), None, "{wrong}");
        }
    }
}
