//! `moa replay`: history again, to a queue of an outsider's.

use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use rstest::rstest;
use serde_json::Value;
use sqlx::ConnectOptions as _;
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::harness::{Ended, Start, TEST_TIMEOUT, TestApp, ask, servers, signal, within};
use crate::services::log_id;

const CANARY: &str = "canary9d41";
/// The queue goes by itself when nobody has used it for so long, in milliseconds.
const QUEUE_EXPIRY_MS: i32 = 120_000;

/// By partition, the positions of the events in the order they came.
type Places = BTreeMap<i64, Vec<i64>>;

/// A queue that an outsider made.
struct OutsideQueue {
    name: String,
    amqp: Channel,
}

impl OutsideQueue {
    async fn queue() -> Self {
        let connection = Connection::connect(&servers().0, ConnectionProperties::default())
            .await
            .unwrap();
        let (name, amqp) = (
            format!("outside.{}", Uuid::now_v7().simple()),
            connection.create_channel().await.unwrap(),
        );
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(QUEUE_EXPIRY_MS));
        amqp.queue_declare(name.as_str().into(), durable, arguments)
            .await
            .unwrap();
        Self { name, amqp }
    }

    /// The command that sends here.
    fn replay(&self, app: &TestApp, more: &[&str]) -> Start {
        let url = app.pool.connect_options().to_url_lossy().to_string();
        start(&["--to", &self.name])
            .with(more)
            .on(&url)
            .env("AMQP_URL", &servers().0)
    }

    /// All events that are in it, each marked, as is its message.
    async fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(message) = self
            .amqp
            .basic_get(self.name.as_str().into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap()
        {
            let headers = message.properties.headers().clone().unwrap();
            assert_eq!(
                headers.inner().get("replayed"),
                Some(&AMQPValue::Boolean(true))
            );
            events.extend(serde_json::from_slice::<Vec<Value>>(&message.data).unwrap());
        }
        assert!(
            events.iter().all(|event| event["replayed"] == true),
            "{events:?}"
        );
        events
    }

    async fn holds(&self) -> u32 {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = self
            .amqp
            .queue_declare(self.name.as_str().into(), passive, FieldTable::default())
            .await;
        found.unwrap().message_count()
    }

    /// Whether there is an exchange of this name.
    async fn sees_exchange(&self, name: &str) -> bool {
        let connection = Connection::connect(&servers().0, ConnectionProperties::default())
            .await
            .unwrap();
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let channel = connection.create_channel().await.unwrap();
        channel
            .exchange_declare(
                name.into(),
                ExchangeKind::Topic,
                passive,
                FieldTable::default(),
            )
            .await
            .is_ok()
    }
}

fn start(more: &[&str]) -> Start {
    Start::bare(&["replay"]).with(more)
}

fn number(event: &Value, name: &str) -> i64 {
    event[name]
        .as_i64()
        .or_else(|| event[name].as_str()?.parse().ok())
        .unwrap()
}

fn places(events: &[Value]) -> Places {
    let mut places = Places::new();
    for event in events {
        places
            .entry(number(event, "partition"))
            .or_default()
            .push(number(event, "position"));
    }
    places
}

/// The places of what the log has, where the events are such.
async fn logged(app: &TestApp, such: &str) -> Places {
    let sql = format!(
        "select partition::bigint, position from events where {such} order by partition, position"
    );
    let rows: Vec<(i64, i64)> = sqlx::query_as(&sql).fetch_all(&app.pool).await.unwrap();
    let mut places = Places::new();
    rows.into_iter()
        .for_each(|(partition, position)| places.entry(partition).or_default().push(position));
    places
}

fn count(places: &Places) -> usize {
    places.values().map(Vec::len).sum()
}

/// Two products with some invests each; all is settled.
async fn with_history() -> TestApp {
    let app = TestApp::open().await;
    for (title, user) in [("one", "ann"), ("two", "bob")] {
        let product = app.open_product(title, 1_000).await;
        for _ in 0..4 {
            assert!(app.invest(ask(user, product, 1)).await.is_accepted());
        }
    }
    app.settled().await;
    app
}

fn succeeded(ended: &Ended) {
    assert!(ended.status.success(), "{}", ended.err);
}

fn failed_with(ended: &Ended, expected: &str) {
    assert!(
        !ended.status.success() && ended.status.code().is_some(),
        "{}{}",
        ended.out,
        ended.err
    );
    assert!(
        ended.err.contains(expected),
        "{expected:?} is not in {}",
        ended.err
    );
    assert_eq!(ended.out, "");
    assert!(
        !ended.err.contains(CANARY) && !ended.err.contains("panicked"),
        "{}",
        ended.err
    );
}

/// Steps: a Moa without any broker writes history; all of it is replayed, once and in order, and the database and the
/// broker are left as they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_history_comes_marked_once_and_in_order() {
    let (app, outside) = (with_history().await, OutsideQueue::queue().await);
    let standing = async || {
        let sql =
            "select jsonb_agg(to_jsonb(c) order by consumer, partition)::text from checkpoints c";
        sqlx::query_scalar::<_, String>(sql)
            .fetch_one(&app.pool)
            .await
            .unwrap()
    };
    let (before, all) = (standing().await, logged(&app, "true").await);
    let ended = outside.replay(&app, &[]).end().await;
    succeeded(&ended);
    assert_eq!(
        ended.out,
        format!(
            "Sent {0} of {0} events to {1}.\n",
            count(&all),
            outside.name
        )
    );
    let events = outside.events().await;
    assert_eq!(places(&events), all);
    for event in &events {
        let sql = "select payload::text from events where event_id = $1::uuid";
        let payload: String = sqlx::query_scalar(sql)
            .bind(event["id"].as_str())
            .fetch_one(&app.pool)
            .await
            .unwrap();
        assert_eq!(
            event["data"],
            serde_json::from_str::<Value>(&payload).unwrap()
        );
    }
    assert_eq!(standing().await, before);
    assert!(
        !outside
            .sees_exchange(&format!("product.events.{}", log_id(&app).await))
            .await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_chosen_comes_and_nothing_else() {
    let (app, outside) = (with_history().await, OutsideQueue::queue().await);
    let sql = "select recorded_at from events order by recorded_at offset 6 limit 1";
    let time: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar(sql).fetch_one(&app.pool).await.unwrap();
    let time = time.to_rfc3339();
    let since = format!("recorded_at >= '{time}'");
    for (chosen, such) in [
        (&["--product", "1"][..], "aggregate_id = '1'"),
        (&["--type", "InvestSettled"], "event_type = 'InvestSettled'"),
        (
            &["--product", "2", "--type", "ProductOpened"],
            "aggregate_id = '2' and event_type = 'ProductOpened'",
        ),
        (&["--partition", "1"], "partition = 1"),
        (&["--from", "5"], "position >= 5"),
        (&["--from", &time], &since),
        (
            &["--from", "3", "--partition", "2", "--max-rate", "1000000"],
            "position >= 3 and partition = 2",
        ),
    ] {
        let ended = outside.replay(&app, chosen).with(&["--json"]).end().await;
        succeeded(&ended);
        let (said, expected): (Value, _) = (
            serde_json::from_str(&ended.out).unwrap(),
            logged(&app, such).await,
        );
        assert!(count(&expected) > 0, "{such} is none");
        assert_eq!(said["sent"], count(&expected), "{chosen:?}");
        assert_eq!(said["queue"], outside.name);
        assert_eq!(places(&outside.events().await), expected, "{chosen:?}");
    }
}

/// Steps: a slow one is interrupted, by each signal; what it says is done, and all of history has come.
#[rstest]
#[case("INT")]
#[case("TERM")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_interrupted_says_how_to_go_on(#[case] name: &str) {
    let (app, outside) = (with_history().await, OutsideQueue::queue().await);
    let slow = outside.replay(&app, &["--max-rate", "1"]).begin();
    within(TEST_TIMEOUT, "the first events", async || {
        (outside.holds().await >= 2).then_some(())
    })
    .await;
    signal(name, slow.id().unwrap());
    let ended = slow.wait_with_output().await.unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success(), "{err}");
    let (_, rest) = err
        .trim_end()
        .rsplit_once("go on with ")
        .unwrap_or_else(|| panic!("{err}"));
    let mut events = outside.events().await;
    for rest in rest.split(", then ") {
        let settings: Vec<_> = rest.split(' ').collect();
        succeeded(&outside.replay(&app, &settings).end().await);
        events.extend(outside.events().await);
    }
    assert_eq!(places(&events), logged(&app, "true").await, "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_takes_long_says_how_far_it_is() {
    let (app, outside) = (with_history().await, OutsideQueue::queue().await);
    let ended = outside.replay(&app, &["--max-rate", "2"]).end().await;
    succeeded(&ended);
    let (all, err) = (count(&logged(&app, "true").await), ended.err);
    let line = err
        .lines()
        .find(|line| line.starts_with("REPLAYING: "))
        .unwrap_or_else(|| panic!("{err}"));
    let words: Vec<_> = line.split(' ').collect();
    let ["REPLAYING:", read, "of", of, "events,", sent, "sent"] = words[..] else {
        panic!("{line}")
    };
    assert!(
        read == sent && of == all.to_string() && (1..all).contains(&sent.parse().unwrap()),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_or_the_broker_does_not_have_is_refused() {
    let (app, outside) = (TestApp::open().await, OutsideQueue::queue().await);
    let partition = outside.replay(&app, &["--partition", "4"]).end().await;
    failed_with(&partition, "this log has the partitions 0 to 3");
    outside
        .amqp
        .queue_delete(outside.name.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let gone = outside.replay(&app, &[]).end().await;
    failed_with(
        &gone,
        &format!("the broker has no queue {}: declare it first", outside.name),
    );
}

/// It shows no token: it is known by the database's login. What cannot be recorded is not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_recorded_before_it_sends() {
    let (app, outside) = (TestApp::open().await, OutsideQueue::queue().await);
    let product = app.open_product("replayed", 100).await;
    let sent = outside
        .replay(&app, &["--product", &product.to_string(), "--json"])
        .end()
        .await;
    assert!(sent.status.success(), "{}", sent.err);
    let acts =
        "select concat_ws(' ', act, role, subject, outcome, parameters::jsonb ->> 'sent') from acts
                 where role = 'DIRECT' order by number";
    let acts: Vec<String> = sqlx::query_scalar(acts).fetch_all(&app.pool).await.unwrap();
    let queue = &outside.name;
    assert_eq!(
        acts,
        [
            format!("REPLAY DIRECT queue {queue}"),
            format!("REPLAY DIRECT queue {queue} DONE 1")
        ]
    );
    assert_eq!(outside.events().await.len(), 1);
    sqlx::query("alter table acts add check (act <> 'REPLAY') not valid")
        .execute(&app.pool)
        .await
        .unwrap();
    failed_with(
        &outside.replay(&app, &[]).end().await,
        "nothing was sent; the login must be a member of moa_relay",
    );
    assert_eq!(outside.events().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_database_without_a_log_gets_none() {
    let database = testbed::Database::fresh().await;
    let ended = start(&["--to", "q"])
        .on(database.url())
        .env("AMQP_URL", &servers().0)
        .end()
        .await;
    failed_with(&ended, "there is no log yet at PostgreSQL at ");
    let logs: i64 = sqlx::query_scalar("select count(*) from log_identity")
        .fetch_one(&database.pool().await)
        .await
        .unwrap();
    assert_eq!(logs, 0);
}

#[rstest]
#[case::ours(&["--to", "moa.canary.holdings.0"], "Moa's own queues")]
#[case::no_name(&["--to", ""], "the name of a queue must not be empty")]
#[case::no_queue(&[], "--to <QUEUE>")]
#[case::unknown_type(&["--to", "q", "--type", "InvestLost"], "InvestSettled, InvestFailed, InvestWithdrawn, InvestRefunded, ProductClosed")]
#[case::before_the_first(&["--to", "q", "--from", "0"], "must be a position from 1, or a time with its offset")]
#[case::local_time(&["--to", "q", "--from", "2026-11-22T09:00:00"], "must be a position from 1, or a time")]
#[case::no_product(&["--to", "q", "--product", "0"], "--product <ID>")]
#[case::no_rate(&["--to", "q", "--max-rate", "0"], "--max-rate <EVENTS>")]
#[case::two_places(&["--to", "q", "--product", "1", "--partition", "1"], "cannot be used with")]
#[tokio::test]
async fn a_setting_that_cannot_be_is_refused(#[case] settings: &[&str], #[case] expected: &str) {
    let nowhere = start(settings)
        .on("postgres://u:canary9d41@127.0.0.1:1/d")
        .env("AMQP_URL", "amqp://u:canary9d41@h");
    failed_with(&nowhere.end().await, expected);
}

#[rstest]
#[case::no_database(None, Some("amqp://u:canary9d41@h"), "--database-url")]
#[case::no_broker(Some("postgres://u:canary9d41@h/d"), None, "--amqp-url")]
#[case::bad_database(
    Some("mysql://u:canary9d41@h/d"),
    Some("amqp://h"),
    "DATABASE_URL cannot be read"
)]
#[case::away(
    Some("postgres://u:canary9d41@127.0.0.1:1/d"),
    Some("amqp://h"),
    "cannot reach PostgreSQL at 127.0.0.1:1"
)]
#[tokio::test]
async fn servers_that_are_missing_are_named(
    #[case] database: Option<&str>,
    #[case] amqp: Option<&str>,
    #[case] expected: &str,
) {
    let start = start(&["--to", "q"]);
    let start = database
        .iter()
        .fold(start, |start, url| start.env("DATABASE_URL", url));
    let start = amqp
        .iter()
        .fold(start, |start, url| start.env("AMQP_URL", url));
    failed_with(&start.end().await, expected);
}
