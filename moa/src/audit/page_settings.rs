//! Which page of a list by time, the latest first: flags that several commands share.

use crate::settings::ListOutput;
use clap::Args;

/// A page.
#[derive(Clone, Debug, Args)]
pub struct PageSettings {
    /// From this time on, e.g. 2026-01-01T10:00:00
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How many, 1 to 1000
    #[arg(long, default_value_t = 20)]
    limit: i64,
    /// Where an answer before ended
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    pub(super) output: ListOutput,
}

impl PageSettings {
    /// The query's parameters that were given, after `others`.
    pub(super) fn query(
        &self,
        others: impl IntoIterator<Item = (&'static str, Option<String>)>,
    ) -> Vec<(&'static str, String)> {
        let Self {
            from,
            to,
            limit,
            cursor,
            ..
        } = self.clone();
        let own = [
            ("from", from),
            ("to", to),
            ("cursor", cursor),
            ("limit", Some(limit.to_string())),
        ];
        others
            .into_iter()
            .chain(own)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}
