//! The resume marker: where a start continues, so that it does not take longer with every seal there ever was.
//!
//! Beside its file of seals a sealer keeps a small one, named `*.marker`: up to which seal it has compared them all, and the
//! state of the chain there, signed with its key. It is only a shortcut. Where there is none, or file and database do not have
//! the seal it names, all seals are checked from the first on, and that says what is wrong.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use event_log::Hash;
use proof::seal::{Seal, signature};
use proof::seal_chain::{SealChain, SealedTo};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is signed begins with this; no seal does, so neither passes for the other.
const SIGNED_PREFIX: &str = "moa-bookmark-1\n";

/// The state of the chain of seals after one of them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::proof) struct ResumeMarker {
    seal: i64,
    digest: Hash,
    ends: Vec<SealedTo>,
    /// The byte of the file at which its line begins.
    pub(in crate::proof) begins: u64,
}

impl ResumeMarker {
    /// At the last seal of `chain`.
    pub(super) fn at(chain: &SealChain, begins: u64) -> Self {
        Self {
            seal: chain.seals(),
            digest: chain.digest(),
            ends: chain.ends().to_vec(),
            begins,
        }
    }

    /// The one beside the file of seals at `seals`, if one of `keys` signed it. The seal it names says of which log it is.
    pub(in crate::proof) fn read(
        seals: &Path,
        partitions: i32,
        keys: &[VerifyingKey],
    ) -> Option<Self> {
        let text = fs::read_to_string(beside(seals)).ok()?;
        let (text, signed) = text.trim_end().split_once('\n')?;
        let signature = signature(signed)?;
        let signed = format!("{SIGNED_PREFIX}{text}");
        keys.iter()
            .find(|key| key.verify_strict(signed.as_bytes(), &signature).is_ok())?;
        let marker: Self = serde_json::from_str(text).ok()?;
        usize::try_from(partitions)
            .is_ok_and(|partitions| marker.ends.len() == partitions)
            .then_some(marker)
    }

    /// Writes it beside the file of seals at `seals`, in place of the one that is there.
    pub(super) fn write(&self, seals: &Path, key: &SigningKey) -> io::Result<()> {
        let text = serde_json::to_string(self)?;
        let signature = key
            .sign(format!("{SIGNED_PREFIX}{text}").as_bytes())
            .to_bytes();
        let (path, new) = (beside(seals), beside(seals).with_added_extension("new"));
        fs::write(
            &new,
            format!("{text}\n{}\n", BASE64_STANDARD.encode(signature)),
        )?;
        fs::rename(new, path)
    }

    /// The number of the seal it names.
    pub(super) fn seal(&self) -> i64 {
        self.seal
    }

    /// Whether `seal` is the one that it names.
    pub(in crate::proof) fn names(&self, seal: &Seal) -> bool {
        (seal.statement.seal, seal.statement.digest()) == (self.seal, self.digest)
    }

    /// `chain`, to which nothing was appended, as if all up to here had been.
    pub(in crate::proof) fn resume(self, chain: SealChain) -> SealChain {
        chain.after(self.seal, self.digest, self.ends)
    }
}

fn beside(seals: &Path) -> PathBuf {
    let mut name = seals.as_os_str().to_owned();
    name.push(".bookmark");
    name.into()
}
