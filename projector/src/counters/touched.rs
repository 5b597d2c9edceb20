//! Which products a stretch of the log changed.

use domain::ProductEvent;
use event_log::{Position, RecordedEvent};
use std::collections::BTreeSet;

/// What a stretch of the log without a hole, which begins where the counters stand, is about.
pub(super) struct Touched {
    end: Position,
    products: BTreeSet<i64>,
    /// Where products were opened or closed, in order.
    listed: Vec<Position>,
}

impl Touched {
    pub(super) fn after(position: Position) -> Self {
        Self { end: position, products: BTreeSet::new(), listed: Vec::new() }
    }

    /// Adds what of `events` goes on from the end; what it has already and what follows a gap are passed over.
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

    /// The last position up to `position` where a product was opened or closed.
    pub(super) fn listed(&self, position: Position) -> Option<Position> {
        self.listed.iter().rev().copied().find(|listed| *listed <= position)
    }
}

fn changes_the_list(event: &ProductEvent) -> bool {
    match event {
        ProductEvent::ProductOpened { .. } | ProductEvent::ProductClosed {} => true,
        ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. } => false,
    }
}
