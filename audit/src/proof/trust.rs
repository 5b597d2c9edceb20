//! Which seals can be believed: signed by a known key, numbered without a hole, each naming the one before, and covering each
//! partition from position 1 on.

use super::key::KeyId;
use super::report::BadSeal;
use super::seal::{MARK, NoSeal, STRETCH, Seal};
use ed25519_dalek::VerifyingKey;
use event_log::{Hash, Identity, Partition, Position};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// Why a seal cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Its key was not given. That says nothing about the log.
    #[error("it was made with the key {0}, which is not known")]
    UnknownKey(KeyId),
    /// It is of another log, of so many partitions.
    #[error("it is of another log, {0} of {1} partitions")]
    OfAnotherLog(Uuid, i32),
    /// It contradicts itself or the seals before it.
    #[error("{0}")]
    Wrong(String),
}

impl Distrust {
    fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong(why.into())
    }
}

/// Where the seals of a log stand after those that were followed so far.
#[derive(Clone, Debug)]
pub struct SealChain {
    identity: Identity,
    keys: Vec<(KeyId, VerifyingKey)>,
    seals: i64,
    digest: Hash,
    ends: Vec<SealedTo>,
}

/// How far a partition is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedTo {
    /// The last sealed position; 0 when none is.
    pub position: Position,
    /// The chain's hash there; the partition's genesis at 0.
    pub head: Hash,
}

impl SealChain {
    /// Before the first seal of the log `identity`. Seals are believed that one of `keys` signed.
    pub fn new(identity: Identity, keys: &[VerifyingKey]) -> Self {
        let ends =
            (0..identity.partitions).map(|partition| SealedTo { position: 0, head: identity.genesis(partition) });
        let keys = keys.iter().map(|key| (KeyId::of(key), *key)).collect();
        Self { identity, keys, seals: 0, digest: Hash::default(), ends: ends.collect() }
    }

    /// The same after `seals` seals, the last of them with this digest; `ends` has how far each partition is sealed.
    pub(super) fn after(self, seals: i64, digest: Hash, ends: Vec<SealedTo>) -> Self {
        Self { seals, digest, ends, ..self }
    }

    /// The log that is sealed.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How far each partition is sealed.
    pub(super) fn ends(&self) -> &[SealedTo] {
        &self.ends
    }

    /// How many seals were followed, which is the number of the last.
    pub fn seals(&self) -> i64 {
        self.seals
    }

    /// The digest of the last; zeros before the first.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// How far `partition` is sealed; `None` when the log has no such partition.
    pub fn sealed_to(&self, partition: Partition) -> Option<SealedTo> {
        self.ends.get(usize::try_from(partition).ok()?).copied()
    }

    /// Follows the next seal, or says why it cannot be believed.
    pub fn follow(&mut self, seal: &Seal) -> Result<(), Distrust> {
        self.is_next(seal)?;
        let key = self.keys.iter().find(|(id, _)| *id == seal.key);
        let (_, key) = key.ok_or(Distrust::UnknownKey(seal.key))?;
        if !seal.is_signed_by(key) {
            return Err(Distrust::wrong("its signature is not of what it says"));
        }
        let said = &seal.statement;
        if let Some(end) = usize::try_from(said.partition).ok().and_then(|partition| self.ends.get_mut(partition)) {
            *end = SealedTo { position: said.last, head: said.head };
        }
        (self.seals, self.digest) = (said.seal, said.digest());
        Ok(())
    }

    fn is_next(&self, seal: &Seal) -> Result<(), Distrust> {
        let said = &seal.statement;
        if said.seal != self.seals + 1 {
            return Err(Distrust::Wrong(format!("it has the number {}", said.seal)));
        }
        if (said.log, said.partitions) != (self.identity.log_id, self.identity.partitions) {
            return Err(Distrust::OfAnotherLog(said.log, said.partitions));
        }
        let end = self
            .sealed_to(said.partition)
            .ok_or_else(|| Distrust::Wrong(format!("there is no partition {}", said.partition)))?;
        if said.first != end.position + 1 {
            return Err(Distrust::Wrong(format!(
                "it begins at position {}, the one before ends at {}",
                said.first, end.position
            )));
        }
        if said.last < said.first || said.last - said.first >= STRETCH {
            return Err(Distrust::Wrong(format!("it covers no stretch of 1 to {STRETCH} events")));
        }
        if usize::try_from(seal.events()).ok().map(|events| events * MARK) != Some(seal.marks.len()) {
            return Err(Distrust::wrong("it has not one mark for each event"));
        }
        if said.previous != self.digest {
            return Err(Distrust::wrong("it does not follow from the one before"));
        }
        Ok(())
    }
}

/// The seals of one log that can be believed, up to the first that cannot.
#[derive(Clone, Debug)]
pub struct Sealed {
    identity: Identity,
    seals: Vec<Arc<Seal>>,
    bad: Option<BadSeal>,
    is_of_others: bool,
}

impl Sealed {
    /// No seals: only the chain can be checked.
    pub fn nothing(identity: Identity) -> Self {
        Self { identity, seals: Vec::new(), bad: None, is_of_others: false }
    }

    /// Of `seals`, in their order, those that can be believed. The log is `identity`, or, where it is not known, that of
    /// the first seal; `None` when there is none of either.
    pub fn read(
        seals: impl IntoIterator<Item = Result<Seal, NoSeal>>,
        keys: &[VerifyingKey],
        identity: Option<Identity>,
    ) -> Option<Self> {
        let mut seals = seals.into_iter().peekable();
        let of_the_first = || {
            let said = &seals.peek()?.as_ref().ok()?.statement;
            // No more than a log can have: from what was not checked yet, a list of them is made.
            (1..=64).contains(&said.partitions).then_some(Identity { log_id: said.log, partitions: said.partitions })
        };
        let identity = identity.or_else(of_the_first)?;
        let mut chain = SealChain::new(identity, keys);
        let mut sealed = Self::nothing(identity);
        for seal in seals {
            let seal = seal.map_err(|error| Distrust::wrong(error.to_string()));
            match seal.and_then(|seal| chain.follow(&seal).map(|()| seal)) {
                Ok(seal) => sealed.seals.push(Arc::new(seal)),
                Err(why) => {
                    let seal = chain.seals() + 1;
                    sealed.is_of_others = match why {
                        Distrust::UnknownKey(_) => true,
                        Distrust::OfAnotherLog(log, _) => seal == 1 && log != identity.log_id,
                        Distrust::Wrong(_) => false,
                    };
                    sealed.bad = Some(BadSeal { seal, detail: why.to_string() });
                    break;
                }
            }
        }
        Some(sealed)
    }

    /// The log that is sealed.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Those that can be believed, in order.
    pub fn seals(&self) -> &[Arc<Seal>] {
        &self.seals
    }

    /// Those of one partition, in order.
    pub fn of(&self, partition: Partition) -> Vec<Arc<Seal>> {
        self.seals.iter().filter(|seal| seal.statement.partition == partition).cloned().collect()
    }

    /// The first that cannot be believed.
    pub fn bad(&self) -> Option<&BadSeal> {
        self.bad.as_ref()
    }

    /// Whether the first that cannot be believed is of a key that was not given, or they are all of another log: then the log
    /// may be whole or not.
    pub fn is_of_others(&self) -> bool {
        self.is_of_others
    }

    /// Says that a seal cannot be believed for a reason from outside, unless one before it is wrong.
    pub fn distrust(&mut self, bad: BadSeal) {
        if self.bad.as_ref().is_none_or(|known| bad.seal < known.seal) || self.is_of_others {
            (self.bad, self.is_of_others) = (Some(bad), false);
        }
    }
}

/// The seals of a file's text, line by line.
pub fn read_lines(text: &str) -> impl Iterator<Item = Result<Seal, NoSeal>> + '_ {
    text.lines().filter(|line| !line.trim().is_empty()).map(Seal::read)
}
