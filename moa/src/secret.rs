//! Secrets: bearer tokens and database URLs. Never printed, compared in constant time.

use crate::secret_file;
use anyhow::Context;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;
use uuid::Uuid;

/// The most that is read of a file with a secret, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// Something that must not show in logs, help or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself; only for whom it is meant.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// A fresh token that nobody can guess: 244 random bits.
    pub(crate) fn fresh() -> Self {
        Self(format!(
            "{}{}",
            Uuid::new_v4().simple(),
            Uuid::new_v4().simple()
        ))
    }

    /// What is compared instead of the secret: the time it takes says nothing about where two differ.
    pub(crate) fn digest(text: &str) -> [u8; 32] {
        Sha256::digest(text).into()
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What was set, directly or by a file; `None` when neither was.
pub(crate) fn text(
    name: &str,
    text: Option<&Secret>,
    file: Option<&Path>,
) -> anyhow::Result<Option<Secret>> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, Some(file)) => read(file).with_context(|| format!("{name}_FILE")).map(Some),
        (None, None) => Ok(None),
    }
}

/// The secret in a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Secret> {
    let cannot = || format!("cannot read the secret in {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    secret_file::check(path)?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .with_context(cannot)?;
    Ok(Secret(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", Secret("tell nobody".into())), "(secret)");
    }
}
