//! Secrets: bearer tokens and database URLs. Never printed, compared in constant time.

mod command;
mod named;
mod shared;

pub use command::run;
pub(crate) use named::NamedTokens;
pub(crate) use shared::SharedTokens;

use crate::secret_file;
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;
use uuid::Uuid;

/// The shortest token that is taken, in characters.
const MIN_TOKEN_CHARS: usize = 16;
/// The longest, in characters.
const MAX_TOKEN_CHARS: usize = 256;
/// The most that is read of a file with a token, in bytes.
const MAX_FILE_BYTES: u64 = 4096;
/// The file in the data folder that keeps a token Moa made.
const TOKEN_FILE: &str = "operator-token";

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

/// The token that was set, directly or by a file; `None` when neither was.
pub(crate) fn configured(
    name: &str,
    token: Option<&Secret>,
    file: Option<&Path>,
) -> anyhow::Result<Option<Secret>> {
    let Some(token) = text(name, token, file)? else {
        return Ok(None);
    };
    let visible = token.0.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || !(MIN_TOKEN_CHARS..=MAX_TOKEN_CHARS).contains(&token.0.len()) {
        bail!("{name} must be {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} visible ASCII characters");
    }
    Ok(Some(token))
}

/// The token that Moa made for this data folder, made now if it is the first time. Only its owner may read the file.
pub(crate) fn load_or_create(folder: &Path) -> anyhow::Result<Secret> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = folder.join(TOKEN_FILE);
    if path.exists() {
        return read(&path);
    }
    let token = Secret::fresh();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    file.and_then(|mut file| writeln!(file, "{}", token.0))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(token)
}

/// The token that a running Moa left in this data folder; none where this account finds none.
pub(crate) fn find(folder: &Path) -> anyhow::Result<Option<Secret>> {
    let path = folder.join(TOKEN_FILE);
    match File::open(&path) {
        Ok(_) => read(&path).map(Some),
        Err(_) => Ok(None),
    }
}

fn read(path: &Path) -> anyhow::Result<Secret> {
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

    #[test]
    fn a_short_token_is_refused_by_name_and_not_shown() {
        let error = configured("MOA_OPERATOR_TOKEN", Some(&Secret("hunter2".into())), None)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "MOA_OPERATOR_TOKEN must be 16 to 256 visible ASCII characters"
        );
    }
}
