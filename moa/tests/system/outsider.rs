//! The example of a consumer outside Moa, run as its reader would.

use serde_json::Value;
use sqlx::PgPool;
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::harness::{TEST_TIMEOUT, TestApp, ask, servers};
use crate::services::{log_id, with_all_servers};

/// Events it is to print.
const COUNT: usize = 12;

fn consumer(log_id: &str) -> Child {
    example(&[log_id, &COUNT.to_string()], &servers().0)
}

fn example(args: &[&str], amqp_url: &str) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // Where `make test` puts what it needs.
    let path = std::env::var("PYTHONPATH")
        .unwrap_or_else(|_| root.join("target/python").display().to_string());
    let mut command = Command::new("python3");
    command.arg(root.join("examples/consumer.py")).args(args);
    command
        .env("AMQP_URL", amqp_url)
        .env("PYTHONPATH", path)
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// 1. The log id is mistyped: it ends with a sentence, and no exchange is made.
/// 2. Nothing is said; or no RabbitMQ is there.
#[tokio::test]
async fn the_example_waits_for_no_log_that_is_not_there() {
    let mistyped = uuid::Uuid::now_v7().to_string();
    for _ in 0..2 {
        let ended = timeout(TEST_TIMEOUT, consumer(&mistyped).wait_with_output())
            .await
            .expect("it ends by itself")
            .unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{err}");
        assert!(
            err.starts_with(&format!(
                "consumer.py: there is no exchange product.events.{mistyped}: "
            )),
            "{err}"
        );
        assert!(!err.contains("Traceback"), "{err}");
    }
    let amqp = servers().0;
    for (args, url, said) in [
        (&[][..], amqp.as_str(), "say which log"),
        (&["x", "y"], &amqp, "say which log"),
        (
            &[mistyped.as_str()],
            "amqp://127.0.0.1:1/%2f",
            "cannot reach RabbitMQ",
        ),
        (&[mistyped.as_str()], "nonsense", "cannot reach RabbitMQ"),
    ] {
        let ended = timeout(TEST_TIMEOUT, example(args, url).wait_with_output())
            .await
            .expect("it ends by itself")
            .unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{err}");
        assert!(
            err.starts_with(&format!("consumer.py: {said}")) && !err.contains("Traceback"),
            "{err}"
        );
    }
}

async fn payload(pool: &PgPool, partition: i32, position: i64) -> Option<Value> {
    let sql = "select payload::text from events where partition = $1 and position = $2";
    let text: Option<String> = sqlx::query_scalar(sql)
        .bind(partition)
        .bind(position)
        .fetch_optional(pool)
        .await
        .unwrap();
    text.map(|text| serde_json::from_str(&text).unwrap())
}

/// Each line is an event of the log, in order and once.
async fn are_the_logs(pool: &PgPool, lines: &[&str]) {
    let mut last = 0;
    for line in lines {
        let words: Vec<_> = line.splitn(5, ' ').collect();
        let [partition, position, _time, kind, data] = words[..] else {
            panic!("{line}")
        };
        let (partition, position): (i32, i64) =
            (partition.parse().unwrap(), position.parse().unwrap());
        let stored = payload(pool, partition, position)
            .await
            .expect("the log has it");
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), stored);
        assert!(stored.get(kind).is_some(), "{line}");
        assert!(last == 0 || position == last + 1, "{lines:?}");
        last = position;
    }
}

/// Steps: the example starts; invests come until it has what it was to wait for; what it printed is the log's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_prints_what_happens_in_order_and_once() {
    let app: TestApp = with_all_servers(1).await;
    let product = app.open_product("watched", 1_000).await;
    app.settled().await;
    let mut consumer = consumer(&log_id(&app).await.to_string());
    let ended = async {
        while consumer.try_wait().unwrap().is_none() {
            assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    timeout(TEST_TIMEOUT, ended)
        .await
        .expect("it ends by itself");
    let said = consumer.wait_with_output().await.unwrap();
    let (out, err) = (
        String::from_utf8(said.stdout).unwrap(),
        String::from_utf8(said.stderr).unwrap(),
    );
    assert!(said.status.success(), "{err}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), COUNT, "{out}");
    are_the_logs(&app.pool, &lines).await;
    app.processes[0].signal("TERM");
}
