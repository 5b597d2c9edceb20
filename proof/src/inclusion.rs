//! Inclusion proofs: an invest's events, the Merkle path of each to a seal's root, and the seal. A reader needs nothing but the
//! proof and the public key.

use crate::columns::Columns;
use crate::hex::{hex, unhex};
use crate::key::{KeyId, VerifyingKey};
use crate::merkle::{self, root_of_path};
use crate::seal::{MAX_EVENTS_PER_SEAL, Seal, Statement, signature};
use crate::time;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use log_format::{Hash, Identity, Partition, Position, RawEvent, RawEventRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// The format's name.
const FORMAT: &str = "moa-proof-1";
/// Hashes of the longest Merkle path: that of a full segment.
const MAX_PATH_HASHES: usize = MAX_EVENTS_PER_SEAL.ilog2() as usize;

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    format: String,
    log: Uuid,
    partitions: i32,
    invest: Uuid,
    events: Vec<ProvedEvent>,
    /// How many of its events were not sealed yet when the proof was made.
    unsealed: usize,
    seals: Vec<SealWithoutPrefixes>,
}

/// An event and its Merkle path to the root of a seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvedEvent {
    row: Columns,
    /// The hash of the position before.
    before: String,
    seal: i64,
    /// Its place among the seal's leaves, from 0.
    leaf: u64,
    path: Vec<String>,
}

/// A seal without its hash prefixes: only their digest is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SealWithoutPrefixes {
    seal: i64,
    #[schema(value_type = i32)]
    partition: Partition,
    #[schema(value_type = i64)]
    first: Position,
    #[schema(value_type = i64)]
    last: Position,
    head: String,
    root: String,
    marks_digest: String,
    at: String,
    previous: String,
    key: String,
    signature: String,
}

/// What a valid proof proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedProof {
    /// The log.
    pub log: Uuid,
    /// The invest.
    pub invest: Uuid,
    /// Its events that were sealed.
    pub events: Vec<VerifiedEvent>,
    /// How many were not, says who made the proof.
    pub unsealed: usize,
}

/// An event that was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedEvent {
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

/// The proof is not valid; why, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProofError(pub String);

/// Checks the proof `text` against seals that one of `keys` signed.
pub fn check(text: &str, keys: &[VerifyingKey]) -> Result<VerifiedProof, ProofError> {
    let proof: Proof = serde_json::from_str(text)
        .map_err(|error| ProofError(format!("it is no proof: {error}")))?;
    if proof.format != FORMAT {
        return Err(ProofError(format!(
            "its format is {}, not {FORMAT}",
            proof.format
        )));
    }
    if proof.events.is_empty() {
        return Err(ProofError("it has no events".into()));
    }
    let events = proof
        .events
        .iter()
        .map(|event| proof.verify(event, keys))
        .collect::<Result<Vec<_>, _>>()?;
    let in_order = |pair: &[VerifiedEvent]| {
        pair[0].partition == pair[1].partition && pair[0].position < pair[1].position
    };
    if !events.windows(2).all(in_order) {
        return Err(ProofError(
            "its events are not in the order of their positions in one partition".into(),
        ));
    }
    Ok(VerifiedProof {
        log: proof.log,
        invest: proof.invest,
        events,
        unsealed: proof.unsealed,
    })
}

impl Proof {
    /// The proof of `events` of `invest` in the log `identity`, each sealed by one of `seals`; `unsealed` more are not sealed yet.
    pub fn new(
        identity: &Identity,
        invest: Uuid,
        events: Vec<ProvedEvent>,
        seals: &[Seal],
        unsealed: usize,
    ) -> Self {
        let Identity {
            log_id: log,
            partitions,
        } = *identity;
        let seals = seals.iter().map(SealWithoutPrefixes::of).collect();
        Self {
            format: FORMAT.into(),
            log,
            partitions,
            invest,
            events,
            unsealed,
            seals,
        }
    }

    fn verify(
        &self,
        event: &ProvedEvent,
        keys: &[VerifyingKey],
    ) -> Result<VerifiedEvent, ProofError> {
        let wrong = |what: &str| {
            ProofError(format!(
                "the event at position {}: {what}",
                event.row.position
            ))
        };
        let row = event
            .row
            .row()
            .ok_or_else(|| wrong("its row is malformed"))?;
        if !self.is_about(&row) {
            return Err(wrong("it is not of this invest"));
        }
        let seal = self
            .seals
            .iter()
            .find(|seal| seal.seal == event.seal)
            .ok_or_else(|| wrong("its seal is not there"))?;
        let statement = self
            .statement(seal)
            .ok_or_else(|| wrong("its seal is malformed"))?;
        seal.is_signed(&statement, keys)
            .map_err(|why| wrong(&why))?;
        let before =
            unhex(&event.before).ok_or_else(|| wrong("the hash before it is malformed"))?;
        if row.hash_after(&before, &mut Vec::new()) != row.hash {
            return Err(wrong(
                "its hash does not follow from its columns and the hash before it",
            ));
        }
        if !is_at(&statement, &row, event.leaf) {
            return Err(wrong("its seal does not cover its place"));
        }
        if root(&statement, event, &row) != Some(statement.root) {
            return Err(wrong("its path does not lead to the root that was sealed"));
        }
        Ok(verified(&row, &event.row, seal))
    }

    /// Whether the payload names the invest.
    fn is_about(&self, row: &RawEventRef<'_>) -> bool {
        let payload: Value = serde_json::from_str(row.payload).unwrap_or_default();
        payload[row.event_type]["investId"] == self.invest.to_string()
    }

    fn statement(&self, seal: &SealWithoutPrefixes) -> Option<Statement> {
        Some(Statement {
            log: self.log,
            partitions: self.partitions,
            seal: seal.seal,
            partition: seal.partition,
            first: seal.first,
            last: seal.last,
            head: unhex(&seal.head)?,
            root: unhex(&seal.root)?,
            hash_prefixes_digest: unhex(&seal.marks_digest)?,
            at: time::parse(&seal.at)?,
            previous: unhex(&seal.previous)?,
            loss: None,
        })
    }
}

impl ProvedEvent {
    /// The event `row`, which `seal` covers. `hashes` are those of the segment's events in the log, after the hash before its first
    /// one. `None` when they are not what was sealed.
    pub fn new(row: &RawEvent, seal: &Seal, hashes: &[Hash]) -> Option<Self> {
        let leaf = usize::try_from(row.position - seal.statement.first).ok()?;
        let (before, leaves) = (hashes.get(leaf)?, hashes.get(1..)?);
        let is_sealed =
            leaves.get(leaf) == Some(&row.hash) && merkle::root(leaves) == seal.statement.root;
        let path = merkle::path(leaves, leaf)
            .iter()
            .map(|hash| hex(hash))
            .collect();
        let proved = Self {
            row: row.into(),
            before: hex(before),
            seal: seal.statement.seal,
            leaf: leaf as u64,
            path,
        };
        is_sealed.then_some(proved)
    }
}

impl SealWithoutPrefixes {
    fn is_signed(&self, statement: &Statement, keys: &[VerifyingKey]) -> Result<(), String> {
        let signature = signature(&self.signature).ok_or("its seal's signature is malformed")?;
        let key = keys
            .iter()
            .find(|key| KeyId::of(key).to_string() == self.key);
        let key = key.ok_or_else(|| {
            format!(
                "its seal was made with the key {}, which was not given",
                self.key
            )
        })?;
        let signed = key.verify_strict(statement.text().as_bytes(), &signature);
        signed.map_err(|_| "its seal's signature is not of what the seal says".into())
    }
}

fn is_at(statement: &Statement, row: &RawEventRef<'_>, leaf: u64) -> bool {
    let place = row
        .position
        .checked_sub(statement.first)
        .and_then(|place| u64::try_from(place).ok());
    row.partition == statement.partition && row.position <= statement.last && place == Some(leaf)
}

fn root(statement: &Statement, event: &ProvedEvent, row: &RawEventRef<'_>) -> Option<Hash> {
    let size = statement
        .last
        .checked_sub(statement.first)?
        .checked_add(1)
        .and_then(|size| u64::try_from(size).ok())?;
    let path = event
        .path
        .iter()
        .map(|hash| unhex(hash))
        .collect::<Option<Vec<Hash>>>()?;
    if path.len() > MAX_PATH_HASHES {
        None
    } else {
        root_of_path(&row.hash, event.leaf, size, &path)
    }
}

fn verified(row: &RawEventRef<'_>, columns: &Columns, seal: &SealWithoutPrefixes) -> VerifiedEvent {
    VerifiedEvent {
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

impl SealWithoutPrefixes {
    fn of(seal: &Seal) -> Self {
        let statement = &seal.statement;
        Self {
            seal: statement.seal,
            partition: statement.partition,
            first: statement.first,
            last: statement.last,
            head: hex(&statement.head),
            root: hex(&statement.root),
            marks_digest: hex(&statement.hash_prefixes_digest),
            at: time::format(statement.at),
            previous: hex(&statement.previous),
            key: seal.key.to_string(),
            signature: BASE64_STANDARD.encode(seal.signature.to_bytes()),
        }
    }
}
