//! What must hold of any log, checked from outside with code that shares nothing with the domain's.

use crate::write_side::WriteSide;
use domain::{InvestId, ProductEvent, ProductId};
use event_log::RecordedEvent;
use std::collections::HashMap;

#[derive(Default)]
struct Books {
    sequence: i64,
    total: i64,
    taken: i64,
    open: HashMap<InvestId, i64>,
    fates: HashMap<InvestId, usize>,
}

impl WriteSide {
    /// Never oversold, at no prefix; one fate each; sequences and positions without a hole; the chain intact.
    pub async fn everything_adds_up(&self) {
        let mut books: HashMap<ProductId, Books> = HashMap::new();
        for recorded in self.events().await {
            books
                .entry(recorded.product_id)
                .or_default()
                .enter(&recorded);
        }
        for (partition, head) in self.log.partitions().zip(self.log.heads().await.unwrap()) {
            assert_eq!(self.log.verify(partition).await.unwrap().position, head);
        }
    }

    /// What of the product is neither reserved nor settled.
    pub async fn remaining(&self, product: ProductId) -> i64 {
        let mut books = Books::default();
        self.events_of(product)
            .await
            .iter()
            .for_each(|recorded| books.enter(recorded));
        books.total - books.taken
    }
}

impl Books {
    fn enter(&mut self, recorded: &RecordedEvent) {
        self.sequence += 1;
        assert_eq!(recorded.sequence, self.sequence, "{recorded:?}");
        match &recorded.event {
            ProductEvent::ProductOpened {
                total_investing_amount,
                ..
            } => self.total = total_investing_amount.won(),
            ProductEvent::InvestReserved {
                invest_id, amount, ..
            } => {
                self.taken += amount.won();
                let before = self.open.insert(*invest_id, amount.won());
                assert_eq!(before, None, "reserved twice: {recorded:?}");
            }
            ProductEvent::InvestSettled { invest_id, .. } => self.fate(*invest_id, 0),
            ProductEvent::InvestFailed { invest_id, .. } => self.fate(*invest_id, 1),
            ProductEvent::InvestWithdrawn { amount, .. } => self.taken -= amount.won(),
            ProductEvent::InvestRefunded { code, amount, .. } if code != "WITHDRAWN" => {
                self.taken -= amount.won()
            }
            ProductEvent::InvestRefunded { .. }
            | ProductEvent::ProductClosed {}
            | ProductEvent::ProductCancelled { .. }
            | ProductEvent::ProductFailed { .. } => {}
        }
        assert!(
            (0..=self.total).contains(&self.taken),
            "oversold: {recorded:?}"
        );
    }

    /// `freed` is how many times its amount is free again.
    fn fate(&mut self, invest: InvestId, freed: i64) {
        *self.fates.entry(invest).or_default() += 1;
        assert_eq!(self.fates[&invest], 1, "{invest} has two fates");
        self.taken -= self.open[&invest] * freed;
    }
}
