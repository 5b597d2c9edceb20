//! The products that a range of the log changed.

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
        Self {
            end: position,
            products: BTreeSet::new(),
            listed: Vec::new(),
        }
    }

    /// Adds the events that continue from the end; skips those that it has already, and those after a gap.
    pub(super) fn add(&mut self, events: &[RecordedEvent]) {
        for event in events {
            self.add_one(event.position, event.product_id.get(), event.event.name());
        }
    }

    /// Adds what is known of one event, as far as it continues from the end.
    pub(super) fn add_one(&mut self, position: Position, product: i64, event_type: &str) {
        if position != self.end + 1 {
            return;
        }
        self.end = position;
        self.products.insert(product);
        if changes_the_list(event_type) {
            self.listed.push(position);
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
        self.listed
            .iter()
            .rev()
            .copied()
            .find(|listed| *listed <= position)
    }
}

/// Whether a product comes, goes, or ends. What happens to an invest changes its product's counter alone.
fn changes_the_list(event_type: &str) -> bool {
    !event_type.starts_with("Invest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_continues_is_added_and_the_rest_is_not() {
        let mut changes = Changes::after(7);
        for (position, product, event_type) in [
            (7, 1, "InvestSettled"),
            (8, 2, "ProductOpened"),
            (9, 3, "InvestReserved"),
            (11, 4, "ProductClosed"),
        ] {
            changes.add_one(position, product, event_type);
        }
        assert_eq!(
            (changes.end(), changes.products(), changes.listed(9)),
            (9, vec![2, 3], Some(8))
        );
    }

    #[test]
    fn all_but_events_of_invests_change_the_list() {
        for lists in [
            "ProductOpened",
            "ProductClosed",
            "ProductCancelled",
            "ProductFailed",
        ] {
            assert!(changes_the_list(lists));
        }
        for of_invest in [
            "InvestReserved",
            "InvestSettled",
            "InvestFailed",
            "InvestWithdrawn",
            "InvestRefunded",
        ] {
            assert!(!changes_the_list(of_invest));
        }
    }
}
