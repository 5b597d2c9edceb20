//! Redacts a payment provider's free text: what may be kept of it.

use domain::personal_data;

/// Characters of a reason that are kept.
const MAX_REASON_CHARS: usize = 200;
/// Replaces a reason that seems to hold personal data.
const WITHHELD: &str = "withheld";

/// What may be kept for ever of another company's words: no control characters, at most 200 characters, and nothing if it seems to
/// hold personal data.
pub(super) fn redact(reason: &str) -> String {
    let shown: String = reason.chars().filter(|c| !c.is_control()).collect();
    // The whole text is checked: personal data that is cut in half would not be recognised.
    if personal_data(&shown).is_some() {
        return WITHHELD.to_owned();
    }
    shown
        .chars()
        .take(MAX_REASON_CHARS)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::redact;
    use rstest::rstest;

    #[rstest]
    #[case("", "")]
    #[case(" no\u{0} fun\nds\u{7f} ", "no funds")]
    #[case(
        "limit of 1000-2000 exceeded on 2026-01-01",
        "limit of 1000-2000 exceeded on 2026-01-01"
    )]
    #[case("no funds, call 010-1234-5678", "withheld")]
    #[case("kim@example.com has no funds", "withheld")]
    #[case("900101-\n1234567 is not known", "withheld")]
    fn what_is_personal_is_withheld(#[case] reason: &str, #[case] kept: &str) {
        assert_eq!(redact(reason), kept);
    }

    #[test]
    fn what_is_cut_off_is_looked_at_as_well() {
        let reason = format!("{}900101-1234567", "x".repeat(190));
        assert_eq!(redact(&reason), "withheld");
        assert_eq!(redact(&"x".repeat(1_000)), "x".repeat(200));
    }
}
