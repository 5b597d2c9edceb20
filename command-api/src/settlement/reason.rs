//! A payment provider's free text, as far as it may be kept.

use domain::personal_data;

/// Of a reason users are shown so many characters.
const REASON: usize = 200;
/// What stands for a reason in which something personal was seen.
const WITHHELD: &str = "withheld";

/// What may be kept of another company's words, for ever: without control characters, not longer than a sentence or two,
/// and nothing of it when it seems to hold personal data.
pub(super) fn told(reason: &str) -> String {
    let shown: String = reason.chars().filter(|c| !c.is_control()).collect();
    // All of it is looked at: what is cut in half would not be seen any more.
    if personal_data(&shown).is_some() {
        return WITHHELD.to_owned();
    }
    shown.chars().take(REASON).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::told;
    use rstest::rstest;

    #[rstest]
    #[case("", "")]
    #[case(" no\u{0} fun\nds\u{7f} ", "no funds")]
    #[case("limit of 1000-2000 exceeded on 2026-01-01", "limit of 1000-2000 exceeded on 2026-01-01")]
    #[case("no funds, call 010-1234-5678", "withheld")]
    #[case("kim@example.com has no funds", "withheld")]
    #[case("900101-\n1234567 is not known", "withheld")]
    fn what_is_personal_is_withheld(#[case] reason: &str, #[case] kept: &str) {
        assert_eq!(told(reason), kept);
    }

    #[test]
    fn what_is_cut_off_is_looked_at_as_well() {
        let reason = format!("{}900101-1234567", "x".repeat(190));
        assert_eq!(told(&reason), "withheld");
        assert_eq!(told(&"x".repeat(1_000)), "x".repeat(200));
    }
}
