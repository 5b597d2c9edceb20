//! Values of the admin listener's answers, as a page shows them.

use maud::{Markup, html};
use serde_json::Value;

/// A text without its quotes, a number with its thousands apart, nothing for null, and else the JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_i64().map_or_else(|| number.to_string(), grouped),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}

/// A time with a blank between its date and the rest, so that it may break there.
pub(crate) fn time(value: &Value) -> String {
    text(value).replacen('T', " ", 1)
}

/// The rows of a list.
pub(crate) fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// `1,234,567`.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How much of a whole, from 0 to 100.
pub(crate) fn percent(part: i64, whole: i64) -> i64 {
    // Amounts are below 2^53, so this does not overflow in 128 bits.
    if whole <= 0 {
        0
    } else {
        (i128::from(part) * 100 / i128::from(whole)).clamp(0, 100) as i64
    }
}

/// A bar that fills, and the numbers beside it.
pub(crate) fn bar(name: &str, part: i64, whole: i64) -> Markup {
    html! {
        progress aria-label=(name) value=(part) max=(whole.max(1)) {}
        span .of { (grouped(part)) " of " (grouped(whole)) " (" (percent(part, whole)) " %)" }
    }
}

/// A state, by its word and its colour.
pub(crate) fn state(word: &str) -> Markup {
    let kind = match word {
        "RUNNING" | "ONGOING" | "DONE" | "SETTLED" | "SUCCESS" | "WHOLE" | "READY" | "LIVE" => {
            "good"
        }
        "STUCK" | "AWAY" | "FAILED" | "DIFFERENT" | "BROKEN" | "CANCELLED" | "REFUSED" => "bad",
        "PAUSED" | "OTHER_VERSION" | "MISSING" | "BUILDING" | "SOLD_OUT" | "RESERVED" => "fair",
        _ => "plain",
    };
    html! { @if !word.is_empty() { span class=(format!("state {kind}")) { (word) } } }
}

/// An object as a list of names and values, one within the other where there are more.
pub(crate) fn details(value: &Value) -> Markup {
    match value {
        Value::Object(fields) => html! {
            dl .details { @for (name, value) in fields { div { dt { (name) } dd { (details(value)) } } } }
        },
        Value::Array(items) if items.iter().any(Value::is_object) => {
            html! { ol { @for item in items { li { (details(item)) } } } }
        }
        other => html! { (text(other)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(0, "0")]
    #[case(999, "999")]
    #[case(1_000, "1,000")]
    #[case(-1_234_567, "-1,234,567")]
    #[case(i64::MIN, "-9,223,372,036,854,775,808")]
    fn thousands_stand_apart(#[case] number: i64, #[case] shown: &str) {
        assert_eq!(grouped(number), shown);
    }

    #[rstest]
    #[case(0, 0, 0)]
    #[case(1, 3, 33)]
    #[case(3, 3, 100)]
    #[case(4, 3, 100)]
    #[case(i64::MAX, i64::MAX, 100)]
    fn a_share_is_a_whole_percentage(#[case] part: i64, #[case] whole: i64, #[case] shown: i64) {
        assert_eq!(percent(part, whole), shown);
    }

    #[test]
    fn what_somebody_wrote_is_never_markup() {
        let evil = json!({"<script>": ["<img src=x onerror=alert(1)>", {"a": "\"><b>"}]});
        let shown = details(&evil).into_string();
        assert!(
            !shown.contains("<script>") && !shown.contains("<img") && !shown.contains("<b>"),
            "{shown}"
        );
    }
}
