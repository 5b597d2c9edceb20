//! `moa doctor`: connects as `moa serve` would, and says of all that Moa depends on whether it is well, and what mends it. It changes
//! nothing.

mod database;
mod files;
mod servers;

use crate::output::{print_json, print_line};
use crate::settings::{DoctorSettings, as_given};
use serde::Serialize;

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Nothing to do.
    Ok,
    /// Moa works, and something should be mended.
    Warn,
    /// Moa does not work, or may lose something.
    Wrong,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; `None` where nothing is.
    mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            mend: None,
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Warn,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }

    fn wrong(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Wrong,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }

    fn line(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Wrong => "wrong",
        };
        let mend = self
            .mend
            .as_ref()
            .map(|mend| format!("; {mend}"))
            .unwrap_or_default();
        format!("{verdict:<6} {:<13} {}{mend}", self.check, self.found)
    }
}

/// Checks everything, and prints what was found.
///
/// # Errors
/// Something is wrong; warnings are no error.
pub async fn run(settings: DoctorSettings) -> anyhow::Result<()> {
    let mut findings = files::check(&settings);
    let (of_database, log) = database::check(&settings).await;
    findings.extend(of_database);
    findings.extend(servers::check(&settings, log).await);
    for finding in &mut findings {
        finding.found = as_given(&finding.found);
        finding.mend = finding.mend.as_deref().map(as_given);
    }
    match settings.json {
        true => print_json(&serde_json::to_value(&findings)?)?,
        false => findings
            .iter()
            .for_each(|finding| print_line!("{}", finding.line())),
    }
    let wrong = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Wrong)
        .count();
    anyhow::ensure!(
        wrong == 0,
        "{wrong} of {} checks found something wrong",
        findings.len()
    );
    Ok(())
}
