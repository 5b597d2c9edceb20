//! How long the audit's questions about the past take on a long log: the whole answer, without the way over HTTP.

use crate::history::connect;
use anyhow::Context;
use audit::Audit;
use audit::access::{Actor, Role};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use connection_pool::Pool;
use event_log::Log;
use std::convert::Infallible;
use std::time::Instant;
use tower::{Service, ServiceExt as _};
use uuid::Uuid;

const CONNECTIONS: u32 = 16;
/// As much of an answer as is taken.
const ANSWER: usize = 16 << 20;

/// Asks each question so often.
pub(crate) async fn run(times: u32, database_url: &str) -> anyhow::Result<()> {
    let pool = connect(database_url, CONNECTIONS).await?;
    let partitions = Log::partitions_of(&pool)
        .await?
        .context("there is no log: fill one with bench history")?;
    let log = Log::open(pool.clone(), partitions).await?;
    println!("{} events", log.heads().await?.iter().sum::<i64>());
    let questions = questions(&pool, &log).await?;
    let routes = routes(log, pool)?;
    for (what, path) in questions {
        let mut took = Vec::new();
        for _ in 0..times {
            let began = Instant::now();
            ask(routes.clone(), &path).await?;
            took.push(began.elapsed().as_secs_f64());
        }
        took.sort_by(f64::total_cmp);
        println!(
            "  {what}: {:.3} s ({:.3} to {:.3})",
            took[took.len() / 2],
            took[0],
            took[took.len() - 1]
        );
    }
    Ok(())
}

/// What is asked, about the middle of the log's time and about its end.
async fn questions(pool: &Pool, log: &Log) -> anyhow::Result<Vec<(String, String)>> {
    let first = log.read_after(0, 0, 1).await?;
    let begin = first.first().context("the log is empty")?.recorded_at;
    let (_, end) = log.heads_now().await?;
    let reserved = log.read_after(0, log.heads().await?[0] / 2, 10).await?;
    let invest = reserved
        .iter()
        .find_map(invest_of)
        .context("there is no reservation")?;
    let mut questions = Vec::new();
    for (when, at) in [("half way", begin + (end - begin) / 2), ("now", end)] {
        let at = text(at);
        for (what, path) in [
            ("holdings", "holdings?userId=user1"),
            ("invest-log", "invest-log?userId=user1"),
            (
                "invest-log of a product",
                "invest-log?userId=user1&productId=1",
            ),
            ("summary", "summary?userId=user1"),
            ("product list", "product?size=20"),
            ("product", "product/1?"),
        ] {
            questions.push((
                format!("{what}, {when}"),
                format!("/admin/audit/{path}&at={at}"),
            ));
        }
    }
    questions.push(("story".into(), format!("/admin/audit/invest/{invest}")));
    questions.push((
        "story of an unknown invest".into(),
        format!("/admin/audit/invest/{}", Uuid::new_v4()),
    ));
    sqlx::query("analyze").execute(pool).await?;
    Ok(questions)
}

fn invest_of(event: &event_log::RecordedEvent) -> Option<Uuid> {
    match &event.event {
        domain::ProductEvent::InvestReserved { invest_id, .. } => Some(invest_id.0),
        domain::ProductEvent::ProductOpened { .. }
        | domain::ProductEvent::InvestSettled { .. }
        | domain::ProductEvent::InvestFailed { .. }
        | domain::ProductEvent::InvestWithdrawn { .. }
        | domain::ProductEvent::InvestRefunded { .. }
        | domain::ProductEvent::ProductClosed {}
        | domain::ProductEvent::ProductCancelled { .. }
        | domain::ProductEvent::ProductFailed { .. } => None,
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn routes(log: Log, pool: Pool) -> anyhow::Result<Router> {
    let audit = Audit {
        log,
        read: pool.clone(),
        bulk: pool.clone(),
        write: pool,
        time: "Asia/Seoul".parse()?,
        seals: None,
    };
    Ok(audit::routes(audit).layer(axum::Extension(Actor::new("auditor", Role::Auditor)?)))
}

async fn ask<S>(routes: S, path: &str) -> anyhow::Result<()>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let answer = routes
        .oneshot(Request::builder().uri(path).body(Body::empty())?)
        .await?;
    let (status, body) = (answer.status(), to_bytes(answer.into_body(), ANSWER).await?);
    let unknown = status == 404 && path.contains("/invest/");
    anyhow::ensure!(
        status.is_success() || unknown,
        "{path}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}
