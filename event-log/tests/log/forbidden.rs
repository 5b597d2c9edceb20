//! What each role is refused, tried one by one.

use crate::rights::granted;
use connection_pool::Pool;
use rstest::rstest;
use sqlx::Executor as _;
use testbed::until;

const WRITER: &str = "moa_writer";
const RELAY: &str = "moa_relay";
const PROJECTOR: &str = "moa_projector";
const READER: &str = "moa_reader";
const AUDITOR: &str = "moa_auditor";
const SEALER: &str = "moa_sealer";

/// What nobody but the owner may.
const OWNERS: &[&str] = &[
    "update events set payload = payload",
    "update events set hash = hash where false",
    "delete from events where false",
    "truncate events",
    "alter table events disable trigger events_are_append_only",
    "alter table events disable trigger all",
    "drop trigger events_are_append_only on events",
    "drop trigger events_have_no_holes on events",
    "alter function refuse_holes() rename to refused_holes",
    "update operator_acceptances set what = 'LOSS'",
    "delete from operator_acceptances",
    "create trigger mine before insert on events execute function refuse_to_rewrite_history()",
    "create or replace function refuse_to_rewrite_history() returns trigger language plpgsql as 'begin return null; end'",
    "drop table events",
    "alter table events add column more text",
    "alter table events alter column hash set default 'x'",
    "set local session_replication_role = replica",
    "copy events from program 'true'",
    "insert into log_identity (log_id, partitions) values (gen_random_uuid(), 4)",
    "update log_identity set log_id = gen_random_uuid()",
    "delete from log_identity",
    "update seals set signature = signature",
    "delete from seals",
    "truncate seals",
    "alter table seals disable trigger seals_are_append_only",
    "update acts set actor = 'somebody'",
    "delete from acts",
    "truncate acts cascade",
    "alter table acts disable trigger acts_are_append_only",
    "insert into acts (number) values (1)",
    "update act_seals set hash = ''",
    "delete from act_seals",
    "truncate act_seals",
    "update audit_access set path = 'else'",
    "delete from audit_access",
    "truncate audit_access",
    "select setval('product_id', 1)",
    "update _sqlx_migrations set success = true",
    "select moa_grant_roles()",
    "set local role moa_owner",
    "create role somebody",
    "select pg_advisory_lock(5074785, 0)",
    "select pg_advisory_lock_shared(5074785, 0)",
    "select pg_try_advisory_lock(5074785, 0)",
    "select pg_try_advisory_xact_lock(5074785, 0)",
    "select pg_advisory_lock(21796035518464)",
    "select pg_advisory_xact_lock(21796035518464)",
    "select lo_create(0)",
    "select lo_creat(-1)",
    "select lo_from_bytea(0, 'x')",
    "select lo_put(1, 0, 'x')",
    "select pg_logical_emit_message(false, 'x', 'x')",
    "set local temp_file_limit = -1",
    "alter table checkpoints disable row level security",
    "alter table leases no force row level security",
    "drop policy relay on checkpoints",
    "create policy mine on checkpoints using (true)",
    "select moa_close_functions()",
    "select moa_limit_logins()",
];

/// The SQLSTATE that a role gets for a statement; none when it is done. Nothing stays.
async fn answer(pool: &Pool, role: &str, statement: &str) -> Option<String> {
    let mut transaction = pool.begin().await.unwrap();
    let connection = &mut *transaction;
    // As a login would be: what was a superuser may become anybody, a session of the role's own may not.
    connection
        .execute(format!("set local session authorization {role}").as_str())
        .await
        .unwrap();
    let answered = connection.execute(statement).await;
    transaction.rollback().await.unwrap();
    let error = answered.err()?;
    let refused = error
        .as_database_error()
        .unwrap_or_else(|| panic!("{statement}: {error}"));
    Some(refused.code().unwrap().into_owned())
}

async fn is_refused(pool: &Pool, role: &str, statement: &str) {
    let answer = answer(pool, role, statement).await;
    // Insufficient privilege, and nothing else: a statement that fails for another reason proves nothing.
    assert_eq!(answer.as_deref(), Some("42501"), "{role}: {statement}");
}

#[rstest]
#[tokio::test]
async fn nobody_but_the_owner_may_touch_what_was(
    #[values(WRITER, RELAY, PROJECTOR, READER, AUDITOR, SEALER)] role: &str,
) {
    let (_database, pool) = granted().await;
    for statement in OWNERS {
        is_refused(&pool, role, statement).await;
    }
}

const EVENT: &str =
    "insert into events values ('product', '1', 1, 't', '1', '{}', '{}', 0, 1, gen_random_uuid(), now(),
                                               sha256(''))";
const ACT: &str =
    "select moa_record_act('ann', 'OPERATOR', 'PAUSE', 'holdings', '{}', null, null, null)";
const ACT_SEAL: &str =
    "insert into act_seals values (1, gen_random_uuid(), 1, '', now(), '', '', '')";
const SEAL: &str =
    "insert into seals values (1, gen_random_uuid(), 4, 0, 1, 1, '', '', '', now(), '', '', '')";

#[rstest]
#[case::writer(WRITER, &[
    SEAL, ACT_SEAL, "select from acts", "select from seals", "select from audit_access",
    "insert into audit_access (reader, method, path) values ('AUDITOR', 'GET', '/')",
    "insert into idempotency_keys (user_id, key, fingerprint, answer, recorded_at) values ('u', 'k', 'f', '{}', now())",
    "update idempotency_keys set answer = '{}'", "update refusals set code = 'CLOSED'",
    "update payment_calls set answer = 'PAID'", "delete from checkpoints", "select from holdings",
    "update holdings set amount = 1", "drop table holdings", "select from jobs", "update generations set state = 'LIVE'",
    "create table public.mine ()", "create schema mine", "create temporary table mine ()",
    "insert into checkpoints (consumer, partition) values ('relay', 0)", "insert into checkpoints (consumer, partition) values ('product_list', 0)", "select pg_export_snapshot()", "select moa_event_hash(0, 1)",
])]
#[case::relay(RELAY, &[
    EVENT, SEAL, ACT_SEAL, "select from acts", "delete from checkpoints", "select from idempotency_keys", "select from refusals", "select from holdings",
    "select from open_invest", "delete from leases", "select nextval('product_id')", "select from audit_access",
    "create table public.mine ()", "create schema mine", "create temporary table mine ()",
    "select pg_advisory_xact_lock(5074785, 0)", "select pg_export_snapshot()", "insert into checkpoints (consumer, partition) values ('open_invest', 0)", "insert into checkpoints (consumer, partition) values ('product_list', 0)", "insert into leases values ('sealer', gen_random_uuid(), 1, now())", "insert into leases values ('job:1', gen_random_uuid(), 1, now())", 
    "set local row_security = off; update checkpoints set position = 1",
])]
#[case::projector(PROJECTOR, &[
    EVENT, SEAL, ACT, ACT_SEAL, "select nextval('product_id')", "select from idempotency_keys", "select from open_invest",
    "delete from open_invest", "select from refusals", "select from payment_calls", "select from seals",
    "select from audit_access", "insert into product_snapshots values (1, 1, '', '', '{}')", "delete from jobs",
    "delete from leases", "create temporary table mine ()",
    "select pg_advisory_xact_lock(5074785, 0)", "insert into checkpoints (consumer, partition) values ('open_invest', 0)", "insert into checkpoints (consumer, partition) values ('relay', 0)", "insert into leases values ('sealer', gen_random_uuid(), 1, now())", "insert into leases values ('relay.0', gen_random_uuid(), 1, now())",
])]
#[case::reader(READER, &[
    EVENT, SEAL, ACT, ACT_SEAL, "select from acts", "select from events", "select from event_index", "select from idempotency_keys", "select from refusals",
    "select from payment_calls", "select from open_invest", "select from seals", "select from audit_access",
    "select from jobs", "select from parked_deliveries", "select from product_snapshots", "update checkpoints set position = 1",
    "insert into checkpoints values ('c', 0)", "update generations set state = 'LIVE'", "update holdings set amount = 1",
    "delete from invest_log", "truncate product_list", "drop table holdings", "lock table holdings in exclusive mode",
    "create table public.mine ()", "create schema mine", "create temporary table mine ()",
    "select pg_advisory_xact_lock(5074785, 0)", "select pg_export_snapshot()",
])]
#[case::auditor(AUDITOR, &[
    EVENT, SEAL, ACT, ACT_SEAL, "select from idempotency_keys", "select from parked_deliveries", "update checkpoints set position = 1",
    "delete from refusals", "update refusals set code = 'CLOSED'", "delete from payment_calls", "delete from checkpoint_trail",
    "delete from recorder_drops", "update holdings set amount = 1", "delete from invest_log", "truncate event_index",
    "insert into audit_access (reader, method, path, at) values ('AUDITOR', 'GET', '/', now())",
    "insert into audit_access (reader, method, path, login) values ('AUDITOR', 'GET', '/', 'somebody')",
    "insert into leases values ('sealer', gen_random_uuid(), 1, now())", "create table public.mine ()", "create schema mine",
    "select pg_advisory_xact_lock(5074785, 0)", "select pg_export_snapshot()", "select moa_event_hash(0, 1)",
])]
#[case::sealer(SEALER, &[
    EVENT, ACT, "update checkpoints set position = 1", "select from checkpoints", "delete from leases", "select from refusals",
    "select from idempotency_keys", "select from holdings", "select from audit_access", "select nextval('product_id')",
    "create table public.mine ()", "create schema mine", "create temporary table mine ()",
    "select pg_advisory_xact_lock(5074785, 0)", "select pg_export_snapshot()", "insert into leases values ('relay.0', gen_random_uuid(), 1, now())", "insert into leases values ('job:1', gen_random_uuid(), 1, now())",
])]
#[tokio::test]
async fn each_role_is_refused_what_is_not_its_business(
    #[case] role: &str,
    #[case] statements: &[&str],
) {
    let (_database, pool) = granted().await;
    for statement in statements {
        is_refused(&pool, role, statement).await;
    }
}

/// The same statements, by those whose business they are: it is the right that is missing above, nothing else.
#[rstest]
#[case(WRITER, EVENT)]
#[case(SEALER, SEAL)]
#[case(WRITER, ACT)]
#[case(RELAY, ACT)]
#[case(SEALER, ACT_SEAL)]
#[case(SEALER, "select from acts, act_seals")]
#[case(AUDITOR, "select from acts, act_seals")]
#[case(WRITER, "select nextval('product_id')")]
#[case(
    WRITER,
    "insert into idempotency_keys (user_id, key, fingerprint, answer) values ('u', 'k', 'f', '{}')"
)]
#[case(
    AUDITOR,
    "insert into audit_access (reader, method, path) values ('AUDITOR', 'GET', '/')"
)]
#[case(AUDITOR, "create temporary table mine ()")]
#[case(
    AUDITOR,
    "select from events, seals, refusals, payment_calls, recorder_drops, checkpoint_trail, holdings, event_index"
)]
#[case(AUDITOR, "select forget_audit_access()")]
#[case(READER, "select from holdings, checkpoints, generations, log_identity")]
#[case(
    RELAY,
    "insert into leases values ('relay.0', gen_random_uuid(), 1, now())"
)]
#[case(WRITER, "select pg_advisory_xact_lock(5074785, 0)")]
#[case("moa_owner", "select pg_advisory_lock(1), pg_advisory_unlock(1)")]
#[case(
    PROJECTOR,
    "begin isolation level repeatable read; select pg_export_snapshot()"
)]
#[case(READER, "select moa_event_hash(0, 1), moa_database_id()")]
#[case(SEALER, "select moa_open_rights()")]
#[case(
    PROJECTOR,
    "create schema mine; create table public.mine (); drop table holdings; delete from generations"
)]
#[case(
    "moa_owner",
    "alter table events disable trigger events_are_append_only"
)]
#[case(
    "moa_owner",
    "alter table events add column more text; alter table holdings add column more text"
)]
#[tokio::test]
async fn each_role_may_do_its_own(#[case] role: &str, #[case] statement: &str) {
    let (_database, pool) = granted().await;
    assert_eq!(
        answer(&pool, role, statement).await,
        None,
        "{role}: {statement}"
    );
}

/// Even the owner meets the trigger as long as it is there; and whoever was given one right too many meets it too.
#[tokio::test]
async fn rights_alone_do_not_open_the_log() {
    let (_database, pool) = granted().await;
    let update = "update events set payload = payload";
    assert_eq!(
        answer(&pool, "moa_owner", update).await.as_deref(),
        Some("P0001")
    );
    pool.execute("grant update on events to moa_writer")
        .await
        .unwrap();
    assert_eq!(
        answer(&pool, WRITER, update).await.as_deref(),
        Some("P0001"),
        "no longer the right that is missing"
    );
}

/// Updates reach a role's own rows and no other, whatever they say.
#[rstest]
#[case(WRITER, "checkpoints", &["open_invest"])]
#[case(RELAY, "checkpoints", &["relay"])]
#[case(PROJECTOR, "checkpoints", &["holdings", "holdings_2"])]
#[case(RELAY, "leases", &["relay.0"])]
#[case(SEALER, "leases", &["sealer"])]
#[case(PROJECTOR, "leases", &["checkpoint_trail", "job:7"])]
#[tokio::test]
async fn each_role_moves_its_own_rows_alone(
    #[case] role: &str,
    #[case] table: &str,
    #[case] own: &[&str],
) {
    let (_database, pool) = granted().await;
    pool.execute(
        "insert into checkpoints (consumer, partition)
         select unnest(array['open_invest', 'relay', 'holdings', 'holdings_2']), 0;
         insert into leases
         select unnest(array['relay.0', 'sealer', 'checkpoint_trail', 'job:7']), gen_random_uuid(), 1, now()",
    )
    .await
    .unwrap();
    let mut session = pool.acquire().await.unwrap();
    session.close_on_drop();
    session
        .execute(format!("set session authorization {role}").as_str())
        .await
        .unwrap();
    let update = if table == "leases" {
        "update leases set epoch = 9 returning name"
    } else {
        "update checkpoints set position = 9 returning consumer"
    };
    let mut moved: Vec<String> = sqlx::query_scalar(update)
        .fetch_all(&mut session)
        .await
        .unwrap();
    moved.sort();
    assert_eq!(moved, own);
    let seen = sqlx::query_scalar::<_, i64>(&format!("select count(*) from {table}"))
        .fetch_one(&mut session)
        .await;
    assert_eq!(seen.unwrap(), 4, "all may be read");
}

/// A login that makes no settings of its own gets those that suit its role; what was set for it stays.
#[tokio::test]
async fn logins_are_limited() {
    let (_database, pool) = granted().await;
    let (reader, auditor) = (login(&pool, READER).await, login(&pool, AUDITOR).await);
    let database: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&pool)
        .await
        .unwrap();
    let own = format!("alter role {reader} in database {database} set lock_timeout = '1s'");
    pool.execute(own.as_str()).await.unwrap();
    let open = async || {
        let open = sqlx::query_scalar::<_, String>("select moa_open_rights()")
            .fetch_all(&pool)
            .await
            .unwrap();
        open.into_iter()
            .filter(|said| said.contains(&reader))
            .collect::<Vec<_>>()
    };
    assert_eq!(open().await.len(), 1);
    pool.execute("select moa_grant_roles()").await.unwrap();
    assert_eq!(open().await, [""; 0]);
    let settings = async |login: &str| {
        let settings = "select array_to_string(setconfig, ' ') from pg_db_role_setting
                         where setrole = $1::regrole and setdatabase = (select oid from pg_database where datname = $2)";
        sqlx::query_scalar::<_, String>(settings)
            .bind(login)
            .bind(&database)
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    let mut found = (settings(&reader).await, settings(&auditor).await);
    for login in [&reader, &auditor] {
        drop_login(&pool, login).await;
    }
    for settings in [&mut found.0, &mut found.1] {
        let mut each: Vec<_> = settings.split(' ').collect();
        each.sort_unstable();
        *settings = each.join(" ");
    }
    assert_eq!(
        found.0,
        "idle_in_transaction_session_timeout=10s lock_timeout=1s statement_timeout=30s temp_file_limit=1GB"
    );
    assert_eq!(
        found.1,
        "idle_in_transaction_session_timeout=60s lock_timeout=5s statement_timeout=15min"
    );
}

/// Another test may give every login of the server its settings meanwhile, which changes the same row: then once more.
async fn drop_login(pool: &Pool, login: &str) {
    let drop = format!("drop role {login}");
    until("the login is dropped", async || {
        pool.execute(drop.as_str()).await.is_ok()
    })
    .await;
}

async fn login(pool: &Pool, role: &str) -> String {
    let name = format!("moa_test_{}", uuid::Uuid::now_v7().simple());
    pool.execute(format!("create role {name} login in role {role}").as_str())
        .await
        .unwrap();
    name
}

/// Who is not a superuser cannot take from everybody what is PostgreSQL's own: all else is done, and what is left is said.
#[tokio::test]
async fn what_could_not_be_taken_away_is_said() {
    let (_database, pool) = granted().await;
    let open = async || {
        let open = sqlx::query_scalar::<_, String>("select moa_open_rights()")
            .fetch_all(&pool)
            .await
            .unwrap();
        open.into_iter()
            .filter(|said| !said.starts_with("the login"))
            .collect::<Vec<_>>()
    };
    assert_eq!(open().await, [""; 0]);
    for again in ["pg_advisory_lock(integer, integer)", "lo_create(oid)"] {
        pool.execute(format!("grant execute on function {again} to public").as_str())
            .await
            .unwrap();
    }
    pool.execute("drop policy relay on checkpoints; alter table leases disable row level security")
        .await
        .unwrap();
    let mut owner = pool.acquire().await.unwrap();
    owner.close_on_drop();
    owner
        .execute("set session authorization moa_owner")
        .await
        .unwrap();
    owner.execute("select moa_grant_roles()").await.unwrap();
    assert_eq!(
        open().await,
        [
            "whoever may connect to this database can fill the disk with large objects: lo_create(oid)",
            "whoever may connect to this database can hold the lock that every append takes, which stops all writes: \
             pg_advisory_lock(integer,integer)",
        ]
    );
}
