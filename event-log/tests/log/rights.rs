//! Who may do what: every right that the catalog knows is on the list of `docs/rights.txt`, and the other way round.

use connection_pool::Pool;
use sqlx::Executor as _;
use std::collections::BTreeSet;
use testbed::Database;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rights.txt");

/// A database with everything that is not copied from a template.
pub async fn granted() -> (Database, Pool) {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    pool.execute("select moa_grant_roles()").await.unwrap();
    (database, pool)
}

/// One line for each object and role: all that somebody has to what is not his own, whose it is, and what the roles are. Of
/// PostgreSQL's own functions those that can do harm, and of tables whose rows are kept apart whose rows are whose.
const RIGHTS: &str = "
    with objects (what, id, owner, acl) as (
        select 'table ' || relname, oid, relowner, coalesce(relacl, acldefault('r', relowner))
          from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f')
         union all
        select 'sequence ' || relname, oid, relowner, coalesce(relacl, acldefault('s', relowner))
          from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'
         union all
        select 'function ' || oid::regprocedure, oid, proowner, coalesce(proacl, acldefault('f', proowner))
          from pg_proc where pronamespace = 'public'::regnamespace
         union all
        select 'schema ' || nspname, oid, nspowner, coalesce(nspacl, acldefault('n', nspowner))
          from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
         union all
        select 'database', oid, datdba, coalesce(datacl, acldefault('d', datdba))
          from pg_database where datname = current_database()),
    harmful (what, owner, acl) as (
        select 'function ' || oid::regprocedure, proowner, coalesce(proacl, acldefault('f', proowner))
          from moa_harmful_functions() join pg_proc on oid = function),
    granted (what, grantee, owner, what_for, place) as (
        select what, grantee, owner, privilege_type || case when is_grantable then ' (may be passed on)' else '' end, 0
          from (select what, owner, acl from objects union all select * from harmful) as every
         cross join aclexplode(acl) where grantee <> owner
         union all
        select what, grantee, owner,
               format('%s (%s)', privilege_type, string_agg(attname, ', ' order by attnum)), 1
          from objects join pg_attribute on attrelid = id and what like 'table %' cross join aclexplode(attacl)
         where grantee <> owner group by what, grantee, owner, privilege_type),
    lines (line) as (
        select format('%s: %s %s', what, case grantee when 0 then 'everybody' else grantee::regrole::text end,
                      string_agg(what_for, ', ' order by place, what_for))
          from granted group by what, grantee
         union all
        select format('%s: %s owns it', what,
                      case when owner::regrole::text ~ '^(moa|pg)_' then owner::regrole::text else 'who made it' end)
          from objects
         union all
        select format('role %s: %s', rolname, coalesce(nullif(concat_ws(', ',
                      case when rolcanlogin then 'logs in' end, case when rolsuper then 'superuser' end,
                      case when rolcreaterole then 'makes roles' end, case when rolcreatedb then 'makes databases' end,
                      case when rolreplication then 'replicates' end, case when rolbypassrls then 'bypasses' end), ''),
                      'nothing but what is granted to it'))
          from pg_roles where rolname ~ '^moa_[a-z]+$'
         union all
        select format('role %s: a member of %s', member::regrole, roleid::regrole)
          from pg_auth_members where member::regrole::text ~ '^moa_[a-z]+$'
         union all
        select format('from now on %s', defaclacl) from pg_default_acl
         union all
        select format('rows of %s: kept apart', oid::regclass) from pg_class where relrowsecurity
         union all
        select format('rows of %s: %s %s where %s%s', polrelid::regclass, role::regrole,
                      case polcmd when 'r' then 'SELECT' when '*' then 'ALL' else polcmd::text end,
                      pg_get_expr(polqual, polrelid), ' and then ' || pg_get_expr(polwithcheck, polrelid))
          from pg_policy cross join unnest(polroles) as role)
    select line from lines order by line collate \"C\"";

async fn found(pool: &Pool) -> Vec<String> {
    sqlx::query_scalar(RIGHTS).fetch_all(pool).await.unwrap()
}

fn listed() -> Vec<String> {
    let text = std::fs::read_to_string(LIST).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// What is in one and not in the other, as a diff of the list.
fn differences(listed: &[String], found: &[String]) -> Vec<String> {
    let (listed, found): (BTreeSet<_>, BTreeSet<_>) =
        (listed.iter().collect(), found.iter().collect());
    let gone = listed.difference(&found).map(|line| format!("- {line}"));
    gone.chain(found.difference(&listed).map(|line| format!("+ {line}")))
        .collect()
}

#[tokio::test]
async fn the_rights_are_those_on_the_list() {
    let (_database, pool) = granted().await;
    let differences = differences(&listed(), &found(&pool).await);
    assert!(
        differences.is_empty(),
        "docs/rights.txt (-) and the database (+) differ:\n{}",
        differences.join("\n")
    );
}

/// What is planted is found, and called by its name; giving the rights again takes it back.
#[tokio::test]
async fn a_right_too_many_or_too_few_is_found() {
    let (_database, pool) = granted().await;
    for (planted, seen) in [
        (
            "grant update on events to moa_writer",
            "+ table events: moa_writer SELECT, UPDATE, INSERT (",
        ),
        (
            "grant update (hash) on events to moa_sealer",
            "+ table events: moa_sealer SELECT, UPDATE (hash)",
        ),
        (
            "revoke select on events from moa_relay",
            "- table events: moa_relay SELECT",
        ),
        (
            "grant select on events to moa_reader",
            "+ table events: moa_reader SELECT",
        ),
        (
            "grant delete on audit_access to moa_auditor",
            "+ table audit_access: moa_auditor DELETE, SELECT",
        ),
        (
            "grant insert on holdings to moa_writer",
            "+ table holdings: moa_writer INSERT",
        ),
        (
            "alter table seals owner to moa_sealer",
            "+ table seals: moa_sealer owns it",
        ),
        (
            "grant create on schema public to public",
            "+ schema public: everybody CREATE, USAGE",
        ),
        (
            "grant select on refusals to public",
            "+ table refusals: everybody SELECT",
        ),
        (
            "grant execute on function lo_create(oid) to public",
            "+ function lo_create(oid): everybody EXECUTE",
        ),
        (
            "grant execute on function pg_advisory_lock(bigint) to public",
            "+ function pg_advisory_lock(bigint): everybody",
        ),
        (
            "grant execute on function moa_event_hash(integer, bigint) to public",
            "+ function moa_event_hash(",
        ),
        (
            "alter table checkpoints disable row level security",
            "- rows of checkpoints: kept apart",
        ),
        (
            "drop policy sealer on leases",
            "- rows of leases: moa_sealer ALL",
        ),
        (
            "create policy mine on leases to moa_relay using (true)",
            "+ rows of leases: moa_relay ALL where true",
        ),
        (
            "alter policy relay on checkpoints using (true)",
            "+ rows of checkpoints: moa_relay ALL where true",
        ),
        (
            "alter policy relay on checkpoints with check (true)",
            "+ rows of checkpoints: moa_relay ALL where (consumer",
        ),
        (
            "alter policy relay on checkpoints to public",
            "- rows of checkpoints: moa_relay ALL",
        ),
    ] {
        pool.execute(planted).await.unwrap();
        let differences = differences(&listed(), &found(&pool).await);
        assert!(
            differences.iter().any(|line| line.starts_with(seen)),
            "{planted}: {differences:?}"
        );
        pool.execute("select moa_grant_roles()").await.unwrap();
        assert_eq!(
            self::differences(&listed(), &found(&pool).await),
            [""; 0],
            "{planted}"
        );
    }
}

/// Every column of an event is granted by its name, and the log's one append fills every column.
#[tokio::test]
async fn a_column_that_is_added_to_the_log_is_nobodys_to_fill() {
    let (_database, pool) = granted().await;
    pool.execute("alter table events add column secret text")
        .await
        .unwrap();
    assert_eq!(
        differences(&listed(), &found(&pool).await),
        [""; 0],
        "no right came with it"
    );
    let may = "select has_column_privilege('moa_writer', 'events', 'secret', 'insert')";
    assert!(
        !sqlx::query_scalar::<_, bool>(may)
            .fetch_one(&pool)
            .await
            .unwrap()
    );
}
