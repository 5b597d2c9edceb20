//! Markdown tables and numbers.

use crate::summary::Spread;
use std::time::Duration;

/// A table; every row has as many cells as the head.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(
        &head
            .iter()
            .map(|cell| (*cell).to_owned())
            .collect::<Vec<_>>(),
    );
    text.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

/// `1,234 (1,100-1,300)`.
pub(crate) fn spread(of: Spread, digits: usize) -> String {
    let [median, min, max] = [of.median, of.min, of.max].map(|number| number_text(number, digits));
    if min == max {
        median
    } else {
        format!("{median} ({min}-{max})")
    }
}

/// As many digits after the point as a number of this size deserves.
pub(crate) fn digits(number: f64) -> usize {
    match number.abs() {
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    }
}

/// In milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// In seconds.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// With a comma between thousands.
fn number_text(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or(("", whole), |rest| ("-", rest));
    let mut grouped = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_spreads_their_ends() {
        let of = |median, min, max| Spread { median, min, max };
        assert_eq!(
            spread(of(1_234_567.0, 999.0, 1_234_567.0), 0),
            "1,234,567 (999-1,234,567)"
        );
        assert_eq!(spread(of(-1_000.5, -1_000.5, -1_000.5), 1), "-1,000.5");
        assert_eq!(spread(of(0.25, 0.1, 0.5), 2), "0.25 (0.10-0.50)");
    }

    #[test]
    fn a_table_has_a_head_and_rows() {
        let rows = [vec!["1".to_owned(), "2".to_owned()]];
        assert_eq!(
            table(&["a", "b"], &rows),
            "| a | b |\n|---|---|\n| 1 | 2 |\n"
        );
    }
}
