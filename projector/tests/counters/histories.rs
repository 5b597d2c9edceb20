//! Random histories of three products.

use crate::support::{Happened, closed, failed, opened, reserved, settled};
use proptest::prelude::*;

/// What may happen to one of three products; fates are of invests that are open.
#[derive(Clone, Debug)]
enum Chance {
    Reserve { user: usize, amount: i64 },
    Fail(usize),
    Settle(usize),
    Close,
}

pub fn histories(batches: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Happened>>> {
    let chance = prop_oneof![
        12 => (0..4usize, 1..500i64).prop_map(|(user, amount)| Chance::Reserve { user, amount }),
        5 => any::<usize>().prop_map(Chance::Fail),
        4 => any::<usize>().prop_map(Chance::Settle),
        1 => Just(Chance::Close),
    ];
    let batch = prop::collection::vec((1..=3i64, chance), 1..60);
    prop::collection::vec(batch, batches).prop_map(|batches| happen(&batches))
}

/// In words of the log: each batch what came of its chances, and in the first the three products.
fn happen(batches: &[Vec<(i64, Chance)>]) -> Vec<Vec<Happened>> {
    const USERS: [&str; 4] = ["choi", "kim", "lee", "park"];
    let (mut invests, mut open, mut is_closed) = (0, Vec::new(), [false; 4]);
    let mut history = vec![(1..=3).map(|id| opened(id, "a title", 1_000_000)).collect::<Vec<_>>()];
    for batch in batches {
        let happened = batch.iter().filter_map(|(product, chance)| match chance {
            Chance::Reserve { user, amount } => {
                invests += 1;
                open.push((invests, USERS[*user], *product, *amount));
                Some(reserved(invests, USERS[*user], *product, *amount))
            }
            Chance::Fail(which) | Chance::Settle(which) if !open.is_empty() => {
                let (id, user, product, amount) = open.swap_remove(which % open.len());
                let fate = if matches!(chance, Chance::Fail(_)) { failed } else { settled };
                Some(fate(id, user, product, amount))
            }
            Chance::Close => (!std::mem::replace(&mut is_closed[*product as usize], true)).then(|| closed(*product)),
            Chance::Fail(_) | Chance::Settle(_) => None,
        });
        history.push(happened.collect());
    }
    history
}
