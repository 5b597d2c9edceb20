//! What a block of lines says, worked out aside from the others: rows, and the hashes that they must have.

use super::format::Format;
use super::read::{self, Scratch};
use log_format::{Hash, Partition, Position, RawEventRef};
use std::ops::Range;

/// A block's lines, read.
pub(super) struct ParsedBlock {
    block: Vec<u8>,
    format: Format,
    /// What the rows have of text that is looked at again.
    texts: String,
    lines: Vec<Line>,
}

enum Line {
    Row(Facts),
    /// The line's bytes in the block.
    Other(Range<usize>),
}

/// A row without what only its hash is made of.
struct Facts {
    line: Range<usize>,
    aggregate_type: Range<usize>,
    aggregate_id: Range<usize>,
    sequence: i64,
    partition: Partition,
    position: Position,
    recorded_at: i64,
    hash: Hash,
    /// The hash it must have after the row in the line before; `None` where that is none of its partition.
    made: Option<Hash>,
}

/// A line of a block.
pub(super) enum ParsedLine<'a> {
    /// A row that was hashed after the one in the line before, with the hash it must have.
    Hashed(RawEventRef<'a>, Hash),
    /// A row that is not hashed yet.
    Row(RawEventRef<'a>),
    /// No row.
    Other(&'a [u8]),
}

impl ParsedBlock {
    /// Reads the lines of `block`, which is whole lines.
    pub(super) fn read(block: Vec<u8>, format: Format) -> Self {
        let mut lines = Self {
            format,
            texts: String::new(),
            lines: Vec::new(),
            block: Vec::new(),
        };
        let (mut scratch, mut hashing, mut from) = (Scratch::default(), Vec::new(), 0);
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            let range = from..from + line.len();
            from = range.end;
            let row = read::row(format, without_end(line), &mut scratch);
            lines.push(range, row, &mut hashing);
        }
        Self { block, ..lines }
    }

    fn push(&mut self, line: Range<usize>, row: Option<RawEventRef<'_>>, hashing: &mut Vec<u8>) {
        let Some(row) = row else {
            return self.lines.push(Line::Other(line));
        };
        let before = match self.lines.last() {
            Some(Line::Row(before)) if before.partition == row.partition => Some(before.hash),
            _ => None,
        };
        let facts = Facts {
            line,
            aggregate_type: self.keep(row.aggregate_type),
            aggregate_id: self.keep(row.aggregate_id),
            sequence: row.sequence,
            partition: row.partition,
            position: row.position,
            recorded_at: row.recorded_at,
            hash: row.hash,
            made: before.map(|before| row.hash_after(&before, hashing)),
        };
        self.lines.push(Line::Row(facts));
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let from = self.texts.len();
        self.texts.push_str(text);
        from..self.texts.len()
    }

    /// What each line is, in order.
    pub(super) fn each(&self, mut take: impl FnMut(ParsedLine<'_>)) {
        let mut scratch = Scratch::default();
        for line in &self.lines {
            match line {
                Line::Other(line) => {
                    take(ParsedLine::Other(without_end(&self.block[line.clone()])))
                }
                Line::Row(facts) => take(self.row(facts, &mut scratch)),
            }
        }
    }

    fn row<'a>(&'a self, facts: &'a Facts, scratch: &'a mut Scratch) -> ParsedLine<'a> {
        let line = without_end(&self.block[facts.line.clone()]);
        let Some(made) = facts.made else {
            return read::row(self.format, line, scratch)
                .map_or(ParsedLine::Other(line), ParsedLine::Row);
        };
        let row = RawEventRef {
            aggregate_type: &self.texts[facts.aggregate_type.clone()],
            aggregate_id: &self.texts[facts.aggregate_id.clone()],
            sequence: facts.sequence,
            event_type: "",
            event_version: "",
            payload: "",
            metadata: "",
            partition: facts.partition,
            position: facts.position,
            event_id: uuid::Uuid::nil(),
            recorded_at: facts.recorded_at,
            hash: facts.hash,
        };
        ParsedLine::Hashed(row, made)
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}
