//! How long and how often is measured.

use crate::contest::{BaseShape, Contestant, Load, Pace};
use crate::history::Shape;
use crate::load::Users;
use std::path::PathBuf;
use std::time::Duration;

/// Those who have invested before a round begins.
const HISTORY_USERS: u64 = 100_000;
/// As many invests and their fates as give most of them a holding.
const HISTORY_EVENTS: u64 = 250_000;
/// Products of the history; all are open.
const HISTORY_PRODUCTS: u64 = 31;
/// Those who take part in a load: more than a round has requests.
const USERS: u64 = 1_000_000;
/// Products of a load that is spread.
const SPREAD_PRODUCTS: usize = 10_000;
/// Events that read models are rebuilt from.
const REBUILD_EVENTS: u64 = 1_000_000;

/// A load of a minute is repeated so often at most.
const MAX_SUSTAINED_ROUNDS: u32 = 3;

/// An idle Moa is looked at for so long at least: once through everything that it does in a minute.
const MIN_IDLE_SECONDS: u64 = 60;

/// What every command that measures takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// How many rounds, 1 to 100; medians count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load in a round, 1 to 300
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Seconds of load in a sustained round, 1 to 3600
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    sustained_seconds: u64,
    /// One round of a second with few users, to see that it works and that the sums are right
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only those, separated by commas; without it everybody
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contestant>,
    /// The report; its plots go beside it [default: target/bench/WHAT.md, and bench/report.md for `all`]
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    pub(crate) fn sustained_rounds(&self) -> u32 {
        self.rounds().min(MAX_SUSTAINED_ROUNDS)
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { self.seconds })
    }

    pub(crate) fn sustained_time(&self) -> Duration {
        Duration::from_secs(if self.quick {
            2
        } else {
            self.sustained_seconds
        })
    }

    /// How long an idle Moa is looked at.
    pub(crate) fn idle_time(&self) -> Duration {
        match self.quick {
            true => self.sustained_time(),
            false => Duration::from_secs(self.sustained_seconds.max(MIN_IDLE_SECONDS)),
        }
    }

    /// Those of `all` that are to take part.
    pub(crate) fn wanted(&self, all: &[Contestant]) -> Vec<Contestant> {
        all.iter()
            .filter(|one| self.only.is_empty() || self.only.contains(one))
            .copied()
            .collect()
    }

    /// How long reads go on before they are measured.
    pub(crate) fn warm_up_time(&self) -> Duration {
        self.time() / 5
    }

    /// For the report: how long and how often.
    pub(crate) fn describe(&self) -> String {
        format!(
            "Rounds: {} of {} s; sustained, {} of {} s.",
            self.rounds(),
            self.time().as_secs(),
            self.sustained_rounds(),
            self.sustained_time().as_secs()
        )
    }

    /// Few connections and many; the same where it is to be quick.
    pub(crate) fn connections(&self) -> [u16; 2] {
        if self.quick { [16, 16] } else { [64, 256] }
    }

    /// As fast as answers come.
    pub(crate) fn closed(&self, connections: u16) -> Load {
        Load {
            pace: Pace::Closed,
            connections,
            time: self.time(),
            users: self.users(),
            keys: false,
            listeners: 0,
        }
    }

    /// Those who follow a stream.
    pub(crate) fn listeners(&self) -> u16 {
        if self.quick { 50 } else { 5_000 }
    }

    pub(crate) fn users(&self) -> Users {
        Users {
            count: if self.quick { 2_000 } else { USERS },
            first: 0,
        }
    }

    /// Those of the history: they have something to read.
    pub(crate) fn history_users(&self) -> Users {
        Users {
            count: self.history().users,
            first: 0,
        }
    }

    fn history(&self) -> Shape {
        match self.quick {
            true => Shape {
                events: 1_000,
                products: 5,
                users: 100,
            },
            false => Shape {
                events: HISTORY_EVENTS,
                products: HISTORY_PRODUCTS,
                users: HISTORY_USERS,
            },
        }
    }

    /// One product that everybody wants.
    pub(crate) fn hot(&self) -> BaseShape {
        BaseShape {
            history: self.history(),
            fresh_products: 1,
        }
    }

    /// Many products.
    pub(crate) fn spread(&self) -> BaseShape {
        BaseShape {
            history: self.history(),
            fresh_products: if self.quick { 50 } else { SPREAD_PRODUCTS },
        }
    }

    /// One hot product on logs of up to so many events, the shortest first. Most users of the longest have several holdings.
    pub(crate) fn sizes(&self, max_events: u64) -> Vec<BaseShape> {
        let sizes: &[(u64, u64)] = match self.quick {
            true => &[(1_000, 100), (2_000, 100)],
            false => &[
                (10_000, 5_000),
                (1_000_000, 100_000),
                (10_000_000, 1_000_000),
            ],
        };
        let shape = |(events, users): &(u64, u64)| BaseShape {
            history: Shape {
                events: *events,
                products: HISTORY_PRODUCTS,
                users: *users,
            },
            fresh_products: 1,
        };
        sizes
            .iter()
            .filter(|(events, _)| *events <= max_events)
            .map(shape)
            .collect()
    }

    /// What read models are rebuilt from.
    pub(crate) fn rebuilt(&self) -> Shape {
        match self.quick {
            true => Shape {
                events: 2_000,
                products: 40,
                users: 100,
            },
            false => Shape {
                events: REBUILD_EVENTS,
                products: 1_000,
                users: HISTORY_USERS,
            },
        }
    }
}
