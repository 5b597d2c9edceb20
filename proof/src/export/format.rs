//! What an export looks like, byte for byte: see `docs/proof-format.md`. A row is written in exactly one way, so that two
//! exports of the same rows are the same, and one that is written otherwise is noticed.

use crate::hex::hex;
use crate::time;
use chrono::{DateTime, Utc};
use log_format::{Identity, Position, RawEventRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The format of a header.
const FORMAT: &str = "moa-export-1";
/// The columns of a row, in the table's order.
pub(super) const COLUMNS: [&str; 12] = [
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "payload",
    "metadata",
    "partition",
    "position",
    "event_id",
    "recorded_at",
    "hash",
];
/// How a CSV ends its lines (RFC 4180).
pub(super) const CSV_LINE_END: &str = "\r\n";

/// The two forms of an export: [`Format::begin`], a line for each row, [`Format::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A header, a JSON object for each row, an end.
    Ndjson,
    /// The columns' names, then a record for each row.
    Csv,
}

/// The first line of an NDJSON export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    format: String,
    log: Uuid,
    partitions: i32,
    heads: Vec<Position>,
    filter: Option<Value>,
    exported_at: String,
}

/// The last line of an NDJSON export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    end: bool,
    pub(super) events: i64,
}

impl Header {
    /// Of an export of the log `identity` up to `heads`, of all its rows or of those that `filter` leaves.
    pub fn of(
        identity: Identity,
        heads: Vec<Position>,
        filter: Option<Value>,
        at: DateTime<Utc>,
    ) -> Self {
        let Identity { log_id, partitions } = identity;
        Self {
            format: FORMAT.into(),
            log: log_id,
            partitions,
            heads,
            filter,
            exported_at: time::format(at),
        }
    }

    /// The header of a line, if it is one.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let header: Self = serde_json::from_slice(line).ok()?;
        let partitions = usize::try_from(header.partitions)
            .ok()
            .filter(|partitions| (1..=64).contains(partitions))?;
        (header.format == FORMAT && header.heads.len() == partitions).then_some(header)
    }

    /// Which log was exported.
    pub fn identity(&self) -> Identity {
        Identity {
            log_id: self.log,
            partitions: self.partitions,
        }
    }

    /// The last position of each partition that was exported.
    pub fn heads(&self) -> &[Position] {
        &self.heads
    }

    /// Whether a filter left rows out.
    pub(super) fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }
}

impl End {
    pub(super) fn after(events: i64) -> Self {
        Self { end: true, events }
    }
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }

    /// What comes before the first row.
    pub fn begin(self, header: &Header) -> Vec<u8> {
        match self {
            Self::Ndjson => line_of(header),
            Self::Csv => (COLUMNS.join(",") + CSV_LINE_END).into_bytes(),
        }
    }

    /// Writes a row's line.
    pub fn row(self, row: &RawEventRef<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Ndjson => ndjson(row, out),
            Self::Csv => csv(row, out),
        }
    }

    /// Writes that there is a row here that cannot be read.
    pub fn unreadable(self, why: &str, out: &mut Vec<u8>) {
        match self {
            Self::Ndjson => {
                out.extend_from_slice(b"{\"unreadable\":");
                json_text(why, out);
                out.extend_from_slice(b"}\n");
            }
            Self::Csv => {
                csv_text(why, out);
                out.extend_from_slice(CSV_LINE_END.as_bytes());
            }
        }
    }

    /// The end of a line, if it is one.
    pub(super) fn read_end(self, line: &[u8]) -> Option<End> {
        let may_be = self == Self::Ndjson && line.starts_with(b"{\"end\"");
        let end: End = may_be
            .then(|| serde_json::from_slice(line).ok())
            .flatten()?;
        end.end.then_some(end)
    }

    /// What comes after the last row.
    pub fn end(self, events: i64) -> Vec<u8> {
        match self {
            Self::Ndjson => line_of(&End::after(events)),
            Self::Csv => Vec::new(),
        }
    }
}

fn line_of(value: &impl Serialize) -> Vec<u8> {
    // Of strings, numbers and what was JSON before: it can always be written.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

fn ndjson(row: &RawEventRef<'_>, out: &mut Vec<u8>) {
    let mut before = b'{';
    for_each_column(row, |name, column| {
        out.extend([before, b'"']);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match column {
            Column::Text(text) => json_text(text, out),
            Column::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        }
        before = b',';
    });
    out.extend_from_slice(b"}\n");
}

fn csv(row: &RawEventRef<'_>, out: &mut Vec<u8>) {
    let mut first = true;
    for_each_column(row, |_, column| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match column {
            Column::Text(text) => csv_text(text, out),
            Column::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        }
    });
    out.extend_from_slice(CSV_LINE_END.as_bytes());
}

enum Column<'a> {
    Text(&'a str),
    Number(i64),
}

/// Each column of `row` in the table's order.
fn for_each_column(row: &RawEventRef<'_>, mut put: impl FnMut(&'static str, Column<'_>)) {
    let columns = [
        Column::Text(row.aggregate_type),
        Column::Text(row.aggregate_id),
        Column::Number(row.sequence),
        Column::Text(row.event_type),
        Column::Text(row.event_version),
        Column::Text(row.payload),
        Column::Text(row.metadata),
        Column::Number(row.partition.into()),
        Column::Number(row.position),
        Column::Text(&row.event_id.to_string()),
        Column::Text(&time::format_micros(row.recorded_at)),
        Column::Text(&hex(&row.hash)),
    ];
    COLUMNS
        .into_iter()
        .zip(columns)
        .for_each(|(name, column)| put(name, column));
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory does not fail, and any text can be written.
    serde_json::to_writer(out, text).ok();
}

fn csv_text(text: &str, out: &mut Vec<u8>) {
    if !needs_quotes(text) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for byte in text.bytes() {
        out.push(byte);
        if byte == b'"' {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

/// Whether a field of a CSV stands in quotes.
pub(super) fn needs_quotes(text: &str) -> bool {
    text.bytes()
        .any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'))
}
