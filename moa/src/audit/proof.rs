//! `moa audit verify|prove|check|seals|key`.

mod invest;
pub(crate) mod report;
pub(crate) mod verify;

pub use invest::{CheckSettings, ProveSettings};
pub(super) use invest::{check, prove};
pub use verify::VerifySettings;
pub(super) use verify::verify;

use super::client::Client;
use crate::output::{StandardOutput, print_line};
use anyhow::Context;
use clap::Args;
use proof::key::{self, KeyId, VerifyingKey};
use std::io::Write;
use std::path::PathBuf;

/// The settings of `moa audit seals`.
#[derive(Clone, Debug, Args)]
pub struct SealsSettings {
    /// Those of operators' acts instead
    #[arg(long)]
    acts: bool,
    /// Write them to this new file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Every seal that the database has, a line each, as in the file outside it.
pub(super) async fn seals(settings: SealsSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let path = if settings.acts {
        "/admin/audit/act/seal"
    } else {
        "/admin/audit/seal"
    };
    let mut out = output(settings.out.as_ref())?;
    let (mut after, mut seals) = (0, 0_u64);
    loop {
        let page = client.get(path, &[("after", after.to_string())]).await?;
        for seal in crate::table::rows(&page["list"]) {
            writeln!(out, "{seal}")?;
            seals += 1;
        }
        match page["nextAfter"].as_i64() {
            Some(next) => after = next,
            None => break,
        }
    }
    out.flush()?;
    if let Some(path) = settings.out {
        print_line!("Wrote {seals} seals to {}.", path.display());
    }
    Ok(())
}

/// Standard output, or a new file.
fn output(path: Option<&PathBuf>) -> anyhow::Result<Box<dyn Write>> {
    let Some(path) = path else {
        return Ok(Box::new(std::io::BufWriter::new(StandardOutput)));
    };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(std::io::BufWriter::new(file)))
}

/// The settings of `moa audit key`.
#[derive(Clone, Debug, Args)]
pub struct KeySettings {
    /// The new file; the public key is written beside it, with .pub at its end
    new_file: PathBuf,
}

/// Makes a key to seal with.
pub(super) fn key(settings: KeySettings) -> anyhow::Result<()> {
    let (path, public) = (&settings.new_file, key::public_path(&settings.new_file));
    let made = key::create_key(path)?;
    print_line!(
        "Made the key {} in {}; only its owner may read it.",
        KeyId::of(&made.verifying_key()),
        path.display()
    );
    print_line!("Give {} to who is to check seals.", public.display());
    Ok(())
}

pub(crate) fn public_keys(paths: &[PathBuf]) -> anyhow::Result<Vec<VerifyingKey>> {
    paths
        .iter()
        .map(|path| key::public_key(path).map_err(anyhow::Error::from))
        .collect()
}
