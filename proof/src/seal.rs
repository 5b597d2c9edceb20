//! A seal: a signed statement about a segment of one partition, positions `first` to `last`: which events were there. A loss seal says
//! that events which were sealed before are lost, and where sealing continues.
//! `docs/proof-format.md` has every byte of it.

mod line;

pub(crate) use line::malformed;
pub use line::{Line, LossLine, SegmentLine};

use crate::hex::hex;
use crate::key::KeyId;
use crate::time;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use log_format::{Hash, Partition, Position};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How many events one seal covers at most: the length of a segment.
pub const MAX_EVENTS_PER_SEAL: Position = 8_192;
/// How many bytes of each event's hash a seal keeps as its prefix.
pub const HASH_PREFIX_BYTES: usize = 4;

/// What a seal says, and what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which log.
    pub log: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
    /// The seal's number over the whole log: 1, 2, 3...
    pub seal: i64,
    /// The partition that it covers a segment of.
    pub partition: Partition,
    /// The segment's first position; of a loss seal, the one that is sealed next.
    pub first: Position,
    /// Its last; of a loss seal, the one before `first`: the last that stays sealed, 0 where none does.
    pub last: Position,
    /// The chain's hash at `last`; the partition's genesis at 0.
    pub head: Hash,
    /// The Merkle root over the segment; zeros in a loss seal.
    pub root: Hash,
    /// SHA-256 of the hash prefixes.
    pub hash_prefixes_digest: Hash,
    /// When, by the database's clock, in whole microseconds.
    pub at: DateTime<Utc>,
    /// The digest of the seal before; zeros for the first.
    pub previous: Hash,
    /// What is lost, in a loss seal.
    pub loss: Option<Loss>,
}

/// Events that were sealed, and that the log does not have any more: an operator accepted that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The first lost position. Those from the statement's `first` to the one before are still there, and are sealed again.
    pub first: Position,
    /// The last lost position that was sealed.
    pub last: Position,
    /// The chain's hash there, as it was sealed.
    pub head: Hash,
}

impl Statement {
    /// The signed text.
    pub fn text(&self) -> String {
        self.loss
            .map_or_else(|| self.segment_text(), |loss| self.loss_text(loss))
    }

    fn loss_text(&self, loss: Loss) -> String {
        format!(
            "moa-loss-1\nlog {}\npartitions {}\nseal {}\npartition {}\nkept {}\nhead {}\nlost_first {}\nlost_last {}\nlost_head {}\nat {}\nprevious {}\n",
            self.log,
            self.partitions,
            self.seal,
            self.partition,
            self.last,
            hex(&self.head),
            loss.first,
            loss.last,
            hex(&loss.head),
            time::format(self.at),
            hex(&self.previous),
        )
    }

    fn segment_text(&self) -> String {
        format!(
            "moa-seal-1\nlog {}\npartitions {}\nseal {}\npartition {}\nfirst {}\nlast {}\nhead {}\nroot {}\nmarks {}\nat {}\nprevious {}\n",
            self.log,
            self.partitions,
            self.seal,
            self.partition,
            self.first,
            self.last,
            hex(&self.head),
            hex(&self.root),
            hex(&self.hash_prefixes_digest),
            time::format(self.at),
            hex(&self.previous),
        )
    }

    /// SHA-256 of the signed text: what the next seal names as `previous`.
    pub fn digest(&self) -> Hash {
        Sha256::digest(self.text()).into()
    }

    /// Signs it. `hash_prefixes` are those whose digest it has.
    pub fn seal(self, hash_prefixes: Vec<u8>, key: &SigningKey) -> Seal {
        let signature = key.sign(self.text().as_bytes());
        Seal {
            key: KeyId::of(&key.verifying_key()),
            statement: self,
            hash_prefixes,
            signature,
        }
    }
}

/// A statement with its hash prefixes and signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// What is signed.
    pub statement: Statement,
    /// The first [`HASH_PREFIX_BYTES`] bytes of the hash of each sealed event, one after another.
    pub hash_prefixes: Vec<u8>,
    /// Which key signed.
    pub key: KeyId,
    /// The Ed25519 signature over the statement's text.
    pub signature: Signature,
}

/// A line that cannot be read as a seal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read as a seal: {0}")]
pub struct SealParseError(pub String);

impl Seal {
    /// The prefix of the hash of the event at `position`; empty where the seal has none.
    pub fn hash_prefix(&self, position: Position) -> &[u8] {
        let at = position
            .checked_sub(self.statement.first)
            .and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| {
            self.hash_prefixes
                .get(at * HASH_PREFIX_BYTES..)?
                .get(..HASH_PREFIX_BYTES)
        })
        .unwrap_or_default()
    }

    /// How many events it covers; a loss seal none.
    pub fn events(&self) -> Position {
        self.statement.last - self.statement.first + 1
    }

    /// Whether `key` signed it.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verify_strict(self.statement.text().as_bytes(), &self.signature)
            .is_ok()
    }

    /// Its line in a file of seals, without the line's end.
    pub fn line(&self) -> String {
        // Of strings and numbers alone: it can always be written.
        serde_json::to_string(&Line::from(self)).unwrap_or_default()
    }

    /// The seal of a line in a file of seals.
    pub fn read(line: &str) -> Result<Self, SealParseError> {
        Line::read(line)
    }
}

/// A signature from its base64.
pub fn signature(text: &str) -> Option<Signature> {
    Some(Signature::from_bytes(
        &BASE64_STANDARD.decode(text).ok()?.try_into().ok()?,
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let hash_prefixes_digest: Hash = Sha256::digest(b"abcdefgh").into();
        Statement {
            log: Uuid::from_u128(0x0199_1f5e_7c3a_7b60_9a52_3f0f_6ed1_a001),
            partitions: 4,
            seal: 7,
            partition: 3,
            first: 11,
            last: 12,
            head: [0xab; 32],
            root: [0x01; 32],
            hash_prefixes_digest,
            at: "2026-03-01T03:10:00Z".parse().unwrap(),
            previous: [0; 32],
            loss: None,
        }
    }

    fn loss() -> Statement {
        Statement {
            root: [0; 32],
            hash_prefixes_digest: Sha256::digest([]).into(),
            loss: Some(Loss {
                first: 12,
                last: 20,
                head: [0xcd; 32],
            }),
            last: 10,
            ..statement()
        }
    }

    /// The text of `docs/proof-format.md`, to the byte; it is final.
    #[test]
    fn the_signed_text_stays_the_same() {
        let expected = "moa-seal-1\n\
            log 01991f5e-7c3a-7b60-9a52-3f0f6ed1a001\n\
            partitions 4\n\
            seal 7\n\
            partition 3\n\
            first 11\n\
            last 12\n\
            head abababababababababababababababababababababababababababababababab\n\
            root 0101010101010101010101010101010101010101010101010101010101010101\n\
            marks 9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab\n\
            at 2026-03-01T03:10:00.000000Z\n\
            previous 0000000000000000000000000000000000000000000000000000000000000000\n";
        assert_eq!(statement().text(), expected);
    }

    #[test]
    fn the_signed_text_of_a_loss_stays_the_same() {
        let expected = "moa-loss-1\n\
            log 01991f5e-7c3a-7b60-9a52-3f0f6ed1a001\n\
            partitions 4\n\
            seal 7\n\
            partition 3\n\
            kept 10\n\
            head abababababababababababababababababababababababababababababababab\n\
            lost_first 12\n\
            lost_last 20\n\
            lost_head cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\n\
            at 2026-03-01T03:10:00.000000Z\n\
            previous 0000000000000000000000000000000000000000000000000000000000000000\n";
        assert_eq!(loss().text(), expected);
        let seal = loss().seal(Vec::new(), &SigningKey::from_bytes(&[7; 32]));
        assert!(
            seal.line().starts_with(r#"{"format":2,"log":"01991f5e-"#),
            "{}",
            seal.line()
        );
        assert_eq!(
            (Seal::read(&seal.line()), seal.events()),
            (Ok(seal.clone()), 0)
        );
    }

    /// A signature of RFC 8032 is deterministic, so the line is the same for ever.
    #[test]
    fn a_line_stays_the_same() {
        let seal = statement().seal(b"abcdefgh".to_vec(), &SigningKey::from_bytes(&[7; 32]));
        let line = seal.line();
        assert!(line.starts_with(r#"{"format":1,"log":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","partitions":4,"seal":7,"partition":3,"first":11,"last":12,"head":"abab"#), "{line}");
        assert!(
            line.contains(
                r#""marks":"YWJjZGVmZ2g=","at":"2026-03-01T03:10:00.000000Z","previous":"0000"#
            ),
            "{line}"
        );
        assert_eq!(Seal::read(&line), Ok(seal.clone()));
        assert!(seal.is_signed_by(&SigningKey::from_bytes(&[7; 32]).verifying_key()));
        assert!(!seal.is_signed_by(&SigningKey::from_bytes(&[8; 32]).verifying_key()));
        assert_eq!(
            (
                seal.hash_prefix(11),
                seal.hash_prefix(12),
                seal.hash_prefix(13),
                seal.hash_prefix(10)
            ),
            (&b"abcd"[..], &b"efgh"[..], &b""[..], &b""[..])
        );
    }

    /// Whatever is changed of a line, it is no seal any more, or not signed.
    #[test]
    fn no_byte_of_a_line_can_be_changed() {
        let key = SigningKey::from_bytes(&[7; 32]);
        no_byte_can_be_changed(&statement().seal(b"abcdefgh".to_vec(), &key), &key);
        no_byte_can_be_changed(&loss().seal(Vec::new(), &key), &key);
    }

    fn no_byte_can_be_changed(seal: &Seal, key: &SigningKey) {
        let line = seal.line();
        for at in 0..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(read) = Seal::read(&String::from_utf8(changed).unwrap()) else {
                continue;
            };
            // Which key it was is not signed: another is looked for, and is none or did not sign.
            assert!(
                read.key != seal.key || !read.is_signed_by(&key.verifying_key()),
                "byte {at}: {read:?}"
            );
        }
    }
}
