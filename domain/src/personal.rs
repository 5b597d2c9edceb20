//! Recognises personal data in text that is about to be kept for ever.
//!
//! It recognises only forms that hardly anything else has, so that honest titles and reasons pass. It is a safety net, no proof that a text
//! has no personal data.

use std::fmt;

/// What a text seems to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonalData {
    /// `name@host.tld`.
    Email,
    /// A Korean resident registration number: six digits that are a date, a hyphen, seven digits of which the first is
    /// 1 to 8.
    ResidentNumber,
    /// A Korean mobile number: `01x-xxxx-xxxx`, also with blanks or dots, all together, or with +82.
    Phone,
    /// Four groups of four digits that pass the check of card numbers.
    Card,
}

impl fmt::Display for PersonalData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email => "an e-mail address",
            Self::ResidentNumber => "a resident registration number",
            Self::Phone => "a phone number",
            Self::Card => "a card number",
        })
    }
}

/// The first kind of personal data that `text` seems to hold. Full-width digits and any kind of dash count as plain ones.
pub fn personal_data(text: &str) -> Option<PersonalData> {
    let text: String = text.chars().map(plain).collect();
    let runs = runs(&text);
    if holds_resident_number(&runs) {
        Some(PersonalData::ResidentNumber)
    } else if holds(&runs, card) {
        Some(PersonalData::Card)
    } else if holds(&runs, phone) || holds(&runs, phone_abroad) {
        Some(PersonalData::Phone)
    } else {
        holds_email(&text).then_some(PersonalData::Email)
    }
}

/// Whether an id holds what has the form of a resident registration number. The only form that is looked for in ids: made
/// ones, such as uuids, may look like any other by chance.
pub fn resident_number(id: &str) -> bool {
    // Most ids have no hyphen, and every request has an id.
    id.contains('-') && holds_resident_number(&runs(id))
}

/// As many digits as follow each other.
struct Run<'a> {
    digits: &'a str,
    /// What is before them, since the run before.
    before: &'a str,
}

impl Run<'_> {
    fn has(&self, digits: usize) -> bool {
        self.digits.len() == digits
    }

    fn separator(&self) -> Option<&str> {
        Some(self.before).filter(|before| matches!(*before, "-" | " " | "."))
    }
}

fn plain(c: char) -> char {
    match c {
        '０'..='９' => char::from_digit(u32::from(c) - u32::from('０'), 10).unwrap_or(c),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => '-',
        '＠' => '@',
        '．' => '.',
        '＋' => '+',
        '\u{a0}' | '\u{3000}' => ' ',
        _ => c,
    }
}

fn runs(text: &str) -> Vec<Run<'_>> {
    let (mut runs, mut rest) = (Vec::new(), text);
    while let Some(begins) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(begins);
        let ends = from
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len());
        let (digits, after) = from.split_at(ends);
        runs.push(Run { digits, before });
        rest = after;
    }
    runs
}

/// Whether `form` is there, standing alone: what a hyphen joins to more digits is a part of something longer, such as an
/// account's number. A form says how many runs it takes.
fn holds(runs: &[Run<'_>], form: fn(&[Run<'_>]) -> Option<usize>) -> bool {
    let joined = |at: usize| at > 0 && runs.get(at).is_some_and(|run| run.before == "-");
    (0..runs.len())
        .any(|at| form(&runs[at..]).is_some_and(|length| !joined(at) && !joined(at + length)))
}

/// Wherever it stands.
fn holds_resident_number(runs: &[Run<'_>]) -> bool {
    runs.windows(2).any(is_resident_number)
}

/// 900101-1234567.
fn is_resident_number(runs: &[Run<'_>]) -> bool {
    let [birth, rest] = runs else { return false };
    let first = rest.digits.as_bytes().first();
    rest.before == "-"
        && birth.has(6)
        && rest.has(7)
        && is_date(birth.digits)
        && matches!(first, Some(b'1'..=b'8'))
}

/// Month and day of YYMMDD exist.
fn is_date(digits: &str) -> bool {
    let number = |from: usize| {
        digits
            .get(from..from + 2)
            .and_then(|two| two.parse::<u8>().ok())
    };
    let most = match number(2) {
        Some(2) => 29,
        Some(4 | 6 | 9 | 11) => 30,
        Some(1 | 3 | 5 | 7 | 8 | 10 | 12) => 31,
        Some(_) | None => 0,
    };
    number(4).is_some_and(|day| (1..=most).contains(&day))
}

/// 010-1234-5678, 011 123 4567, 01012345678.
fn phone(runs: &[Run<'_>]) -> Option<usize> {
    let first = runs.first()?;
    if first.has(11) && first.digits.starts_with("010") {
        return Some(1);
    }
    let [prefix, middle, last, ..] = runs else {
        return None;
    };
    let mobile = matches!(
        prefix.digits.as_bytes(),
        [b'0', b'1', b'0' | b'1' | b'6'..=b'9']
    );
    let fits = mobile && (middle.has(3) || middle.has(4)) && last.has(4) && joined(&[middle, last]);
    fits.then_some(3)
}

/// +82 10-1234-5678.
fn phone_abroad(runs: &[Run<'_>]) -> Option<usize> {
    let [country, prefix, middle, last, ..] = runs else {
        return None;
    };
    let korea =
        country.before.ends_with('+') && country.digits == "82" && prefix.separator().is_some();
    let mobile = matches!(prefix.digits.as_bytes(), [b'1', b'0' | b'1' | b'6'..=b'9']);
    let fits = korea
        && mobile
        && (middle.has(3) || middle.has(4))
        && last.has(4)
        && joined(&[middle, last]);
    fits.then_some(4)
}

/// 4111-1111-1111-1111.
fn card(runs: &[Run<'_>]) -> Option<usize> {
    let groups = runs.get(..4)?;
    let joined = joined(&[&groups[1], &groups[2], &groups[3]]);
    let fits = joined && groups.iter().all(|run| run.has(4)) && !groups[0].digits.starts_with('0');
    (fits && luhn(groups.iter().flat_map(|run| run.digits.bytes()))).then_some(4)
}

/// By one and the same separator.
fn joined(runs: &[&Run<'_>]) -> bool {
    let first = runs.first().and_then(|run| run.separator());
    first.is_some() && runs.iter().all(|run| run.separator() == first)
}

/// The check digit of ISO/IEC 7812, of an even number of digits: every second one doubled, from the first.
fn luhn(digits: impl Iterator<Item = u8>) -> bool {
    let weighed = digits.enumerate().map(|(place, digit)| {
        let digit = u32::from(digit - b'0') * if place % 2 == 0 { 2 } else { 1 };
        digit / 10 + digit % 10
    });
    weighed.sum::<u32>() % 10 == 0
}

fn holds_email(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let named = text[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || "._%+-".contains(c));
        named && begins_with_host(&text[at + 1..])
    })
}

/// Two labels or more, the last of two letters or more.
fn begins_with_host(text: &str) -> bool {
    let ends = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'))
        .unwrap_or(text.len());
    // A sentence may end after it.
    let host = text[..ends].trim_end_matches(['.', '-']);
    let mut labels = host.split('.');
    let last = labels.next_back().unwrap_or_default();
    let named = last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic());
    named && labels.clone().count() > 0 && labels.all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests;
