//! Rows from the lines of an export. Only what [`super::format`] writes is read: a line that says the same in other bytes is
//! none of ours.

mod csv;
mod json;

use super::format::Format;
use crate::hex::unhex;
use crate::time;
use csv::Csv;
use json::Json;
use log_format::RawEventRef;
use uuid::Uuid;

/// Characters of a uuid.
const UUID_CHARS: usize = 36;

/// Where texts are put that stand in the line in another form: keep one for many lines.
pub(super) type Scratch = [String; 6];

/// The row of a line without its line feed; `None` when it is none.
pub(super) fn row<'a>(
    format: Format,
    line: &'a [u8],
    scratch: &'a mut Scratch,
) -> Option<RawEventRef<'a>> {
    let line = std::str::from_utf8(line).ok()?;
    match format {
        Format::Ndjson => columns(Json::of(line), scratch),
        Format::Csv => columns(Csv::of(line)?, scratch),
    }
}

/// A line whose columns are taken one after another.
trait Line<'a> {
    /// The next column, a text; as it stands in the line, or put into `scratch`.
    fn text(&mut self, scratch: &'a mut String) -> Option<&'a str>;
    /// The next column, a text that stands in the line as it is.
    fn plain(&mut self) -> Option<&'a str>;
    /// The next column, a number.
    fn number(&mut self) -> Option<i64>;
    /// That nothing follows.
    fn end(&self) -> Option<()>;
}

fn columns<'a>(mut line: impl Line<'a>, scratch: &'a mut Scratch) -> Option<RawEventRef<'a>> {
    let [a, b, c, d, e, f] = scratch;
    let row = RawEventRef {
        aggregate_type: line.text(a)?,
        aggregate_id: line.text(b)?,
        sequence: line.number()?,
        event_type: line.text(c)?,
        event_version: line.text(d)?,
        payload: line.text(e)?,
        metadata: line.text(f)?,
        partition: i32::try_from(line.number()?).ok()?,
        position: line.number()?,
        event_id: uuid(line.plain()?)?,
        recorded_at: time::parse_micros(line.plain()?)?,
        hash: unhex(line.plain()?)?,
    };
    line.end().map(|()| row)
}

/// A whole number as it is written, without a plus, a zero before it, or minus zero.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits
        .as_bytes()
        .first()
        .is_some_and(|first| first.is_ascii_digit());
    if !plain || (digits.starts_with('0') && text != "0") {
        return None;
    }
    text.parse().ok()
}

fn uuid(text: &str) -> Option<Uuid> {
    let lower = text.len() == UUID_CHARS && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    lower.then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::super::format::{COLUMNS, CSV_LINE_END};
    use super::*;
    use crate::columns::Columns;

    /// Texts that have to be written otherwise, and a time with every digit.
    const TEXTS: [&str; 3] = [
        "{\"a\":\"\\u0041, \\\\\"}",
        "\u{1}\t\u{7f}한국어\u{1f9e7}/\u{8}",
        "a\rb,\"\"c",
    ];
    const BYTES: &[u8] = b"\"\\{,+-01aunZ \r\x01\xed";

    fn rows() -> impl Iterator<Item = RawEventRef<'static>> {
        TEXTS
            .into_iter()
            .enumerate()
            .map(|(number, text)| RawEventRef {
                aggregate_type: if number == 1 { text } else { "product" },
                aggregate_id: "17",
                sequence: [1, i64::MIN, 0][number],
                event_type: if number == 2 { "" } else { "InvestFailed" },
                event_version: "1.0.0",
                payload: text,
                metadata: "{}",
                partition: [3, i32::MAX, -1][number],
                position: [10, i64::MAX, -12][number],
                event_id: Uuid::from_u128(0x0199_1f5e_7c3a_7b60_9a52_3f0f_6ed1_a001),
                recorded_at: [
                    1_772_334_600_123_456,
                    -62_135_596_800_000_000,
                    253_402_300_799_999_999,
                ][number],
                hash: [0xa7; 32],
            })
    }

    fn line(format: Format, row: &RawEventRef<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        format.row(row, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    /// The columns as a parser of the general form reads them: the other opinion.
    fn parsed(format: Format, line: &[u8]) -> Option<Columns> {
        match format {
            Format::Ndjson => serde_json::from_slice(line).ok(),
            Format::Csv => {
                let text = [
                    COLUMNS.join(",").as_bytes(),
                    CSV_LINE_END.as_bytes(),
                    line,
                    b"\n",
                ]
                .concat();
                let mut rows = ::csv::ReaderBuilder::new()
                    .from_reader(text.as_slice())
                    .into_deserialize::<Columns>();
                let row = rows.next()?.ok()?;
                rows.next().is_none().then_some(row)
            }
        }
    }

    /// Every line that is one byte away: another, one less, one more; but not all of them within the hash.
    fn near_misses(line: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
        let same = |at: usize| line[at..].starts_with(b"a7a7a7a7");
        (0..line.len())
            .filter(move |at| !same(*at))
            .flat_map(move |at| {
                let with = move |upto: usize, new: &[u8]| {
                    let mut missed = line.to_vec();
                    missed.splice(at..upto, new.iter().copied());
                    missed
                };
                let changed = BYTES
                    .iter()
                    .flat_map(move |new| [with(at + 1, &[*new]), with(at, &[*new])]);
                changed.chain([with(at + 1, b"")])
            })
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let (mut scratch, mut read, mut other) = (Scratch::default(), 0, 0);
        for format in [Format::Ndjson, Format::Csv] {
            for stored in rows() {
                let written = line(format, &stored);
                assert_eq!(
                    row(format, &written, &mut scratch),
                    Some(stored),
                    "{}",
                    String::from_utf8_lossy(&written)
                );
                for missed in near_misses(&written).filter(|missed| !missed.contains(&b'\n')) {
                    let parsed = parsed(format, &missed);
                    let expected = parsed
                        .as_ref()
                        .and_then(Columns::row)
                        .filter(|row| line(format, row) == missed);
                    other += usize::from(parsed.is_some() && expected.is_none());
                    read += usize::from(expected.is_some());
                    let found = row(format, &missed, &mut scratch);
                    assert_eq!(
                        found,
                        expected,
                        "{format:?} {}",
                        String::from_utf8_lossy(&missed)
                    );
                }
            }
        }
        assert!(
            read > 2_000 && other > 200,
            "{read} were rows, {other} only said the same otherwise"
        );
    }
}
