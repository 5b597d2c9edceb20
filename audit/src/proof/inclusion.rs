//! Proofs that an invest's events are in the sealed log, for somebody who has nothing but the proof and the public key.

mod make;

pub use make::{NotProved, prove};

use super::columns::Columns;
use super::hex::{hex, unhex};
use super::key::{KeyId, VerifyingKey};
use super::merkle::climb;
use super::seal::{STRETCH, Statement, read_time, signature, time};
use event_log::{Hash, Partition, Position, StoredRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The format's name.
const FORMAT: &str = "moa-proof-1";
/// The longest audit path: that of a full seal.
const LONGEST: usize = STRETCH.ilog2() as usize;

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    format: String,
    log: Uuid,
    partitions: i32,
    invest: Uuid,
    events: Vec<Proved>,
    /// How many of its events were not sealed yet when the proof was made.
    unsealed: usize,
    seals: Vec<BareSeal>,
}

/// An event and its way to the root of a seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Proved {
    row: Columns,
    /// The hash of the position before.
    before: String,
    seal: i64,
    /// Its place among the seal's leaves, from 0.
    leaf: u64,
    path: Vec<String>,
}

/// A seal without its marks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BareSeal {
    seal: i64,
    partition: Partition,
    first: Position,
    last: Position,
    head: String,
    root: String,
    marks_digest: String,
    at: String,
    previous: String,
    key: String,
    signature: String,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The log.
    pub log: Uuid,
    /// The invest.
    pub invest: Uuid,
    /// Its events that were sealed.
    pub events: Vec<ShownEvent>,
    /// How many were not, says who made the proof.
    pub unsealed: usize,
}

/// An event that was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownEvent {
    /// Its name.
    pub event_type: String,
    /// The product.
    pub product_id: String,
    /// The stored payload.
    pub payload: String,
    /// When it was recorded.
    pub recorded_at: String,
    /// Its partition.
    pub partition: Partition,
    /// Its place there.
    pub position: Position,
    /// The seal's number.
    pub seal: i64,
    /// When it was sealed.
    pub sealed_at: String,
    /// By which key.
    pub key: String,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoProof(pub String);

/// What the proof `text` proves to who trusts `keys`.
pub fn check(text: &str, keys: &[VerifyingKey]) -> Result<Shown, NoProof> {
    let proof: Proof = serde_json::from_str(text).map_err(|error| NoProof(format!("it is no proof: {error}")))?;
    if proof.format != FORMAT {
        return Err(NoProof(format!("its format is {}, not {FORMAT}", proof.format)));
    }
    if proof.events.is_empty() {
        return Err(NoProof("it has no events".into()));
    }
    let events = proof.events.iter().map(|event| proof.show(event, keys)).collect::<Result<Vec<_>, _>>()?;
    let in_order = |pair: &[ShownEvent]| pair[0].partition == pair[1].partition && pair[0].position < pair[1].position;
    if !events.windows(2).all(in_order) {
        return Err(NoProof("its events are not in the order of their positions in one partition".into()));
    }
    Ok(Shown { log: proof.log, invest: proof.invest, events, unsealed: proof.unsealed })
}

impl Proof {
    fn show(&self, event: &Proved, keys: &[VerifyingKey]) -> Result<ShownEvent, NoProof> {
        let wrong = |what: &str| NoProof(format!("the event at position {}: {what}", event.row.position));
        let row = event.row.row().ok_or_else(|| wrong("its row is malformed"))?;
        if !self.is_about(&row) {
            return Err(wrong("it is not of this invest"));
        }
        let bare =
            self.seals.iter().find(|seal| seal.seal == event.seal).ok_or_else(|| wrong("its seal is not there"))?;
        let statement = self.statement(bare).ok_or_else(|| wrong("its seal is malformed"))?;
        bare.is_signed(&statement, keys).map_err(|why| wrong(&why))?;
        let before = unhex(&event.before).ok_or_else(|| wrong("the hash before it is malformed"))?;
        if row.hash_after(&before, &mut Vec::new()) != row.hash {
            return Err(wrong("its hash does not follow from its columns and the hash before it"));
        }
        if !is_at(&statement, &row, event.leaf) {
            return Err(wrong("its seal does not cover its place"));
        }
        if root(&statement, event, &row) != Some(statement.root) {
            return Err(wrong("its path does not lead to the root that was sealed"));
        }
        Ok(shown(&row, &event.row, bare))
    }

    /// Whether the payload names the invest.
    fn is_about(&self, row: &StoredRow<'_>) -> bool {
        let payload: Value = serde_json::from_str(row.payload).unwrap_or_default();
        payload[row.event_type]["investId"] == self.invest.to_string()
    }

    fn statement(&self, seal: &BareSeal) -> Option<Statement> {
        Some(Statement {
            log: self.log,
            partitions: self.partitions,
            seal: seal.seal,
            partition: seal.partition,
            first: seal.first,
            last: seal.last,
            head: unhex(&seal.head)?,
            root: unhex(&seal.root)?,
            marks: unhex(&seal.marks_digest)?,
            at: read_time(&seal.at)?,
            previous: unhex(&seal.previous)?,
        })
    }
}

impl BareSeal {
    fn is_signed(&self, statement: &Statement, keys: &[VerifyingKey]) -> Result<(), String> {
        let signature = signature(&self.signature).ok_or("its seal's signature is malformed")?;
        let key = keys.iter().find(|key| KeyId::of(key).to_string() == self.key);
        let key = key.ok_or_else(|| format!("its seal was made with the key {}, which was not given", self.key))?;
        let signed = key.verify_strict(statement.text().as_bytes(), &signature);
        signed.map_err(|_| "its seal's signature is not of what the seal says".into())
    }
}

fn is_at(statement: &Statement, row: &StoredRow<'_>, leaf: u64) -> bool {
    let place = row.position.checked_sub(statement.first).and_then(|place| u64::try_from(place).ok());
    row.partition == statement.partition && row.position <= statement.last && place == Some(leaf)
}

fn root(statement: &Statement, event: &Proved, row: &StoredRow<'_>) -> Option<Hash> {
    let size = statement.last.checked_sub(statement.first)?.checked_add(1).and_then(|size| u64::try_from(size).ok())?;
    let path = event.path.iter().map(|hash| unhex(hash)).collect::<Option<Vec<Hash>>>()?;
    if path.len() > LONGEST { None } else { climb(&row.hash, event.leaf, size, &path) }
}

fn shown(row: &StoredRow<'_>, columns: &Columns, seal: &BareSeal) -> ShownEvent {
    ShownEvent {
        event_type: row.event_type.into(),
        product_id: row.aggregate_id.into(),
        payload: row.payload.into(),
        recorded_at: columns.recorded_at.clone(),
        partition: row.partition,
        position: row.position,
        seal: seal.seal,
        sealed_at: seal.at.clone(),
        key: seal.key.clone(),
    }
}

impl BareSeal {
    fn of(seal: &super::seal::Seal) -> Self {
        use base64::Engine as _;
        let said = &seal.statement;
        Self {
            seal: said.seal,
            partition: said.partition,
            first: said.first,
            last: said.last,
            head: hex(&said.head),
            root: hex(&said.root),
            marks_digest: hex(&said.marks),
            at: time(said.at),
            previous: hex(&said.previous),
            key: seal.key.to_string(),
            signature: base64::prelude::BASE64_STANDARD.encode(seal.signature.to_bytes()),
        }
    }
}
