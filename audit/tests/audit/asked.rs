//! What the audit answers about a log.

use audit::Audit;
use audit::proof::ExternalSeals;
use axum::{Extension, Router};
use edge::{Actor, Role, ServiceTime};
use testbed::TestLog;
use testbed::http::{Answer, call};

/// The zone that times are given in.
pub fn service_time() -> ServiceTime {
    "Asia/Seoul".parse().unwrap()
}

/// The audit's routes as they are served, for somebody whom the guard let in; `None` came past it.
pub fn routes(test: &TestLog, reader: Option<Role>, seals: Option<ExternalSeals>) -> Router {
    let pool = test.pool.clone();
    let (log, read, bulk, write) = (test.log.clone(), pool.clone(), pool.clone(), pool);
    let routes = audit::routes(Audit {
        log,
        read,
        bulk,
        write,
        time: service_time(),
        seals,
    });
    let routes = match reader {
        Some(role) => routes.layer(Extension(Actor::new(&role.to_string(), role).unwrap())),
        None => routes,
    };
    edge::with_middleware_and_timeouts(routes, edge::CallerPolicy::default(), |_| {
        audit::ANSWER_TIMEOUT
    })
}

/// What an auditor is answered to the path and query after `/admin/audit/`.
pub async fn ask(test: &TestLog, path: &str) -> Answer {
    call(
        &routes(test, Some(Role::Auditor), None),
        "GET",
        &format!("/admin/audit/{path}"),
        &[],
    )
    .await
}
