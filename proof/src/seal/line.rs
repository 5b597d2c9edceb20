//! A seal as a line of JSON: in the file of seals, and in answers. `docs/proof-format.md` has the fields.

use super::{Loss, Seal, SealParseError, Statement, signature};
use crate::hex::{hex, unhex};
use crate::key::KeyId;
use crate::time;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use log_format::{Hash, Partition, Position};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// The format of a segment's line.
const FORMAT: i64 = 1;
/// That of a loss seal's line.
const LOSS_FORMAT: i64 = 2;

/// A seal as a line of JSON, whose fields are in `docs/proof-format.md`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Seal)]
pub enum Line {
    /// Of a segment.
    Segment(SegmentLine),
    /// Of a loss.
    Loss(LossLine),
}

impl Line {
    /// The seal of a line.
    pub(super) fn read(line: &str) -> Result<Seal, SealParseError> {
        match serde_json::from_str::<SegmentLine>(line) {
            Ok(line) => line.seal(),
            Err(error) => match serde_json::from_str::<LossLine>(line) {
                Ok(line) => line.seal(),
                Err(_) => Err(SealParseError(error.to_string())),
            },
        }
    }
}

impl From<&Seal> for Line {
    fn from(seal: &Seal) -> Self {
        match seal.statement.loss {
            None => Self::Segment(SegmentLine::from(seal)),
            Some(loss) => Self::Loss(LossLine::of(seal, loss)),
        }
    }
}

/// The seal of a segment as a line of JSON.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SegmentSeal)]
pub struct SegmentLine {
    format: i64,
    log: String,
    partitions: i32,
    seal: i64,
    #[schema(value_type = i32)]
    partition: Partition,
    #[schema(value_type = i64)]
    first: Position,
    #[schema(value_type = i64)]
    last: Position,
    head: String,
    root: String,
    marks: String,
    at: String,
    previous: String,
    key: String,
    signature: String,
}

impl From<&Seal> for SegmentLine {
    fn from(seal: &Seal) -> Self {
        let statement = &seal.statement;
        Self {
            format: FORMAT,
            log: statement.log.to_string(),
            partitions: statement.partitions,
            seal: statement.seal,
            partition: statement.partition,
            first: statement.first,
            last: statement.last,
            head: hex(&statement.head),
            root: hex(&statement.root),
            marks: BASE64_STANDARD.encode(&seal.hash_prefixes),
            at: time::format(statement.at),
            previous: hex(&statement.previous),
            key: seal.key.to_string(),
            signature: BASE64_STANDARD.encode(seal.signature.to_bytes()),
        }
    }
}

impl SegmentLine {
    fn seal(self) -> Result<Seal, SealParseError> {
        is_format(self.format, FORMAT)?;
        let hash_prefixes = BASE64_STANDARD
            .decode(&self.marks)
            .map_err(|_| malformed("marks"))?;
        let statement = Statement {
            log: Uuid::try_parse(&self.log).map_err(|_| malformed("log"))?,
            partitions: self.partitions,
            seal: self.seal,
            partition: self.partition,
            first: self.first,
            last: self.last,
            head: unhex(&self.head).ok_or_else(|| malformed("head"))?,
            root: unhex(&self.root).ok_or_else(|| malformed("root"))?,
            hash_prefixes_digest: Sha256::digest(&hash_prefixes).into(),
            at: time::parse(&self.at).ok_or_else(|| malformed("at"))?,
            previous: unhex(&self.previous).ok_or_else(|| malformed("previous"))?,
            loss: None,
        };
        signed(statement, hash_prefixes, &self.key, &self.signature)
    }
}

/// A loss seal as a line of JSON.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LossSeal)]
pub struct LossLine {
    format: i64,
    log: String,
    partitions: i32,
    seal: i64,
    #[schema(value_type = i32)]
    partition: Partition,
    #[schema(value_type = i64)]
    kept: Position,
    head: String,
    #[schema(value_type = i64)]
    lost_first: Position,
    #[schema(value_type = i64)]
    lost_last: Position,
    lost_head: String,
    at: String,
    previous: String,
    key: String,
    signature: String,
}

impl LossLine {
    fn of(seal: &Seal, loss: Loss) -> Self {
        let statement = &seal.statement;
        Self {
            format: LOSS_FORMAT,
            log: statement.log.to_string(),
            partitions: statement.partitions,
            seal: statement.seal,
            partition: statement.partition,
            kept: statement.last,
            head: hex(&statement.head),
            lost_first: loss.first,
            lost_last: loss.last,
            lost_head: hex(&loss.head),
            at: time::format(statement.at),
            previous: hex(&statement.previous),
            key: seal.key.to_string(),
            signature: BASE64_STANDARD.encode(seal.signature.to_bytes()),
        }
    }

    fn seal(self) -> Result<Seal, SealParseError> {
        is_format(self.format, LOSS_FORMAT)?;
        let loss = Loss {
            first: self.lost_first,
            last: self.lost_last,
            head: unhex(&self.lost_head).ok_or_else(|| malformed("lost_head"))?,
        };
        let statement = Statement {
            log: Uuid::try_parse(&self.log).map_err(|_| malformed("log"))?,
            partitions: self.partitions,
            seal: self.seal,
            partition: self.partition,
            first: self.kept.checked_add(1).ok_or_else(|| malformed("kept"))?,
            last: self.kept,
            head: unhex(&self.head).ok_or_else(|| malformed("head"))?,
            root: Hash::default(),
            hash_prefixes_digest: Sha256::digest([]).into(),
            at: time::parse(&self.at).ok_or_else(|| malformed("at"))?,
            previous: unhex(&self.previous).ok_or_else(|| malformed("previous"))?,
            loss: Some(loss),
        };
        signed(statement, Vec::new(), &self.key, &self.signature)
    }
}

pub(crate) fn malformed(what: &str) -> SealParseError {
    SealParseError(format!("its {what} is malformed"))
}

fn is_format(found: i64, wanted: i64) -> Result<(), SealParseError> {
    if found == wanted {
        Ok(())
    } else {
        Err(SealParseError(format!(
            "its format is {found}, not {wanted}"
        )))
    }
}

fn signed(
    statement: Statement,
    hash_prefixes: Vec<u8>,
    key: &str,
    text: &str,
) -> Result<Seal, SealParseError> {
    let signature = signature(text).ok_or_else(|| malformed("signature"))?;
    let key = KeyId(unhex(key).ok_or_else(|| malformed("key"))?);
    Ok(Seal {
        statement,
        hash_prefixes,
        key,
        signature,
    })
}
