//! `open_invest`, the projection: given these events, however they are delivered, then these rows.

use crate::app::{product, user, won};
use crate::write_side::WriteSide;
use chrono::{DateTime, TimeDelta, Utc};
use command_api::{OpenInvest, Provider};
use domain::{InvestId, ProductEvent, Terms};
use event_log::consume::{Consumer, Step};
use event_log::{Appended, Batch, Metadata, NewEvent, RecordedEvent, Writer};
use rstest::rstest;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// Products 1 and 3 share a partition, 2 has the other.
const PARTITIONS: i32 = 2;

/// Something that happens to a product, at the next second.
type Happened = (i64, ProductEvent);

fn second(n: i64) -> DateTime<Utc> {
    "2026-03-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(n)
}

fn opened(of: i64) -> Happened {
    let event = ProductEvent::ProductOpened {
        product_id: product(of),
        title: "title".to_owned().try_into().unwrap(),
        total_investing_amount: won(1_000),
        started_at: second(-60),
        finished_at: second(3_600),
        terms: Terms::default(),
    };
    (of, event)
}

fn invest(n: u128) -> InvestId {
    InvestId(Uuid::from_u128(n))
}

fn reserved(of: i64, n: u128, by: &str, amount: i64) -> Happened {
    let expires_at = second(1_000);
    (
        of,
        ProductEvent::InvestReserved {
            invest_id: invest(n),
            user_id: user(by),
            amount: won(amount),
            expires_at,
        },
    )
}

fn settled(of: i64, n: u128, by: &str, amount: i64) -> Happened {
    (
        of,
        ProductEvent::InvestSettled {
            invest_id: invest(n),
            user_id: user(by),
            amount: won(amount),
        },
    )
}

fn failed(of: i64, n: u128, by: &str, amount: i64) -> Happened {
    let (code, detail) = ("DECLINED".into(), "no funds".into());
    (
        of,
        ProductEvent::InvestFailed {
            invest_id: invest(n),
            user_id: user(by),
            amount: won(amount),
            code,
            detail,
        },
    )
}

/// Those of 1 and 5 go at once, of 2 later, of 6 after its product was closed; 3 and 4 stay.
fn given() -> Vec<Happened> {
    vec![
        opened(1),
        opened(2),
        reserved(1, 1, "user1", 10),
        settled(1, 1, "user1", 10),
        reserved(1, 2, "user1", 20),
        reserved(2, 3, "user2", 30),
        opened(3),
        reserved(3, 4, "user1", 40),
        reserved(2, 5, "user3", 50),
        failed(2, 5, "user3", 50),
        failed(1, 2, "user1", 20),
        reserved(1, 6, "user4", 60),
        (1, ProductEvent::ProductClosed {}),
        settled(1, 6, "user4", 60),
    ]
}

/// Each is due 5 s after it was recorded, because settlement has been handed it.
const THEN: [&str; 2] = [
    "3 of product 2: user2 30, until 00:16:40, due 00:00:10, asked for as request-5, 0 times taken, its cause is there",
    "4 of product 3: user1 40, until 00:16:40, due 00:00:12, asked for as request-7, 0 times taken, its cause is there",
];

const ROWS: &str = "
    select format('%s of product %s: %s %s, until %s, due %s, asked for as %s, %s times taken, its cause is %s',
                  right(invest_id::text, 1), o.product_id, user_id, amount,
                  to_char(expires_at at time zone 'UTC', 'HH24:MI:SS'),
                  to_char(due_at at time zone 'UTC', 'HH24:MI:SS'), correlation_id, attempts,
                  case when exists (select from events e where e.event_id = o.event_id
                                      and e.payload->'InvestReserved'->>'investId' = o.invest_id::text)
                       then 'there' else 'missing' end)
      from open_invest o order by invest_id";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    OneByOne,
    AllAtOnce,
    /// Each twice in a row, and everything once more at the end.
    Twice,
    /// Backwards, singly, and then in order.
    Shuffled,
    /// Every second one only.
    WithGaps,
    NotAtAll,
}

impl Manner {
    fn deliveries(self, events: &[RecordedEvent]) -> Vec<Vec<RecordedEvent>> {
        let singly = || events.iter().map(|event| vec![event.clone()]);
        let whole = || [events.to_vec()];
        match self {
            Self::OneByOne => singly().collect(),
            Self::AllAtOnce => whole().into(),
            Self::Twice => singly()
                .flat_map(|one| [one.clone(), one])
                .chain(whole())
                .collect(),
            Self::Shuffled => singly().rev().chain(whole()).collect(),
            Self::WithGaps => singly().skip(1).step_by(2).collect(),
            Self::NotAtAll => vec![],
        }
    }
}

async fn happen(test: &WriteSide, happened: Vec<Happened>) -> Vec<RecordedEvent> {
    let mut writers = Vec::new();
    for partition in 0..PARTITIONS {
        writers.push(Writer::open(test.log.clone(), partition).await.unwrap());
    }
    let (mut sequences, mut recorded) = (HashMap::new(), Vec::new());
    for (n, (of, event)) in happened.into_iter().enumerate() {
        let sequence = *sequences
            .entry(of)
            .and_modify(|sequence| *sequence += 1)
            .or_insert(1);
        let metadata = Metadata {
            correlation_id: format!("request-{n}"),
            ..Metadata::default()
        };
        let events = vec![NewEvent {
            product_id: product(of),
            sequence,
            event,
            metadata,
        }];
        let writer = &mut writers[(of % i64::from(PARTITIONS)) as usize];
        let appended = writer
            .append(
                Batch {
                    events,
                    keys: vec![],
                },
                second(n as i64),
            )
            .await
            .unwrap();
        let Appended::Committed(events) = appended else {
            panic!("nobody else writes here")
        };
        recorded.extend(events.iter().cloned());
    }
    recorded
}

#[rstest]
#[tokio::test]
async fn however_it_is_delivered_the_open_ones_are_there(
    #[values(
        Manner::OneByOne,
        Manner::AllAtOnce,
        Manner::Twice,
        Manner::Shuffled,
        Manner::WithGaps,
        Manner::NotAtAll
    )]
    manner: Manner,
) {
    let test = WriteSide::with_partitions(PARTITIONS).await;
    let recorded = happen(&test, given()).await;
    for (partition, head) in (0..PARTITIONS).zip(test.log.heads().await.unwrap()) {
        let (settlement, _receiver) = command_api::fast_path(&Provider::Approve);
        let open = Arc::new(OpenInvest::new(settlement));
        let consumer = Consumer::new(test.log.clone(), test.pool.clone(), open, partition);
        let here: Vec<_> = recorded
            .iter()
            .filter(|event| event.partition == partition)
            .cloned()
            .collect();
        for delivered in manner.deliveries(&here) {
            consumer.step(&delivered).await.unwrap();
        }
        assert_eq!(consumer.catch_up().await.unwrap(), Step::Idle(head));
    }
    assert_eq!(test.says(ROWS).await, THEN);
}
