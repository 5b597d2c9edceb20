//! Where a start may go on from, so that it does not take longer with every seal there ever was.
//!
//! Beside its file of seals a sealer keeps a small one: up to which seal it has followed and compared them all, and how they
//! stood there, signed with its key. It is only a shorter way. Where there is none, or file and database do not have what it
//! names, all seals are followed from the first on, and that says what is wrong.

use super::super::seal::{Seal, signature};
use super::super::trust::{SealChain, SealedTo};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use event_log::Hash;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is signed begins with this: no seal does.
const PURPOSE: &str = "moa-bookmark-1\n";

/// How the seals stood after one of them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::proof) struct Bookmark {
    seal: i64,
    digest: Hash,
    ends: Vec<SealedTo>,
    /// The byte of the file at which its line begins.
    pub(in crate::proof) begins: u64,
}

impl Bookmark {
    /// At the last seal of `chain`.
    pub(super) fn at(chain: &SealChain, begins: u64) -> Self {
        Self { seal: chain.seals(), digest: chain.digest(), ends: chain.ends().to_vec(), begins }
    }

    /// The one beside the file of seals at `seals`, if one of `keys` signed it. Of which log it is says the seal it names.
    pub(in crate::proof) fn read(seals: &Path, partitions: i32, keys: &[VerifyingKey]) -> Option<Self> {
        let text = fs::read_to_string(beside(seals)).ok()?;
        let (said, signed) = text.trim_end().split_once('\n')?;
        let signature = signature(signed)?;
        let signed = format!("{PURPOSE}{said}");
        keys.iter().find(|key| key.verify_strict(signed.as_bytes(), &signature).is_ok())?;
        let bookmark: Self = serde_json::from_str(said).ok()?;
        usize::try_from(partitions).is_ok_and(|partitions| bookmark.ends.len() == partitions).then_some(bookmark)
    }

    /// Writes it beside the file of seals at `seals`, in place of the one that is there.
    pub(super) fn write(&self, seals: &Path, key: &SigningKey) -> io::Result<()> {
        let said = serde_json::to_string(self)?;
        let signature = key.sign(format!("{PURPOSE}{said}").as_bytes()).to_bytes();
        let (path, new) = (beside(seals), beside(seals).with_added_extension("new"));
        fs::write(&new, format!("{said}\n{}\n", BASE64_STANDARD.encode(signature)))?;
        fs::rename(new, path)
    }

    /// Which seal it names.
    pub(super) fn seal(&self) -> i64 {
        self.seal
    }

    /// Whether `seal` is the one that it names.
    pub(in crate::proof) fn names(&self, seal: &Seal) -> bool {
        (seal.statement.seal, seal.statement.digest()) == (self.seal, self.digest)
    }

    /// `chain`, which has followed nothing, as if it had followed all up to here.
    pub(in crate::proof) fn resume(self, chain: SealChain) -> SealChain {
        chain.after(self.seal, self.digest, self.ends)
    }
}

fn beside(seals: &Path) -> PathBuf {
    let mut name = seals.as_os_str().to_owned();
    name.push(".bookmark");
    name.into()
}
