//! A seal of an act: a signed statement about the hash of one row of the record of acts, and so about all rows before it.
//! `docs/proof-format.md` has every byte of it.

use crate::hex::{hex, unhex};
use crate::key::KeyId;
use crate::seal::{SealParseError, malformed, signature};
use crate::time;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use log_format::Hash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// What the signed text begins with, and a line's format. No seal of events begins so: neither passes for the other.
const FORMAT: &str = "moa-act-seal-1";

/// What a seal says, and what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActStatement {
    /// Which log.
    pub log: Uuid,
    /// The seal's number: 1, 2, 3...
    pub seal: i64,
    /// The number of the row.
    pub act: i64,
    /// The row's hash.
    pub hash: Hash,
    /// When, by the database's clock, in whole microseconds.
    pub at: DateTime<Utc>,
    /// The digest of the seal before; zeros for the first.
    pub previous: Hash,
}

impl ActStatement {
    /// The signed text.
    pub fn text(&self) -> String {
        format!(
            "{FORMAT}\nlog {}\nseal {}\nact {}\nhash {}\nat {}\nprevious {}\n",
            self.log,
            self.seal,
            self.act,
            hex(&self.hash),
            time::format(self.at),
            hex(&self.previous),
        )
    }

    /// SHA-256 of the signed text: what the next seal names as `previous`.
    pub fn digest(&self) -> Hash {
        Sha256::digest(self.text()).into()
    }

    /// Signs it.
    pub fn seal(self, key: &SigningKey) -> ActSeal {
        let signature = key.sign(self.text().as_bytes());
        ActSeal {
            key: KeyId::of(&key.verifying_key()),
            statement: self,
            signature,
        }
    }
}

/// A statement with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActSeal {
    /// What is signed.
    pub statement: ActStatement,
    /// Which key signed.
    pub key: KeyId,
    /// The Ed25519 signature over the statement's text.
    pub signature: Signature,
}

impl ActSeal {
    /// Whether `key` signed it.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verify_strict(self.statement.text().as_bytes(), &self.signature)
            .is_ok()
    }

    /// Its line in a file of seals of acts, without the line's end.
    pub fn line(&self) -> String {
        // Of strings and numbers alone: it can always be written.
        serde_json::to_string(&ActSealLine::from(self)).unwrap_or_default()
    }

    /// The seal of a line.
    pub fn read(line: &str) -> Result<Self, SealParseError> {
        serde_json::from_str::<ActSealLine>(line)
            .map_err(|error| SealParseError(error.to_string()))?
            .seal()
    }
}

/// A seal of an act as a line of JSON, whose fields are in `docs/proof-format.md`.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ActSeal)]
pub struct ActSealLine {
    format: String,
    log: String,
    seal: i64,
    act: i64,
    hash: String,
    at: String,
    previous: String,
    key: String,
    signature: String,
}

impl From<&ActSeal> for ActSealLine {
    fn from(seal: &ActSeal) -> Self {
        let statement = &seal.statement;
        Self {
            format: FORMAT.to_owned(),
            log: statement.log.to_string(),
            seal: statement.seal,
            act: statement.act,
            hash: hex(&statement.hash),
            at: time::format(statement.at),
            previous: hex(&statement.previous),
            key: seal.key.to_string(),
            signature: BASE64_STANDARD.encode(seal.signature.to_bytes()),
        }
    }
}

impl ActSealLine {
    fn seal(self) -> Result<ActSeal, SealParseError> {
        if self.format != FORMAT {
            return Err(SealParseError(format!("its format is not {FORMAT}")));
        }
        let statement = ActStatement {
            log: Uuid::try_parse(&self.log).map_err(|_| malformed("log"))?,
            seal: self.seal,
            act: self.act,
            hash: unhex(&self.hash).ok_or_else(|| malformed("hash"))?,
            at: time::parse(&self.at).ok_or_else(|| malformed("at"))?,
            previous: unhex(&self.previous).ok_or_else(|| malformed("previous"))?,
        };
        let signature = signature(&self.signature).ok_or_else(|| malformed("signature"))?;
        Ok(ActSeal {
            statement,
            key: KeyId(unhex(&self.key).ok_or_else(|| malformed("key"))?),
            signature,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    fn statement() -> ActStatement {
        ActStatement {
            log: Uuid::from_u128(0x0199_1f5e_7c3a_7b60_9a52_3f0f_6ed1_a001),
            seal: 7,
            act: 6,
            hash: [0xab; 32],
            at: "2026-03-01T03:10:00Z".parse().unwrap(),
            previous: [0; 32],
        }
    }

    /// The text of `docs/proof-format.md`, to the byte; it is final.
    #[test]
    fn the_signed_text_stays_the_same() {
        let expected = "moa-act-seal-1\n\
            log 01991f5e-7c3a-7b60-9a52-3f0f6ed1a001\n\
            seal 7\n\
            act 6\n\
            hash abababababababababababababababababababababababababababababababab\n\
            at 2026-03-01T03:10:00.000000Z\n\
            previous 0000000000000000000000000000000000000000000000000000000000000000\n";
        assert_eq!(statement().text(), expected);
    }

    /// Whatever is changed of a line, it is no seal any more, or not signed.
    #[test]
    fn no_byte_of_a_line_can_be_changed() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let seal = statement().seal(&key);
        let line = seal.line();
        assert!(
            line.starts_with(r#"{"format":"moa-act-seal-1","log":"01991f5e-"#),
            "{line}"
        );
        assert_eq!(ActSeal::read(&line), Ok(seal.clone()));
        for at in 0..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(read) = ActSeal::read(&String::from_utf8(changed).unwrap()) else {
                continue;
            };
            assert!(
                read.key != seal.key || !read.is_signed_by(&key.verifying_key()),
                "byte {at}: {read:?}"
            );
        }
    }
}
