//! Proofs that an invest is in the sealed log.

use super::super::client::Client;
use super::{output, public_keys};
use crate::output::{print_json, print_line};
use crate::settings::ListOutput;
use crate::table::{self, column, wide};
use anyhow::Context;
use clap::Args;
use proof::inclusion::{self, VerifiedProof};
use serde_json::{Value, json};
use std::path::PathBuf;
use uuid::Uuid;

/// The settings of `moa audit prove`.
#[derive(Clone, Debug, Args)]
pub struct ProveSettings {
    /// The invest's id
    invest: Uuid,
    /// Write the proof to this new file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Asks for the proof of one invest.
pub(in super::super) async fn prove(
    settings: ProveSettings,
    client: &Client<'_>,
) -> anyhow::Result<()> {
    let proof = client
        .get(&format!("/admin/audit/prove/{}", settings.invest), &[])
        .await?;
    let mut out = output(settings.out.as_ref())?;
    writeln!(out, "{}", serde_json::to_string_pretty(&proof)?)?;
    out.flush()?;
    if let Some(path) = settings.out {
        let events = table::rows(&proof["events"]).len();
        print_line!(
            "Wrote the proof of {events} events to {}; moa audit check checks it.",
            path.display()
        );
    }
    Ok(())
}

/// The settings of `moa audit check`.
#[derive(Clone, Debug, Args)]
pub struct CheckSettings {
    /// The proof, as `moa audit prove` gave it
    proof: PathBuf,
    /// The public key that the seals are made with, a file in PEM; several separated by commas
    #[arg(long, required = true, value_name = "PEM", value_delimiter = ',')]
    public_key: Vec<PathBuf>,
    #[command(flatten)]
    output: ListOutput,
}

/// Checks a proof with the public key alone.
pub(in super::super) fn check(settings: CheckSettings) -> anyhow::Result<()> {
    let keys = public_keys(&settings.public_key)?;
    let path = &settings.proof;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let shown = inclusion::check(&text, &keys)
        .with_context(|| format!("{} proves nothing", path.display()))?;
    if settings.output.json {
        return print_json(&serde_json::to_value(&shown)?);
    }
    print(&shown, settings.output);
    Ok(())
}

fn print(shown: &VerifiedProof, output: ListOutput) {
    let rows: Value = shown.events.iter().map(row).collect();
    let columns = [
        column("EVENT", "event"),
        column("PRODUCT", "product"),
        column("WON", "amount"),
        column("USER", "user"),
        column("RECORDED AT", "recordedAt"),
        wide("PLACE", "place"),
        wide("SEAL", "seal"),
        wide("SEALED AT", "sealedAt"),
    ];
    table::print(&columns, &rows, output);
    print_line!(
        "Proved: these events of invest {} were in the log {} when it was sealed.",
        shown.invest,
        shown.log
    );
    print_line!("Not proved: that the invest has no other events.");
    if shown.unsealed > 0 {
        print_line!(
            "{} more were not sealed when the proof was made.",
            shown.unsealed
        );
    }
}

fn row(event: &inclusion::VerifiedEvent) -> Value {
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let payload = &payload[&event.event_type];
    json!({
        "event": event.event_type,
        "product": event.product_id,
        "amount": payload["amount"],
        "user": payload["userId"],
        "recordedAt": event.recorded_at,
        "place": format!("{}/{}", event.partition, event.position),
        "seal": event.seal,
        "sealedAt": event.sealed_at,
    })
}
