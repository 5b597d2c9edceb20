//! The checker of guarantees.md: folds the log with code of its own and compares it with what the clients saw, the
//! tables and the answers over HTTP. It shares nothing with the services, and `planted` shows that it can fail.

mod answers;
mod chain;
pub mod counters;
mod ends;
mod fold;
mod log;
mod stream;
mod tables;
mod terms;
mod truth;
mod views;

pub use chain::chain_is_whole;
pub use log::{Event, Fact, Log};
pub use tables::{Tables, faults as tables_faults};

use crate::harness::{ApiClient, Call, Journal, Sighting, TestApp, View};
use sqlx::PgPool;
use std::fmt;

/// An invariant that does not hold, and how that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub invariant: &'static str,
    pub what: String,
}

impl Fault {
    fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self {
            invariant,
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Everything an outsider can lay hands on, at rest.
#[derive(Clone)]
pub struct Evidence {
    pub log: Log,
    pub calls: Vec<Call>,
    pub tables: Tables,
    /// Reads over HTTP, also from before the rest.
    pub sightings: Vec<Sighting>,
}

impl Evidence {
    /// Waits for quiet, then gathers: the log, the journal, the tables, and over HTTP from every process the open
    /// products, `products` one by one and what `users` have.
    pub async fn of(app: &TestApp, products: &[i64], users: &[String]) -> Self {
        app.settled().await;
        Self::gather(&app.pool, &app.apis(), &app.journal, products, users).await
    }

    /// The same, of a system that is quiet.
    pub async fn gather(
        pool: &PgPool,
        apis: &[ApiClient],
        journal: &Journal,
        products: &[i64],
        users: &[String],
    ) -> Self {
        let log = Log::read(pool).await;
        let tables = Tables::read(pool).await;
        let mut views = vec![View::Products];
        views.extend(products.iter().map(|id| View::Product(*id)));
        let of_user = [View::HoldingsOf, View::InvestsOf, View::SummaryOf];
        views.extend(
            users
                .iter()
                .flat_map(|user| of_user.map(|of| of(user.clone()))),
        );
        let mut sightings = Vec::new();
        for api in apis {
            for view in &views {
                let sighting = api.sight(view.clone()).await;
                assert_eq!(
                    views::positions(&sighting.token),
                    log.heads(),
                    "at rest, {view:?} shows all there is"
                );
                sightings.push(sighting);
            }
        }
        Self {
            log,
            calls: journal.read(),
            tables,
            sightings,
        }
    }

    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = stream::faults(&self.log);
        faults.extend(truth::faults(&self.log));
        faults.extend(terms::faults(&self.log));
        faults.extend(ends::faults(&self.log));
        faults.extend(answers::faults(&self.log, &self.calls));
        faults.extend(tables::faults(&self.log, &self.tables));
        faults.extend(views::faults(&self.log, &self.sightings));
        faults
    }

    /// Everything holds; else says what does not.
    pub fn holds(&self) {
        let faults: Vec<_> = self.faults().iter().map(ToString::to_string).collect();
        assert!(
            faults.is_empty(),
            "{} faults:\n{}",
            faults.len(),
            faults.join("\n")
        );
    }
}
