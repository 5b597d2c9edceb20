//! Given these events, however they are delivered, then these rows.

use super::deliver::Manner;
use super::{Happened, TestApp};
use event_log::consume::Projection;

pub struct Spec<P> {
    projection: P,
    given: Vec<Happened>,
    then: Vec<(&'static str, Vec<&'static str>)>,
}

impl<P: Projection + Clone> Spec<P> {
    pub fn of(projection: P) -> Self {
        Self {
            projection,
            given: Vec::new(),
            then: Vec::new(),
        }
    }

    /// These events, recorded one second after another from second 0 on.
    pub fn given<const N: usize>(mut self, events: [Happened; N]) -> Self {
        self.given.extend(events);
        self
    }

    /// What `query` then says.
    pub fn then<const N: usize>(mut self, query: &'static str, rows: [&'static str; N]) -> Self {
        self.then.push((query, rows.to_vec()));
        self
    }

    /// Checks it for every manner of delivery, each in a database of its own, and that all end in identical rows.
    pub async fn holds(self) {
        let mut first: Option<Vec<String>> = None;
        for manner in Manner::ALL {
            let mut app = TestApp::fresh().await;
            app.deliver(&self.projection, &self.given, manner).await;
            for (query, rows) in &self.then {
                assert_eq!(&app.says(query).await, rows, "delivered {manner:?}");
            }
            let all = app.everything_of(P::NAME).await;
            assert_eq!(
                first.get_or_insert_with(|| all.clone()),
                &all,
                "delivered {manner:?}"
            );
        }
    }
}
