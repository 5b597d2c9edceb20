//! Bearer tokens: those of the settings, the one that Moa makes, and those of a file.

mod command;
mod named;
mod shared;

pub use command::run;
pub(crate) use named::NamedTokens;
pub(crate) use shared::SharedTokens;

use crate::secret::{self, Secret};
use anyhow::{Context, bail};
use std::fs::File;
use std::path::Path;

/// The shortest token that is taken, in characters.
const MIN_TOKEN_CHARS: usize = 16;
/// The longest, in characters.
const MAX_TOKEN_CHARS: usize = 256;
/// The file in the data folder that keeps a token Moa made.
const TOKEN_FILE: &str = "operator-token";

/// The token that was set, directly or by a file; `None` when neither was.
pub(crate) fn configured(
    name: &str,
    token: Option<&Secret>,
    file: Option<&Path>,
) -> anyhow::Result<Option<Secret>> {
    let Some(token) = secret::text(name, token, file)? else {
        return Ok(None);
    };
    let visible = token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || !(MIN_TOKEN_CHARS..=MAX_TOKEN_CHARS).contains(&token.reveal().len()) {
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
        return secret::read(&path);
    }
    let token = Secret::fresh();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    file.and_then(|mut file| writeln!(file, "{}", token.reveal()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(token)
}

/// The token that a running Moa left in this data folder; none where this account finds none.
pub(crate) fn find(folder: &Path) -> anyhow::Result<Option<Secret>> {
    let path = folder.join(TOKEN_FILE);
    match File::open(&path) {
        Ok(_) => secret::read(&path).map(Some),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_token_is_refused_by_name_and_not_shown() {
        let error = configured(
            "MOA_OPERATOR_TOKEN",
            Some(&"hunter2".parse().unwrap()),
            None,
        )
        .unwrap_err()
        .to_string();
        assert_eq!(
            error,
            "MOA_OPERATOR_TOKEN must be 16 to 256 visible ASCII characters"
        );
    }
}
