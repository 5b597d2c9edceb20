//! What may be done to a sealed stretch, and where it must show.

use event_log::RawEvent;
use std::collections::BTreeSet;

use chrono::DateTime;
use uuid::Uuid;

use crate::app::{PARTITIONS, SealedApp};
use crate::found::{Findings, bad};
use crate::rows::rehash_from;
use testbed::Random;

/// A log that is not what it was.
pub struct Tampered {
    pub name: String,
    pub rows: Vec<RawEvent>,
    pub expected: Findings,
}

type Kind = fn(&mut Target<'_>) -> (String, Findings);

/// The ways, each as likely as the next.
pub const KINDS: [Kind; 14] = [
    changed_text,
    changed_number,
    changed_hash,
    changed_place,
    changed_amount,
    deleted_row,
    deleted_tail,
    swapped,
    inserted,
    rehashed_change,
    rehashed_delete,
    rehashed_insert,
    regrown,
    two_at_once,
];

/// A partition to be tampered with, and where.
pub struct Target<'a> {
    app: &'a SealedApp,
    random: &'a mut Random,
    partition: i32,
    /// Its rows; that of position 1 is the first.
    rows: Vec<RawEvent>,
    /// ValidSeals up to here.
    sealed: usize,
    /// A position, at or before the last seal.
    at: usize,
}

/// The log after something of `kind` was done to it at or before the last seal.
pub fn tampered(app: &SealedApp, kind: Kind, random: &mut Random) -> Tampered {
    let mut target = target(app, random);
    let (name, expected) = kind(&mut target);
    let Target {
        partition, rows, ..
    } = target;
    Tampered {
        name,
        rows: others(app, partition).chain(rows).collect(),
        expected,
    }
}

fn target<'a>(app: &'a SealedApp, random: &'a mut Random) -> Target<'a> {
    let partition = random.index(PARTITIONS as usize) as i32;
    let sealed = app.sealed[partition as usize] as usize;
    let at = random.within(1, sealed);
    Target {
        app,
        partition,
        rows: app.partition(partition),
        sealed,
        at,
        random,
    }
}

fn others(app: &SealedApp, partition: i32) -> impl Iterator<Item = RawEvent> + '_ {
    app.rows
        .iter()
        .filter(move |row| row.partition != partition)
        .cloned()
}

impl Target<'_> {
    fn row(&mut self) -> &mut RawEvent {
        &mut self.rows[self.at - 1]
    }

    fn found(&self, position: usize, problem: &str) -> Findings {
        BTreeSet::from([bad(self.partition, position as i64, problem)])
    }

    fn here(&self, what: &str, problem: &str) -> (String, Findings) {
        let (partition, at) = (self.partition, self.at);
        (
            format!("{what} at partition {partition} position {at}"),
            self.found(at, problem),
        )
    }

    fn renumber(&mut self) {
        for (row, position) in self.rows.iter_mut().zip(1..) {
            row.position = position;
        }
    }

    /// As who wants it to look right: hashes follow again, from `from` on.
    fn rehash_from(&mut self, from: usize) {
        rehash_from(
            self.app.log.identity().log_id,
            PARTITIONS,
            &mut self.rows,
            from - 1,
        );
    }

    /// As who wants it to look right: every stream of the partition counts 1, 2, 3... again.
    fn resequence(&mut self) {
        let mut last = std::collections::HashMap::new();
        for row in &mut self.rows {
            let sequence = last.entry(row.aggregate_id.clone()).or_insert(0);
            *sequence += 1;
            row.sequence = *sequence;
        }
    }
}

/// One letter or digit of a text becomes another; JSON stays JSON, for the column takes nothing else.
fn changed_text(target: &mut Target<'_>) -> (String, Findings) {
    let column = target.random.index(6);
    let (at, other) = (
        target.random.next_u64() as usize,
        b"abcxyz0123456789"[target.random.index(16)],
    );
    let row = target.row();
    let (name, text) = match column {
        0 => ("aggregate_type", &mut row.aggregate_type),
        1 => ("aggregate_id", &mut row.aggregate_id),
        2 => ("event_type", &mut row.event_type),
        3 => ("event_version", &mut row.event_version),
        4 => ("payload", &mut row.payload),
        _ => ("metadata", &mut row.metadata),
    };
    *text = with_another_byte(text, at, other, column >= 4);
    target.here(&format!("a byte of {name}"), "CHANGED")
}

fn with_another_byte(text: &str, at: usize, other: u8, json: bool) -> String {
    let tried = (0..text.len()).map(|step| (at + step) % text.len());
    let changed = tried.filter_map(|at| {
        let mut bytes = text.as_bytes().to_vec();
        if !bytes[at].is_ascii_alphanumeric() {
            return None;
        }
        // A product's id may be one digit, and that the very one.
        bytes[at] = if bytes[at] == other { b'q' } else { other };
        let changed = String::from_utf8(bytes).ok()?;
        (!json || serde_json::from_str::<serde_json::Value>(&changed).is_ok()).then_some(changed)
    });
    changed
        .into_iter()
        .next()
        .expect("a byte that can be another")
}

fn changed_number(target: &mut Target<'_>) -> (String, Findings) {
    let bit = target.random.index(20);
    let column = target.random.index(3);
    let row = target.row();
    let name = match column {
        0 => {
            row.sequence = (row.sequence ^ 1 << bit).max(1);
            if row.sequence == 1 {
                row.sequence = 1 << 20;
            }
            "sequence"
        }
        1 => {
            let mut bytes = *row.event_id.as_bytes();
            bytes[bit % 16] ^= 1 << (bit % 8);
            row.event_id = Uuid::from_bytes(bytes);
            "event_id"
        }
        _ => {
            let micros = row.recorded_at.timestamp_micros() ^ 1 << bit;
            row.recorded_at = DateTime::from_timestamp_micros(micros).unwrap();
            "recorded_at"
        }
    };
    target.here(&format!("a bit of {name}"), "CHANGED")
}

fn changed_hash(target: &mut Target<'_>) -> (String, Findings) {
    let (byte, bit) = (target.random.index(32), target.random.index(8));
    target.row().hash[byte] ^= 1 << bit;
    target.here("a bit of hash", "CHANGED")
}

/// Where it was there is a hole; where it is now, of all partitions, the log has none.
fn changed_place(target: &mut Target<'_>) -> (String, Findings) {
    if target.random.index(2) == 0 {
        target.row().position += 1_000;
        return target.here("another position", "MISSING");
    }
    let partition = target.random.one(&[-1, PARTITIONS, 7]);
    target.row().partition = partition;
    let (name, mut expected) = target.here("another partition", "MISSING");
    expected.insert(bad(partition, target.at as i64, "PARTITION"));
    (name, expected)
}

fn changed_amount(target: &mut Target<'_>) -> (String, Findings) {
    change_amount(target);
    target.here("another amount", "CHANGED")
}

/// Goes to the next event that has an amount, if the one here has none.
fn change_amount(target: &mut Target<'_>) {
    while !target.row().payload.contains("\"amount\":") {
        target.at = target.at % target.sealed + 1;
    }
    let digit = 1 + target.random.index(9);
    let payload = &mut target.row().payload;
    *payload = payload.replace("\"amount\":", &format!("\"amount\":{digit}"));
}

fn deleted_row(target: &mut Target<'_>) -> (String, Findings) {
    target.rows.remove(target.at - 1);
    target.here("a row deleted", "MISSING")
}

fn deleted_tail(target: &mut Target<'_>) -> (String, Findings) {
    target.rows.truncate(target.at - 1);
    target.here("the tail deleted", "CUT_OFF")
}

fn swapped(target: &mut Target<'_>) -> (String, Findings) {
    let other = 1 + (target.at + target.random.index(target.sealed - 1)) % target.sealed;
    let (first, second) = (target.at.min(other), target.at.max(other));
    target.rows.swap(first - 1, second - 1);
    if target.random.index(2) == 0 {
        // Only their places are swapped; else their hashes stay where they were, too.
        let hash = target.rows[first - 1].hash;
        target.rows[first - 1].hash = std::mem::replace(&mut target.rows[second - 1].hash, hash);
    }
    target.renumber();
    target.at = first;
    target.here(&format!("swapped with {second}"), "CHANGED")
}

fn inserted(target: &mut Target<'_>) -> (String, Findings) {
    let of = target.random.index(target.rows.len());
    let mut row = target.rows[of].clone();
    row.event_id = Uuid::now_v7();
    target.rows.insert(target.at - 1, row);
    target.renumber();
    target.here("a row inserted", "CHANGED")
}

/// The chain is whole again: only who kept something outside can know.
fn rehashed_change(target: &mut Target<'_>) -> (String, Findings) {
    change_amount(target);
    target.rehash_from(target.at);
    target.here("another amount, hashed again", "REWRITTEN")
}

fn rehashed_delete(target: &mut Target<'_>) -> (String, Findings) {
    target.rows.remove(target.at - 1);
    target.renumber();
    target.resequence();
    target.rehash_from(1);
    target.here("a row deleted, hashed again", "REWRITTEN")
}

fn rehashed_insert(target: &mut Target<'_>) -> (String, Findings) {
    let mut row = target.row().clone();
    row.event_id = Uuid::now_v7();
    target.rows.insert(target.at - 1, row);
    target.renumber();
    target.resequence();
    target.rehash_from(1);
    target.here("a row inserted, hashed again", "REWRITTEN")
}

/// Cut off, and grown again with other events: as long as before, or shorter, or longer.
fn regrown(target: &mut Target<'_>) -> (String, Findings) {
    let length = target.random.within(target.at, target.rows.len() + 5);
    let old = target.rows.split_off(target.at - 1);
    for place in target.at..=length {
        let mut row = old[place % old.len()].clone();
        row.event_id = Uuid::now_v7();
        row.recorded_at = old.last().unwrap().recorded_at;
        target.rows.push(row);
    }
    target.renumber();
    target.resequence();
    target.rehash_from(1);
    target.here(&format!("cut off and grown to {length}"), "REWRITTEN")
}

/// The first in the partition is named.
fn two_at_once(target: &mut Target<'_>) -> (String, Findings) {
    change_amount(target);
    let later = target.random.within(target.at, target.rows.len());
    target.rows.truncate(later);
    target.here(
        &format!("another amount, and cut off after {later}"),
        "CHANGED",
    )
}
