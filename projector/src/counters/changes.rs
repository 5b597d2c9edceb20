//! The products that a range of the log changed.

use domain::ProductEvent;
use event_log::{Position, RecordedEvent};
use std::collections::BTreeSet;

/// The changes in a gapless range of the log that begins at the counters' position.
pub(super) struct Changes {
    end: Position,
    products: BTreeSet<i64>,
    /// The positions at which products were opened, closed, cancelled or failed, in order.
    listed: Vec<Position>,
}

impl Changes {
    pub(super) fn after(position: Position) -> Self {
        Self { end: position, products: BTreeSet::new(), listed: Vec::new() }
    }

    /// Adds the events that continue from the end; skips those that it has already, and those after a gap.
    pub(super) fn add(&mut self, events: &[RecordedEvent]) {
        let seen = events.iter().take_while(|event| event.position <= self.end).count();
        for event in &events[seen..] {
            if event.position != self.end + 1 {
                return;
            }
            self.end = event.position;
            self.products.insert(event.product_id.get());
            if changes_the_list(&event.event) {
                self.listed.push(event.position);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.products.is_empty()
    }

    /// Its last position.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    pub(super) fn products(&self) -> Vec<i64> {
        self.products.iter().copied().collect()
    }

    pub(super) fn has(&self, product: i64) -> bool {
        self.products.contains(&product)
    }

    /// The last position up to `position` at which the list changed.
    pub(super) fn listed(&self, position: Position) -> Option<Position> {
        self.listed.iter().rev().copied().find(|listed| *listed <= position)
    }
}

fn changes_the_list(event: &ProductEvent) -> bool {
    match event {
        ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => true,
        ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::InvestWithdrawn { .. }
        | ProductEvent::InvestRefunded { .. } => false,
    }
}
