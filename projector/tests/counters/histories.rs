//! Random histories of three products.

use crate::support::{
    Happened, cancelled, closed, failed, opened, refunded, reserved, settled, withdrawn,
    withdrawn_settled,
};
use domain::GiveBackReason;
use proptest::prelude::*;

/// What may happen to one of three products; fates are of invests that are open, and only what is settled is given back.
#[derive(Clone, Debug)]
enum Chance {
    Reserve { user: usize, amount: i64 },
    Fail(usize),
    Settle(usize),
    Withdraw(usize),
    WithdrawSettled(usize),
    Refund(usize),
    Close,
    Cancel,
}

pub fn histories(batches: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Happened>>> {
    let chance = prop_oneof![
        12 => (0..4usize, 1..500i64).prop_map(|(user, amount)| Chance::Reserve { user, amount }),
        4 => any::<usize>().prop_map(Chance::Fail),
        4 => any::<usize>().prop_map(Chance::Settle),
        1 => any::<usize>().prop_map(Chance::Withdraw),
        1 => any::<usize>().prop_map(Chance::WithdrawSettled),
        1 => any::<usize>().prop_map(Chance::Refund),
        1 => Just(Chance::Close),
        1 => Just(Chance::Cancel),
    ];
    let batch = prop::collection::vec((1..=3i64, chance), 1..60);
    prop::collection::vec(batch, batches).prop_map(|batches| happen(&batches))
}

/// In words of the log: each batch what came of its chances, and in the first the three products.
fn happen(batches: &[Vec<(i64, Chance)>]) -> Vec<Vec<Happened>> {
    let mut said = Said::default();
    let mut history = vec![
        (1..=3)
            .map(|id| opened(id, "a title", 1_000_000))
            .collect::<Vec<_>>(),
    ];
    history.extend(batches.iter().map(|batch| {
        let happened = batch
            .iter()
            .filter_map(|(product, chance)| said.comes_of(*product, chance));
        happened.collect()
    }));
    history
}

/// What was said until now. An invest is its number, user, product and amount.
#[derive(Default)]
struct Said {
    invests: u128,
    open: Vec<(u128, &'static str, i64, i64)>,
    settled: Vec<(u128, &'static str, i64, i64)>,
    is_closed: [bool; 4],
    is_cancelled: [bool; 4],
}

impl Said {
    fn comes_of(&mut self, product: i64, chance: &Chance) -> Option<Happened> {
        const USERS: [&str; 4] = ["choi", "kim", "lee", "park"];
        let (open, settled_ones) = (&mut self.open, &mut self.settled);
        match chance {
            Chance::Reserve { user, amount } => {
                self.invests += 1;
                open.push((self.invests, USERS[*user], product, *amount));
                Some(reserved(self.invests, USERS[*user], product, *amount))
            }
            Chance::Fail(which) => {
                take(open, *which).map(|(id, user, of, amount)| failed(id, user, of, amount))
            }
            Chance::Withdraw(which) => {
                take(open, *which).map(|(id, user, of, amount)| withdrawn(id, user, of, amount))
            }
            Chance::Settle(which) => take(open, *which).map(|(id, user, of, amount)| {
                settled_ones.push((id, user, of, amount));
                settled(id, user, of, amount)
            }),
            Chance::WithdrawSettled(which) => take(settled_ones, *which)
                .map(|(id, user, of, amount)| withdrawn_settled(id, user, of, amount)),
            Chance::Refund(which) => take(settled_ones, *which).map(|(id, user, of, amount)| {
                refunded(id, user, of, amount, GiveBackReason::Cancelled)
            }),
            Chance::Close => (!std::mem::replace(&mut self.is_closed[product as usize], true))
                .then(|| closed(product)),
            Chance::Cancel => (!std::mem::replace(&mut self.is_cancelled[product as usize], true))
                .then(|| cancelled(product, "a reason")),
        }
    }
}

fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}
