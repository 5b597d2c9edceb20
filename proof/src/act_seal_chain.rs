//! Which seals of acts are valid: signed by a known key, numbered without a gap, each naming the one before, and covering the record
//! from its first row on.

use crate::act_seal::ActSeal;
use crate::key::KeyId;
use crate::position_range::PositionRange;
use crate::seal::SealParseError;
use crate::seal_chain::{BadSeal, SealChainError};
use ed25519_dalek::VerifyingKey;
use log_format::Hash;
use uuid::Uuid;

/// The valid seals of acts so far, and the hashes that they state.
#[derive(Clone, Debug)]
pub struct ActSealChain {
    log: Uuid,
    keys: Vec<(KeyId, VerifyingKey)>,
    seals: i64,
    digest: Hash,
    hashes: Vec<Hash>,
    lost: Vec<PositionRange>,
}

impl ActSealChain {
    /// Before the first seal of the log `log`. Only seals that one of `keys` signed are valid.
    pub fn new(log: Uuid, keys: &[VerifyingKey]) -> Self {
        let keys = keys.iter().map(|key| (KeyId::of(key), *key)).collect();
        Self {
            log,
            keys,
            seals: 0,
            digest: Hash::default(),
            hashes: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The number of the last seal; 0 before the first.
    pub fn seals(&self) -> i64 {
        self.seals
    }

    /// The digest of the last seal; zeros before the first.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The last row that is sealed, and its hash; `None` before the first.
    pub fn end(&self) -> Option<(i64, Hash)> {
        Some((self.sealed_to(), *self.hashes.last()?))
    }

    /// The sealed hash of each row, from the first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    fn sealed_to(&self) -> i64 {
        i64::try_from(self.hashes.len()).unwrap_or(i64::MAX)
    }

    /// Appends the next seal if it is valid. One of a row that is sealed already says that the database was set back, and that an operator
    /// accepted it: from that row on, what was sealed before is lost.
    pub fn append(&mut self, seal: &ActSeal) -> Result<(), SealChainError> {
        let wrong = |why: String| Err(SealChainError::Wrong(why));
        let statement = &seal.statement;
        let (next, last) = (self.seals + 1, self.sealed_to());
        if statement.seal != next {
            return wrong(format!(
                "it should be the seal of acts {next}, but says {}",
                statement.seal
            ));
        }
        if statement.log != self.log {
            return wrong(format!("it is of another log, {}", statement.log));
        }
        if !(1..=last + 1).contains(&statement.act) {
            return wrong(format!(
                "it should seal act {} or one before, but seals {}",
                last + 1,
                statement.act
            ));
        }
        if statement.previous != self.digest {
            return wrong("it does not name the seal before".into());
        }
        let key = self.keys.iter().find(|(id, _)| *id == seal.key);
        let (_, key) = key.ok_or(SealChainError::UnknownKey(seal.key))?;
        if !seal.is_signed_by(key) {
            return wrong("its signature is not of what it says".into());
        }
        if statement.act <= last {
            self.lost.push(PositionRange {
                first: statement.act,
                last,
            });
        }
        self.hashes
            .truncate(usize::try_from(statement.act - 1).unwrap_or_default());
        self.hashes.push(statement.hash);
        (self.seals, self.digest) = (next, statement.digest());
        Ok(())
    }
}

/// The seals of acts up to the first that is not valid.
#[derive(Clone, Debug)]
pub struct ValidActSeals {
    chain: ActSealChain,
    bad: Option<BadSeal>,
    is_key_unknown: bool,
}

impl ValidActSeals {
    /// None: then the chain of hashes alone is checked.
    pub fn none(log: Uuid) -> Self {
        Self {
            chain: ActSealChain::new(log, &[]),
            bad: None,
            is_key_unknown: false,
        }
    }

    /// Those of `seals`, in their order, up to the first that is not valid.
    pub fn read(
        log: Uuid,
        seals: impl IntoIterator<Item = Result<ActSeal, SealParseError>>,
        keys: &[VerifyingKey],
    ) -> Self {
        let mut valid = Self {
            chain: ActSealChain::new(log, keys),
            ..Self::none(log)
        };
        for seal in seals {
            let appended = seal
                .map_err(|error| SealChainError::Wrong(error.to_string()))
                .and_then(|seal| valid.chain.append(&seal));
            if let Err(why) = appended {
                valid.is_key_unknown = matches!(why, SealChainError::UnknownKey(_));
                valid.bad = Some(BadSeal {
                    seal: valid.chain.seals() + 1,
                    detail: why.to_string(),
                });
                break;
            }
        }
        valid
    }

    /// Says that the seal of this number, and all after it, are not what they should be, unless one before is not either.
    pub fn reject(&mut self, bad: BadSeal) {
        if self
            .bad
            .as_ref()
            .is_none_or(|before| bad.seal < before.seal)
        {
            (self.bad, self.is_key_unknown) = (Some(bad), false);
        }
    }

    /// The sealed hash of a row; `None` where it is not sealed.
    pub fn hash(&self, act: i64) -> Option<Hash> {
        self.chain
            .hashes
            .get(usize::try_from(act.checked_sub(1)?).ok()?)
            .copied()
    }

    /// The last row that is sealed; 0 when none is.
    pub fn sealed_to(&self) -> i64 {
        self.chain.sealed_to()
    }

    /// How many there are.
    pub fn seals(&self) -> i64 {
        self.chain.seals()
    }

    /// What was sealed and is lost, as an operator accepted.
    pub fn lost(&self) -> &[PositionRange] {
        &self.chain.lost
    }

    /// The first that is not valid.
    pub fn bad(&self) -> Option<&BadSeal> {
        self.bad.as_ref()
    }

    /// Whether that is only because its key was not given.
    pub fn is_key_unknown(&self) -> bool {
        self.is_key_unknown
    }
}
