//! The problem with one field or parameter, as an answer repeats it.

use std::fmt;

/// As much of a given text as an answer repeats, in characters.
const MAX_SHOWN_CHARS: usize = 40;

/// One field or parameter that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    field: &'static str,
    wrong: String,
    given: Option<String>,
}

impl FieldProblem {
    /// `field wrong`, to be read as a sentence: "investAmount is missing".
    pub fn new(field: &'static str, wrong: impl Into<String>) -> Self {
        Self {
            field,
            wrong: wrong.into(),
            given: None,
        }
    }

    /// Adds what was given, cut to 40 characters and with unprintable characters escaped.
    pub fn given(self, text: &str) -> Self {
        Self {
            given: Some(shown(text)),
            ..self
        }
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.wrong)?;
        match &self.given {
            Some(given) => write!(f, ", was {given}"),
            None => Ok(()),
        }
    }
}

fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(MAX_SHOWN_CHARS);
    for c in text.chars().take(MAX_SHOWN_CHARS) {
        match c {
            // Escaping these would only make JSON harder to read; the answer is JSON-escaped anyway.
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// A whole number written plainly: `-?(0|[1-9][0-9]*)` and not `-0`.
pub(crate) fn plain_integer(text: &str) -> Result<i64, &'static str> {
    const PLAIN: &str = "must be a whole number without quotes, fraction or exponent";
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain || (digits.starts_with('0') && text != "0") {
        return Err(PLAIN);
    }
    text.parse()
        .map_err(|_| "must be a whole number nearer to zero")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0", Some(0))]
    #[case("-1", Some(-1))]
    #[case("9223372036854775807", Some(i64::MAX))]
    #[case("-9223372036854775808", Some(i64::MIN))]
    #[case("9223372036854775808", None)]
    #[case("-0", None)]
    #[case("00", None)]
    #[case("01", None)]
    #[case("+1", None)]
    #[case("--1", None)]
    #[case("1.0", None)]
    #[case("1e3", None)]
    #[case(" 1", None)]
    #[case("", None)]
    #[case("-", None)]
    #[case("١", None)]
    fn only_plain_integers_are_read(#[case] text: &str, #[case] read: Option<i64>) {
        assert_eq!(plain_integer(text).ok(), read);
    }

    #[rstest]
    #[case("1.0", "a is bad, was 1.0")]
    #[case("\"x\"", "a is bad, was \"x\"")]
    #[case("\n\u{202e}", "a is bad, was \\n\\u{202e}")]
    #[case(
        "0123456789012345678901234567890123456789",
        "a is bad, was 0123456789012345678901234567890123456789"
    )]
    #[case(
        "01234567890123456789012345678901234567890",
        "a is bad, was 0123456789012345678901234567890123456789…"
    )]
    fn what_was_given_is_cut_and_escaped(#[case] given: &str, #[case] sentence: &str) {
        assert_eq!(
            FieldProblem::new("a", "is bad").given(given).to_string(),
            sentence
        );
    }
}
