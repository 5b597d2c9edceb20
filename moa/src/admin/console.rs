//! What the console asks its process for.

use super::{Admin, routes};
use crate::operator;
use crate::ops::Ops;
use admin_console::{Advance, Process};
use axum::Router;
use connection_pool::Pool;
use edge::{Actor, Problem};
use event_log::search::EVENT_TYPES;
use event_log::{Log, Position};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Reservations that are counted at most: more is no news, and counting has a cost.
const MAX_COUNTED_RESERVATIONS: i64 = 100_000;

struct ConsoleProcess {
    tokens: super::Tokens,
    ops: Ops,
    log: Log,
    pool: Pool,
}

/// The admin routes and the console over them; to be passed to [`edge::with_middleware`].
pub(crate) fn with_console(
    admin: Admin,
    ops: &Ops,
    is_encrypted: bool,
    shutdown: CancellationToken,
) -> Router {
    let process = ConsoleProcess {
        tokens: admin.tokens.clone(),
        ops: ops.clone(),
        log: admin.log.clone(),
        pool: admin.write.clone(),
    };
    let (time_zone, admin) = (admin.time.zone_name(), routes(admin));
    let console = admin_console::Settings {
        admin: admin.clone(),
        process: Arc::new(process),
        event_types: &EVENT_TYPES,
        time_zone,
        is_encrypted,
        shutdown,
    };
    admin.merge(admin_console::routes(console))
}

impl Process for ConsoleProcess {
    fn actor(&self, token: &str, address: Option<IpAddr>) -> Result<Actor, Problem> {
        self.tokens.actor(token, address)
    }

    fn unready(&self) -> BoxFuture<'_, Vec<String>> {
        async {
            self.ops
                .unready()
                .await
                .into_iter()
                .map(str::to_owned)
                .collect()
        }
        .boxed()
    }

    fn needs(&self, projections: &Value, parked: i64) -> Vec<String> {
        operator::needs(projections, parked)
    }

    fn advance(&self, from: Option<Vec<Position>>) -> BoxFuture<'_, Option<Advance>> {
        self.look(from).map(Result::ok).boxed()
    }
}

impl ConsoleProcess {
    async fn look(&self, from: Option<Vec<Position>>) -> anyhow::Result<Advance> {
        let heads = self.log.heads().await?;
        let accepted = match from {
            Some(from) => self.log.reservations_between(&from, &heads).await?,
            None => 0,
        };
        let unresolved = sqlx::query_scalar(
            "select count(*) from (select from open_invest where given_back is null limit $1) counted",
        )
        .bind(MAX_COUNTED_RESERVATIONS)
        .fetch_one(&self.pool)
        .await?;
        Ok(Advance {
            heads,
            accepted,
            unresolved,
        })
    }
}
