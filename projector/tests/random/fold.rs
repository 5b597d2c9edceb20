//! The read models by definition: each number is computed from the whole history, without intermediate state.
//! Shares no code with the projections.

use crate::{holdings, invest_log, investor_summary, product_list};
use domain::{InvestId, ProductEvent, ProductId};
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
    withdrawn: Option<usize>,
    refunded: Option<(usize, String)>,
}

const WITHDRAWN: &str = "WITHDRAWN : the user withdrew the invest";

impl Invest {
    fn hear(&mut self, invest: InvestId, at: usize, event: &ProductEvent) {
        match event {
            ProductEvent::InvestSettled { invest_id, .. } if *invest_id == invest => {
                self.settled = Some(at)
            }
            ProductEvent::InvestFailed {
                invest_id,
                code,
                detail,
                ..
            } if *invest_id == invest => {
                self.failed = Some((at, format!("{code} : {detail}")));
            }
            ProductEvent::InvestWithdrawn { invest_id, .. } if *invest_id == invest => {
                self.withdrawn = Some(at)
            }
            ProductEvent::InvestRefunded {
                invest_id, code, ..
            } if *invest_id == invest => {
                let reason = match code.as_str() {
                    "WITHDRAWN" => WITHDRAWN,
                    "CANCELLED" => "CANCELLED : the product was cancelled by its operator",
                    "TARGET_MISSED" => "TARGET_MISSED : the product missed its target",
                    other => panic!("{other} is no reason"),
                };
                self.refunded = Some((at, reason.to_owned()));
            }
            _ => {}
        }
    }

    /// Where in the history it stopped to count.
    fn left(&self) -> Option<usize> {
        let failed = self.failed.as_ref().map(|(at, _)| *at);
        failed
            .or(self.withdrawn)
            .or(self.refunded.as_ref().map(|(at, _)| *at))
    }
}

pub struct Fold<'a> {
    events: &'a [RecordedEvent],
    invests: Vec<Invest>,
    partition_of: Box<dyn Fn(i64) -> Partition + 'a>,
}

impl<'a> Fold<'a> {
    pub fn of(
        events: &'a [RecordedEvent],
        partition_of: impl Fn(ProductId) -> Partition + 'a,
    ) -> Self {
        let reservations = events
            .iter()
            .enumerate()
            .filter_map(|(at, event)| match &event.event {
                ProductEvent::InvestReserved {
                    invest_id,
                    user_id,
                    amount,
                    ..
                } => {
                    let mut invest = Invest {
                        number: invest_id.0.as_u128(),
                        product: event.product_id.get(),
                        user: user_id.to_string(),
                        amount: amount.won(),
                        reserved: at,
                        settled: None,
                        failed: None,
                        withdrawn: None,
                        refunded: None,
                    };
                    events
                        .iter()
                        .enumerate()
                        .for_each(|(at, event)| invest.hear(*invest_id, at, &event.event));
                    Some(invest)
                }
                _ => None,
            });
        let mut invests: Vec<_> = reservations.collect();
        invests.sort_by_key(|invest| invest.number);
        Self {
            events,
            invests,
            partition_of: Box::new(move |id| partition_of(id.try_into().unwrap())),
        }
    }

    /// The rows that each query must return.
    pub fn expected(&self) -> [(&'static str, Vec<String>); 8] {
        [
            (product_list::PRODUCTS, self.product_list()),
            (product_list::USERS, self.product_list_user()),
            (holdings::HOLDINGS, self.holdings()),
            (holdings::COUNTS, self.holdings_count()),
            (invest_log::INVESTS, self.invest_log()),
            (invest_log::PRODUCTS, self.invest_log_product()),
            (invest_log::USERS, self.invest_log_user()),
            (investor_summary::SUMS, self.investor_summary()),
        ]
    }

    /// Won of those invests that count just after the event at `at`.
    fn taken(&self, at: usize, of: impl Fn(&Invest) -> bool) -> i64 {
        let counts =
            |invest: &&Invest| invest.reserved <= at && invest.left().is_none_or(|left| left > at);
        self.invests
            .iter()
            .filter(counts)
            .filter(|invest| of(invest))
            .map(|invest| invest.amount)
            .sum()
    }

    fn second(&self, at: usize) -> i64 {
        (self.events[at].recorded_at - crate::support::second(0)).num_seconds()
    }

    /// Every user with every product, where anything was ever tried and accepted.
    fn pairs(&self) -> BTreeSet<(&str, i64)> {
        self.invests
            .iter()
            .map(|invest| (invest.user.as_str(), invest.product))
            .collect()
    }

    fn products(&self) -> BTreeMap<i64, (String, i64)> {
        let opened = self.events.iter().filter_map(|event| match &event.event {
            ProductEvent::ProductOpened {
                product_id,
                title,
                total_investing_amount,
                ..
            } => Some((
                product_id.get(),
                (title.as_str().to_owned(), total_investing_amount.won()),
            )),
            _ => None,
        });
        opened.collect()
    }

    /// How the product ended, as the rows say it.
    fn end(&self, id: i64) -> String {
        let happened = |name: &str| {
            self.events
                .iter()
                .any(|it| it.product_id.get() == id && it.event.name() == name)
        };
        let ends = [
            ("ProductClosed", ", closed"),
            ("ProductCancelled", ", cancelled: a reason"),
            ("ProductFailed", ", failed"),
        ];
        ends.into_iter()
            .filter(|(name, _)| happened(name))
            .map(|(_, word)| word)
            .collect()
    }

    fn product_list(&self) -> Vec<String> {
        let row = |(id, (title, total)): (i64, (String, i64))| {
            let taken = self.taken(usize::MAX, |invest| invest.product == id);
            let pairs = self.pairs().into_iter().filter(|(user, product)| {
                *product == id
                    && self.taken(usize::MAX, |invest| {
                        invest.product == id && invest.user == *user
                    }) > 0
            });
            format!(
                "{id} {title}: {taken} of {total} by {}{}",
                pairs.count(),
                self.end(id)
            )
        };
        self.products().into_iter().map(row).collect()
    }

    fn product_list_user(&self) -> Vec<String> {
        let mut pairs: Vec<_> = self
            .pairs()
            .into_iter()
            .map(|(user, product)| (product, user))
            .collect();
        pairs.sort_unstable();
        let row = |(product, user)| {
            let taken = self.taken(usize::MAX, |invest| {
                invest.product == product && invest.user == user
            });
            (taken > 0).then(|| format!("{user} has {taken} of {product}"))
        };
        pairs.into_iter().filter_map(row).collect()
    }

    fn settled(&self, user: &str, product: i64) -> Vec<&Invest> {
        let of = |invest: &&Invest| {
            invest.user == user && invest.product == product && invest.settled.is_some()
        };
        self.invests.iter().filter(of).collect()
    }

    /// What was settled, and was not given back.
    fn held(&self, user: &str, product: i64) -> Vec<&Invest> {
        self.settled(user, product)
            .into_iter()
            .filter(|invest| invest.left().is_none())
            .collect()
    }

    fn holdings(&self) -> Vec<String> {
        let row = |(user, product)| {
            let settled = self.settled(user, product);
            let last = settled.iter().filter_map(|invest| invest.settled).max()?;
            let held = self.held(user, product);
            let amount: i64 = held.iter().map(|invest| invest.amount).sum();
            (amount > 0).then(|| {
                format!(
                    "{user} holds {amount} of {product} since second {}",
                    self.second(last)
                )
            })
        };
        self.pairs().into_iter().filter_map(row).collect()
    }

    fn holdings_count(&self) -> Vec<String> {
        let held = self
            .pairs()
            .into_iter()
            .filter(|(user, product)| !self.held(user, *product).is_empty());
        let mut counts: BTreeMap<(&str, Partition), i64> = BTreeMap::new();
        held.for_each(|(user, product)| {
            *counts
                .entry((user, (self.partition_of)(product)))
                .or_default() += 1
        });
        let row =
            |((user, partition), count)| format!("{user} has {count} in partition {partition}");
        counts.into_iter().map(row).collect()
    }

    fn invest_log(&self) -> Vec<String> {
        let row = |invest: &Invest| {
            let Invest {
                number,
                product,
                user,
                amount,
                reserved,
                ..
            } = invest;
            let fates =
                usize::from(invest.settled.is_some()) + usize::from(invest.failed.is_some());
            assert!(fates < 2, "two fates for invest {number}");
            let (state, last) = match (
                &invest.refunded,
                &invest.withdrawn,
                &invest.failed,
                &invest.settled,
            ) {
                (Some((at, reason)), ..) => (format!("REFUNDED {reason}"), *at),
                (None, Some(at), ..) => (format!("WITHDRAWN {WITHDRAWN}"), *at),
                (None, None, Some((at, reason)), _) => (format!("FAILED {reason}"), *at),
                (None, None, None, Some(at)) => ("SETTLED".to_owned(), *at),
                (None, None, None, None) => ("RESERVED".to_owned(), *reserved),
            };
            let of_user = self.taken(*reserved, |other| {
                other.product == *product && other.user == *user
            });
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
            format!(
                "{id} {title}: accrued {}",
                self.taken(usize::MAX, |invest| invest.product == id)
            )
        };
        self.products().into_iter().map(row).collect()
    }

    fn invest_log_user(&self) -> Vec<String> {
        let row = |(user, product)| {
            let of = |invest: &Invest| invest.product == product && invest.user == user;
            let count = self.invests.iter().filter(|invest| of(invest)).count();
            format!(
                "{user} in {product}: accrued {} in {count}",
                self.taken(usize::MAX, of)
            )
        };
        self.pairs().into_iter().map(row).collect()
    }

    /// Won settled, and won reserved without a fate, of those invests that count.
    fn sums<'b>(invests: impl Iterator<Item = &'b Invest>) -> (i64, i64) {
        invests.fold((0, 0), |(settled, reserved), invest| {
            match (&invest.settled, &invest.left()) {
                (_, Some(_)) => (settled, reserved),
                (Some(_), None) => (settled + invest.amount, reserved),
                (None, None) => (settled, reserved + invest.amount),
            }
        })
    }

    fn investor_summary(&self) -> Vec<String> {
        let row = |(user, product)| {
            let of = |invest: &&Invest| invest.product == product && invest.user == user;
            let mine = || self.invests.iter().filter(of);
            let (settled, reserved) = Self::sums(mine());
            let failed = mine().filter(|invest| invest.failed.is_some()).count();
            let products = i64::from(mine().any(|invest| invest.left().is_none()));
            let reservations = || mine().map(|invest| invest.reserved);
            let [first, last] =
                [reservations().min(), reservations().max()].map(|at| self.second(at.unwrap()));
            format!(
                "{user} in {product}: {settled} settled, {reserved} reserved, {failed} failed, {products} of a product, \
                 second {first} to {last}"
            )
        };
        self.pairs().into_iter().map(row).collect()
    }
}
