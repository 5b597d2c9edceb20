//! The read models by definition: each number is computed from the whole history, without intermediate state.
//! Shares no code with the projections.

use crate::{holdings, invest_log, investor_summary, product_list};
use domain::{ProductEvent, ProductId};
use event_log::{Partition, RecordedEvent};
use std::collections::{BTreeMap, BTreeSet};

/// One invest with its whole story.
struct Invest {
    number: u128,
    product: i64,
    user: String,
    amount: i64,
    /// Where in the history.
    reserved: usize,
    settled: Option<usize>,
    failed: Option<(usize, String)>,
}

pub struct Fold<'a> {
    events: &'a [RecordedEvent],
    invests: Vec<Invest>,
    partition_of: Box<dyn Fn(i64) -> Partition + 'a>,
}

impl<'a> Fold<'a> {
    pub fn of(events: &'a [RecordedEvent], partition_of: impl Fn(ProductId) -> Partition + 'a) -> Self {
        let reservations = events.iter().enumerate().filter_map(|(at, event)| {
            match &event.event {
            ProductEvent::InvestReserved { invest_id, user_id, amount, .. } => Some(Invest {
                number: invest_id.0.as_u128(),
                product: event.product_id.get(),
                user: user_id.to_string(),
                amount: amount.won(),
                reserved: at,
                settled: events.iter().position(|event| {
                    matches!(&event.event, ProductEvent::InvestSettled { invest_id: id, .. } if id == invest_id)
                }),
                failed: events.iter().enumerate().find_map(|(at, event)| match &event.event {
                    ProductEvent::InvestFailed { invest_id: id, code, detail, .. } if id == invest_id => {
                        Some((at, format!("{code} : {detail}")))
                    }
                    _ => None,
                }),
            }),
            _ => None,
        }
        });
        let mut invests: Vec<_> = reservations.collect();
        invests.sort_by_key(|invest| invest.number);
        Self { events, invests, partition_of: Box::new(move |id| partition_of(id.try_into().unwrap())) }
    }

    /// The rows that each query must return.
    pub fn expected(&self) -> [(&'static str, Vec<String>); 9] {
        [
            (product_list::PRODUCTS, self.product_list()),
            (product_list::USERS, self.product_list_user()),
            (holdings::HOLDINGS, self.holdings()),
            (holdings::COUNTS, self.holdings_count()),
            (invest_log::INVESTS, self.invest_log()),
            (invest_log::PRODUCTS, self.invest_log_product()),
            (invest_log::USERS, self.invest_log_user()),
            (investor_summary::INVESTORS, self.investor_summary()),
            (investor_summary::PRODUCTS, self.investor_summary_product()),
        ]
    }

    /// Won of those invests that count just after the event at `at`.
    fn taken(&self, at: usize, of: impl Fn(&Invest) -> bool) -> i64 {
        let counts =
            |invest: &&Invest| invest.reserved <= at && invest.failed.as_ref().is_none_or(|(failed, _)| *failed > at);
        self.invests.iter().filter(counts).filter(|invest| of(invest)).map(|invest| invest.amount).sum()
    }

    fn second(&self, at: usize) -> i64 {
        (self.events[at].recorded_at - crate::support::second(0)).num_seconds()
    }

    /// Every user with every product, where anything was ever tried and accepted.
    fn pairs(&self) -> BTreeSet<(&str, i64)> {
        self.invests.iter().map(|invest| (invest.user.as_str(), invest.product)).collect()
    }

    fn products(&self) -> BTreeMap<i64, (String, i64)> {
        let opened = self.events.iter().filter_map(|event| match &event.event {
            ProductEvent::ProductOpened { product_id, title, total_investing_amount, .. } => {
                Some((product_id.get(), (title.as_str().to_owned(), total_investing_amount.won())))
            }
            _ => None,
        });
        opened.collect()
    }

    fn is_closed(&self, id: i64) -> bool {
        let closed = |event: &RecordedEvent| event.product_id.get() == id && event.event.name() == "ProductClosed";
        self.events.iter().any(closed)
    }

    fn product_list(&self) -> Vec<String> {
        let row = |(id, (title, total)): (i64, (String, i64))| {
            let taken = self.taken(usize::MAX, |invest| invest.product == id);
            let pairs = self.pairs().into_iter().filter(|(user, product)| {
                *product == id && self.taken(usize::MAX, |invest| invest.product == id && invest.user == *user) > 0
            });
            let closed = if self.is_closed(id) { ", closed" } else { "" };
            format!("{id} {title}: {taken} of {total} by {}{closed}", pairs.count())
        };
        self.products().into_iter().map(row).collect()
    }

    fn product_list_user(&self) -> Vec<String> {
        let mut pairs: Vec<_> = self.pairs().into_iter().map(|(user, product)| (product, user)).collect();
        pairs.sort_unstable();
        let row = |(product, user)| {
            let taken = self.taken(usize::MAX, |invest| invest.product == product && invest.user == user);
            (taken > 0).then(|| format!("{user} has {taken} of {product}"))
        };
        pairs.into_iter().filter_map(row).collect()
    }

    fn settled(&self, user: &str, product: i64) -> Vec<&Invest> {
        let of = |invest: &&Invest| invest.user == user && invest.product == product && invest.settled.is_some();
        self.invests.iter().filter(of).collect()
    }

    fn holdings(&self) -> Vec<String> {
        let row = |(user, product)| {
            let settled = self.settled(user, product);
            let last = settled.iter().filter_map(|invest| invest.settled).max()?;
            let amount: i64 = settled.iter().map(|invest| invest.amount).sum();
            Some(format!("{user} holds {amount} of {product} since second {}", self.second(last)))
        };
        self.pairs().into_iter().filter_map(row).collect()
    }

    fn holdings_count(&self) -> Vec<String> {
        let held = self.pairs().into_iter().filter(|(user, product)| !self.settled(user, *product).is_empty());
        let mut counts: BTreeMap<(&str, Partition), i64> = BTreeMap::new();
        held.for_each(|(user, product)| *counts.entry((user, (self.partition_of)(product))).or_default() += 1);
        let row = |((user, partition), count)| format!("{user} has {count} in partition {partition}");
        counts.into_iter().map(row).collect()
    }

    fn invest_log(&self) -> Vec<String> {
        let row = |invest: &Invest| {
            let Invest { number, product, user, amount, reserved, .. } = invest;
            let (state, last) = match (&invest.settled, &invest.failed) {
                (None, None) => ("RESERVED".to_owned(), *reserved),
                (Some(at), None) => ("SETTLED".to_owned(), *at),
                (None, Some((at, reason))) => (format!("FAILED {reason}"), *at),
                (Some(_), Some(_)) => panic!("two fates for invest {number}"),
            };
            let of_user = self.taken(*reserved, |other| other.product == *product && other.user == *user);
            let of_all = self.taken(*reserved, |other| other.product == *product);
            let (from, to) = (self.second(*reserved), self.second(last));
            let number = format!("{number:x}");
            format!(
                "{number}: {user} {amount} of {product} {state}, accrued {of_user} and {of_all}, second {from} to {to}"
            )
        };
        self.invests.iter().map(row).collect()
    }

    fn invest_log_product(&self) -> Vec<String> {
        let row = |(id, (title, _)): (i64, (String, i64))| {
            format!("{id} {title}: accrued {}", self.taken(usize::MAX, |invest| invest.product == id))
        };
        self.products().into_iter().map(row).collect()
    }

    fn invest_log_user(&self) -> Vec<String> {
        let row = |(user, product)| {
            let of = |invest: &Invest| invest.product == product && invest.user == user;
            let count = self.invests.iter().filter(|invest| of(invest)).count();
            format!("{user} in {product}: accrued {} in {count}", self.taken(usize::MAX, of))
        };
        self.pairs().into_iter().map(row).collect()
    }

    /// Won settled, and won reserved without a fate, of those invests.
    fn sums<'b>(invests: impl Iterator<Item = &'b Invest>) -> (i64, i64) {
        invests.fold((0, 0), |(settled, reserved), invest| match (&invest.settled, &invest.failed) {
            (Some(_), _) => (settled + invest.amount, reserved),
            (None, Some(_)) => (settled, reserved),
            (None, None) => (settled, reserved + invest.amount),
        })
    }

    fn investor_summary(&self) -> Vec<String> {
        let partition_of = |invest: &Invest| (self.partition_of)(invest.product);
        let users: BTreeSet<_> =
            self.invests.iter().map(|invest| (invest.user.as_str(), partition_of(invest))).collect();
        let row = |(user, partition)| {
            let of = |invest: &&Invest| invest.user == user && partition_of(invest) == partition;
            let mine = || self.invests.iter().filter(of);
            let standing = mine().filter(|invest| invest.failed.is_none());
            let products: BTreeSet<_> = standing.map(|invest| invest.product).collect();
            let (settled, reserved) = Self::sums(mine());
            let failed = mine().filter(|invest| invest.failed.is_some()).count();
            let (first, last) =
                (mine().map(|invest| invest.reserved).min(), mine().map(|invest| invest.reserved).max());
            let [first, last] = [first, last].map(|at| self.second(at.unwrap()));
            format!(
                "{user} in partition {partition}: {} products, {settled} settled, {reserved} reserved, {failed} failed, \
                 second {first} to {last}",
                products.len()
            )
        };
        users.into_iter().map(row).collect()
    }

    fn investor_summary_product(&self) -> Vec<String> {
        let row = |(user, product)| {
            let of = |invest: &&Invest| invest.product == product && invest.user == user;
            let (settled, reserved) = Self::sums(self.invests.iter().filter(of));
            format!("{user} in {product}: {settled} settled, {reserved} reserved")
        };
        self.pairs().into_iter().map(row).collect()
    }
}
