//! Whether the login may do what its service does: the roles of docs/rights.txt.

use super::super::Finding;
use crate::settings::ServiceName;
use connection_pool::Pool;

/// Whose rights a service needs.
fn roles(service: Option<ServiceName>) -> &'static [&'static str] {
    match service {
        Some(ServiceName::CommandApi) => &["moa_writer"],
        Some(ServiceName::QueryApi) => &["moa_reader"],
        Some(ServiceName::Projector) => &["moa_projector"],
        Some(ServiceName::Relay) => &["moa_relay"],
        Some(ServiceName::Admin) => &["moa_writer", "moa_projector", "moa_auditor"],
        Some(ServiceName::Sealer) => &["moa_sealer"],
        None => &[
            "moa_writer",
            "moa_projector",
            "moa_reader",
            "moa_relay",
            "moa_auditor",
            "moa_sealer",
        ],
    }
}

/// The login, whether it owns the log or is a superuser, and the roles that it is no member of.
const MISSING: &str = "
    select current_user::text,
           coalesce((select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass('log_identity')),
                    has_schema_privilege('public', 'create')),
           array(select role from unnest($1::text[]) as role
                  where to_regrole(role) is null or not pg_has_role(to_regrole(role), 'usage'))";

pub(super) async fn check(pool: &Pool, service: Option<ServiceName>) -> sqlx::Result<Finding> {
    const CHECK: &str = "rights";
    let (login, owns, missing): (String, bool, Vec<String>) = sqlx::query_as(MISSING)
        .bind(roles(service))
        .fetch_one(pool)
        .await?;
    Ok(match (owns, missing.as_slice()) {
        (true, _) => Finding::ok(CHECK, format!("{login} owns the database's tables")),
        (false, []) => Finding::ok(
            CHECK,
            format!("{login} is a member of {}", roles(service).join(", ")),
        ),
        (false, missing) => {
            let roles = missing.join(", ");
            let whole = if service.is_none() {
                "; or name the service whose login this is: moa doctor SERVICE"
            } else {
                ""
            };
            Finding::wrong(
                CHECK,
                format!("{login} is no member of {roles}"),
                format!("grant {roles} to {login}{whole}"),
            )
        }
    })
}
