//! Which seals are valid: signed by a known key, numbered without a gap, each naming the one before, and covering each
//! partition from position 1 on.

use crate::key::KeyId;
use crate::seal::{HASH_PREFIX_BYTES, Loss, MAX_EVENTS_PER_SEAL, Seal, SealParseError, Statement};
use ed25519_dalek::VerifyingKey;
use log_format::{Hash, Identity, Partition, Position};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Why a seal is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealChainError {
    /// Its key was not given. That says nothing about the log.
    #[error(
        "it was made with the key {0}, which is not known: name the file of its public key too, in MOA_SEAL_PUBLIC_KEY_FILES or --public-key"
    )]
    UnknownKey(KeyId),
    /// It is of another log, of so many partitions.
    #[error("it is of another log, {0} of {1} partitions")]
    OfAnotherLog(Uuid, i32),
    /// It contradicts itself or the seals before it.
    #[error("{0}")]
    Wrong(String),
}

impl SealChainError {
    fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong(why.into())
    }
}

/// The valid seals of a log so far: their number, the digest of the last, how far each partition is sealed.
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
    /// Before the first seal of the log `identity`. Only seals that one of `keys` signed are valid.
    pub fn new(identity: Identity, keys: &[VerifyingKey]) -> Self {
        let ends = (0..identity.partitions).map(|partition| SealedTo {
            position: 0,
            head: identity.genesis(partition),
        });
        let keys = keys.iter().map(|key| (KeyId::of(key), *key)).collect();
        Self {
            identity,
            keys,
            seals: 0,
            digest: Hash::default(),
            ends: ends.collect(),
        }
    }

    /// The same after `seals` seals, the last of them with this digest; `ends` has how far each partition is sealed.
    pub fn after(self, seals: i64, digest: Hash, ends: Vec<SealedTo>) -> Self {
        Self {
            seals,
            digest,
            ends,
            ..self
        }
    }

    /// The log that is sealed.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How far each partition is sealed.
    pub fn ends(&self) -> &[SealedTo] {
        &self.ends
    }

    /// How many seals were appended, which is the number of the last.
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

    /// Appends the next seal if it is valid.
    pub fn append(&mut self, seal: &Seal) -> Result<(), SealChainError> {
        self.is_next(seal)?;
        let key = self.keys.iter().find(|(id, _)| *id == seal.key);
        let (_, key) = key.ok_or(SealChainError::UnknownKey(seal.key))?;
        if !seal.is_signed_by(key) {
            return Err(SealChainError::wrong(
                "its signature is not of what it says",
            ));
        }
        let statement = &seal.statement;
        if let Some(end) = usize::try_from(statement.partition)
            .ok()
            .and_then(|partition| self.ends.get_mut(partition))
        {
            *end = SealedTo {
                position: statement.last,
                head: statement.head,
            };
        }
        (self.seals, self.digest) = (statement.seal, statement.digest());
        Ok(())
    }

    fn is_next(&self, seal: &Seal) -> Result<(), SealChainError> {
        let statement = &seal.statement;
        let end = self.check_place(statement)?;
        match &statement.loss {
            None => is_segment_after(end, seal)?,
            Some(loss) => is_loss_at(end, statement, loss)?,
        }
        if statement.previous != self.digest {
            return Err(SealChainError::wrong(
                "it does not follow from the one before",
            ));
        }
        Ok(())
    }

    /// Checks its number and its log; gives how far its partition is sealed.
    fn check_place(&self, statement: &Statement) -> Result<SealedTo, SealChainError> {
        if statement.seal != self.seals + 1 {
            return Err(SealChainError::Wrong(format!(
                "it has the number {}",
                statement.seal
            )));
        }
        if (statement.log, statement.partitions) != (self.identity.log_id, self.identity.partitions)
        {
            return Err(SealChainError::OfAnotherLog(
                statement.log,
                statement.partitions,
            ));
        }
        self.sealed_to(statement.partition).ok_or_else(|| {
            SealChainError::Wrong(format!("there is no partition {}", statement.partition))
        })
    }
}

fn is_segment_after(end: SealedTo, seal: &Seal) -> Result<(), SealChainError> {
    let statement = &seal.statement;
    if statement.first != end.position + 1 {
        return Err(SealChainError::Wrong(format!(
            "it begins at position {}, the one before ends at {}",
            statement.first, end.position
        )));
    }
    if statement.last < statement.first || statement.last - statement.first >= MAX_EVENTS_PER_SEAL {
        return Err(SealChainError::Wrong(format!(
            "it covers no segment of 1 to {MAX_EVENTS_PER_SEAL} events"
        )));
    }
    if usize::try_from(seal.events())
        .ok()
        .map(|events| events * HASH_PREFIX_BYTES)
        != Some(seal.hash_prefixes.len())
    {
        return Err(SealChainError::wrong(
            "it does not have one hash prefix for each event",
        ));
    }
    Ok(())
}

/// Whether it says of what is sealed up to `end` that its tail is lost.
fn is_loss_at(end: SealedTo, statement: &Statement, loss: &Loss) -> Result<(), SealChainError> {
    if (loss.last, loss.head) != (end.position, end.head) {
        return Err(SealChainError::wrong(
            "what it says is lost is not what was sealed last",
        ));
    }
    if statement.last < 0 || loss.first <= statement.last || loss.last < loss.first {
        return Err(SealChainError::wrong("it says that nothing is lost"));
    }
    Ok(())
}

/// The first seal that is not valid. Seals from it on were not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadSeal {
    /// The number it should have.
    pub seal: i64,
    /// What is wrong with it.
    pub detail: String,
}

/// The seals of one log that are valid, up to the first that is not.
#[derive(Clone, Debug)]
pub struct ValidSeals {
    identity: Identity,
    seals: Vec<Arc<Seal>>,
    bad: Option<BadSeal>,
    is_of_unknown_origin: bool,
}

impl ValidSeals {
    /// No seals: only the chain can be checked.
    pub fn none(identity: Identity) -> Self {
        Self {
            identity,
            seals: Vec::new(),
            bad: None,
            is_of_unknown_origin: false,
        }
    }

    /// Of `seals`, in their order, those that are valid. The log is `identity`, or, where it is not known, that of
    /// the first seal; `None` when there is none of either.
    pub fn read(
        seals: impl IntoIterator<Item = Result<Seal, SealParseError>>,
        keys: &[VerifyingKey],
        identity: Option<Identity>,
    ) -> Option<Self> {
        let mut seals = seals.into_iter().peekable();
        let first_seals_log = || {
            let statement = &seals.peek()?.as_ref().ok()?.statement;
            // No more than a log can have: from what was not checked yet, a list of them is made.
            (1..=64)
                .contains(&statement.partitions)
                .then_some(Identity {
                    log_id: statement.log,
                    partitions: statement.partitions,
                })
        };
        let identity = identity.or_else(first_seals_log)?;
        let mut chain = SealChain::new(identity, keys);
        let mut sealed = Self::none(identity);
        for seal in seals {
            let seal = seal.map_err(|error| SealChainError::wrong(error.to_string()));
            let seal = seal.and_then(|seal| sealed.check_kept(&seal).map(|()| seal));
            match seal.and_then(|seal| chain.append(&seal).map(|()| seal)) {
                Ok(seal) => sealed.seals.push(Arc::new(seal)),
                Err(why) => {
                    let seal = chain.seals() + 1;
                    sealed.is_of_unknown_origin = match why {
                        SealChainError::UnknownKey(_) => true,
                        SealChainError::OfAnotherLog(log, _) => seal == 1 && log != identity.log_id,
                        SealChainError::Wrong(_) => false,
                    };
                    sealed.bad = Some(BadSeal {
                        seal,
                        detail: why.to_string(),
                    });
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

    /// The valid ones, in order.
    pub fn seals(&self) -> &[Arc<Seal>] {
        &self.seals
    }

    /// Those of one partition that cover its events, in order: without what was lost later.
    pub fn of(&self, partition: Partition) -> Vec<Arc<Seal>> {
        let mut standing: Vec<Arc<Seal>> = Vec::new();
        for seal in self
            .seals
            .iter()
            .filter(|seal| seal.statement.partition == partition)
        {
            match seal.statement.loss {
                None => standing.push(seal.clone()),
                Some(_) => standing.truncate(
                    standing.partition_point(|before| before.statement.last <= seal.statement.last),
                ),
            }
        }
        standing
    }

    /// What was lost, in order.
    pub fn losses(&self) -> impl Iterator<Item = (&Statement, &Loss)> {
        self.seals
            .iter()
            .filter_map(|seal| Some((&seal.statement, seal.statement.loss.as_ref()?)))
    }

    /// Checks that a loss seal keeps what a seal ends with: then those that stand cover every event.
    fn check_kept(&self, seal: &Seal) -> Result<(), SealChainError> {
        let statement = &seal.statement;
        if statement.loss.is_none() || !(0..self.identity.partitions).contains(&statement.partition)
        {
            return Ok(());
        }
        let ends = self.of(statement.partition);
        let is_kept = |before: &Arc<Seal>| {
            (before.statement.last, before.statement.head) == (statement.last, statement.head)
        };
        let is_genesis =
            (statement.last, statement.head) == (0, self.identity.genesis(statement.partition));
        if is_genesis || ends.iter().any(is_kept) {
            return Ok(());
        }
        Err(SealChainError::wrong(
            "what it keeps is not where a seal ended",
        ))
    }

    /// The first that is not valid.
    pub fn bad(&self) -> Option<&BadSeal> {
        self.bad.as_ref()
    }

    /// Whether the first that is not valid is of a key that was not given, or all are of another log: then they say nothing about
    /// the log.
    pub fn is_of_unknown_origin(&self) -> bool {
        self.is_of_unknown_origin
    }

    /// Rejects the seals from `bad` on for a reason from outside, unless one before it is wrong already.
    pub fn reject_from(&mut self, bad: BadSeal) {
        if self.bad.as_ref().is_none_or(|known| bad.seal < known.seal) || self.is_of_unknown_origin
        {
            (self.bad, self.is_of_unknown_origin) = (Some(bad), false);
        }
    }
}

/// The seals of a file's text, line by line.
pub fn read_lines(text: &str) -> impl Iterator<Item = Result<Seal, SealParseError>> + '_ {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(Seal::read)
}
