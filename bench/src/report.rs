//! The report: Markdown, verdicts and ratios first, with plots beside it.

mod facts;
mod plot;
mod series;
mod text;

pub(crate) use plot::{Bar, Line, bars, lines};
pub(crate) use series::{Series, alternate, ratio};
pub(crate) use text::{millis, seconds, spread, table};

use crate::contest::Servers;
use crate::summary::Spread;
use anyhow::Context;
use chrono::Utc;
use std::fmt::Write as _;
use std::path::Path;

/// A target, and whether it was met. The bound is inclusive.
pub(crate) struct Verdict {
    /// As the targets are numbered: `P1`.
    pub(crate) target: &'static str,
    pub(crate) what: String,
    pub(crate) wanted: Wanted,
    pub(crate) measured: Spread,
    /// Of `wanted` and `measured`.
    pub(crate) unit: &'static str,
}

/// What a target asks for.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// What one command found out.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) verdicts: Vec<Verdict>,
    /// Markdown.
    pub(crate) text: String,
    /// File name and SVG.
    pub(crate) plots: Vec<(String, String)>,
}

impl Verdict {
    /// Whether the median is within the bound.
    pub(crate) fn is_met(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(bound) => self.measured.median >= bound,
            Wanted::AtMost(bound) => self.measured.median <= bound,
        }
    }

    fn row(&self) -> Vec<String> {
        let wanted = match self.wanted {
            Wanted::AtLeast(bound) => format!("≥ {bound}"),
            Wanted::AtMost(bound) => format!("≤ {bound}"),
        };
        let met = if self.is_met() { "met" } else { "**missed**" };
        vec![
            self.target.into(),
            self.what.clone(),
            format!("{wanted}{}", self.unit),
            format!(
                "{}{}",
                spread(self.measured, text::digits(self.measured.median)),
                self.unit
            ),
            met.into(),
        ]
    }
}

/// Writes the report and its plots. `intro` says how it was produced.
pub(crate) async fn write(
    path: &Path,
    intro: &str,
    sections: &[Section],
    servers: &Servers,
) -> anyhow::Result<()> {
    let folder = path.parent().context("the report needs a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut report = format!(
        "# Moa and baselines side by side\n\n{intro} {}.\n",
        Utc::now().format("%F %R UTC")
    );
    if cfg!(debug_assertions) {
        report.push_str("\n**An unoptimised build: the sums count, the figures mean nothing.**\n");
    }
    let verdicts: Vec<_> = sections
        .iter()
        .flat_map(|section| &section.verdicts)
        .map(Verdict::row)
        .collect();
    if !verdicts.is_empty() {
        report.push_str(
            "\n## Ratios\n\nMedians, in parentheses the least and the most of all rounds.\n\n",
        );
        report.push_str(&table(
            &["target", "what", "wanted", "measured", ""],
            &verdicts,
        ));
    }
    writeln!(
        report,
        "\n## Machine\n\n{}",
        facts::describe(servers).await?
    )?;
    for section in sections {
        writeln!(report, "\n## {}\n\n{}", section.title, section.text)?;
        for (name, svg) in &section.plots {
            std::fs::write(folder.join(name), svg)
                .with_context(|| format!("cannot write {name}"))?;
            writeln!(report, "\n![{name}]({name})")?;
        }
    }
    std::fs::write(path, report).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
