//! A generation's tables: made bare for the fastest fill, then given their indexes, in the end removed.

use super::{LIVE, execute, qualified, quoted, slot};
use connection_pool::Connection;
use std::time::Duration;

/// How long one index may take to build, and the statistics of all tables together.
const INDEXED_WITHIN: Duration = Duration::from_secs(60 * 60);
/// What one index build may sort in memory.
const INDEX_MEMORY: &str = "256MB";
/// How long a removal waits for those who still read the tables.
const REMOVAL_WAITS: Duration = Duration::from_secs(2);

/// Makes the tables of a generation in a schema of its own, without keys and indexes: [`index`] adds those once they are
/// filled. Columns, types, defaults, checks, storage and reloptions are the template's: `{projection}_v{code_version}`
/// where a migration made that schema, else what is live. Whose the live tables are, these are too, and who may read those or
/// the template may read these, whoever makes them. All or nothing; tables that are there are kept as they are.
pub(crate) async fn create(
    connection: &mut Connection,
    projection: &str,
    generation: i32,
    code_version: i32,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let slot = slot(projection, generation);
    let template = template(&mut transaction, projection, code_version).await?;
    make_schema(&mut transaction, projection, &slot).await?;
    let template = template.as_str();
    for (statements, model) in [(TABLES_TO_CREATE, template), (OWNERS, LIVE), (GRANTS, template), (GRANTS, LIVE)] {
        for statement in composed(&mut transaction, statements, projection, model, &slot).await? {
            execute(&mut transaction, &statement).await?;
        }
    }
    transaction.commit().await
}

/// Makes a schema for tables that are not live, which belongs to whoever the live ones belong to; one that is there is kept.
pub(super) async fn make_schema(connection: &mut Connection, projection: &str, schema: &str) -> sqlx::Result<()> {
    let owner: Option<String> = sqlx::query_scalar(
        "select relowner::regrole::text from pg_class
          where relname = $1 and relnamespace = to_regnamespace(quote_ident($2))",
    )
    .bind(projection)
    .bind(LIVE)
    .fetch_optional(&mut *connection)
    .await?;
    let owner = owner.map(|owner| format!(" authorization {owner}")).unwrap_or_default();
    execute(connection, &format!("create schema if not exists {}{owner}", quoted(schema))).await
}

/// The statements that a query of the catalog composes, to make in `slot` what it finds of the projection's in `model`.
async fn composed(
    connection: &mut Connection,
    query: &str,
    projection: &str,
    model: &str,
    slot: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(query).bind(projection).bind(model).bind(slot).fetch_all(connection).await
}

/// `like` leaves out what is given in `with`; all else that is not an index it copies.
const TABLES_TO_CREATE: &str = "
    select format('create table %I.%I (like %I.%I including all excluding indexes)',
                  $3, model.relname, $2, model.relname)
           || coalesce(' with (' || array_to_string(model.reloptions, ', ') || ')', '')
      from pg_class as model
     where model.relkind = 'r' and model.relnamespace = to_regnamespace(quote_ident($2))
       and (model.relname = $1 or starts_with(model.relname, $1 || '_'))
       and not exists (select from pg_tables where schemaname = $3 and tablename = model.relname)
     order by model.relname";

/// A projector must be able to drop what an operator's superuser made, and the other way round it may anyway.
const OWNERS: &str = "
    select format('alter table %I.%I owner to %s', $3, own.relname, owner::regrole)
      from pg_class as own
      join pg_class as main on main.relname = $1 and main.relnamespace = to_regnamespace(quote_ident($2))
      left join pg_class as live on live.relname = own.relname and live.relnamespace = main.relnamespace
     cross join coalesce(live.relowner, main.relowner) as owner
     where own.relnamespace = to_regnamespace(quote_ident($3)) and own.relkind = 'r' and own.relowner <> owner";

/// A switch must not take from other roles what they were given.
const GRANTS: &str = "
    select format('grant %s on %I.%I to %s', privilege_type, $3, own.relname,
                  case grantee when 0 then 'public' else grantee::regrole::text end)
           || case when is_grantable then ' with grant option' else '' end
      from pg_class as live
      join pg_class as own on own.relname = live.relname and own.relnamespace = to_regnamespace(quote_ident($3))
     cross join aclexplode(live.relacl)
     where live.relkind = 'r' and live.relnamespace = to_regnamespace(quote_ident($2))
       and (live.relname = $1 or starts_with(live.relname, $1 || '_')) and grantee <> live.relowner";

/// Makes the tables of a read model once more, empty and bare, for this connection alone and as long as it lives. Statements
/// that name them without a schema meet these.
pub(crate) async fn create_temporary(
    connection: &mut Connection,
    projection: &str,
    code_version: i32,
) -> sqlx::Result<()> {
    let template = template(connection, projection, code_version).await?;
    for statement in composed(connection, TABLES_TO_COPY, projection, &template, "pg_temp").await? {
        execute(connection, &statement).await?;
    }
    execute(connection, "create temporary table checkpoints (like checkpoints including all excluding indexes)").await
}

const TABLES_TO_COPY: &str = "
    select format('create table %I.%I (like %I.%I including all excluding indexes)',
                  $3, model.relname, $2, model.relname)
      from pg_class as model
     where model.relkind = 'r' and model.relnamespace = to_regnamespace(quote_ident($2))
       and (model.relname = $1 or starts_with(model.relname, $1 || '_'))
     order by model.relname";

/// Writes into the temporary `checkpoints` where the read model stands.
pub(crate) async fn stand_at(connection: &mut Connection, projection: &str, positions: &[i64]) -> sqlx::Result<()> {
    sqlx::query(
        "insert into pg_temp.checkpoints (consumer, partition, position)
         select $1, place - 1, position from unnest($2::bigint[]) with ordinality as stands (position, place)",
    )
    .bind(projection)
    .bind(positions)
    .execute(connection)
    .await?;
    Ok(())
}

/// Builds what a generation lacks of its template's keys and indexes, under the same names, one after another: each is
/// committed by itself, so that a killed build goes on where it was. Then gathers the planner's statistics.
pub(crate) async fn index(
    connection: &mut Connection,
    projection: &str,
    generation: i32,
    code_version: i32,
) -> sqlx::Result<()> {
    let slot = slot(projection, generation);
    let template = template(connection, projection, code_version).await?;
    for statement in composed(connection, INDEXES_TO_CREATE, projection, &template, &slot).await? {
        take_time(connection, &statement).await?;
    }
    let tables = tables(connection, projection, &slot).await?;
    let tables: Vec<_> = tables.iter().map(|table| qualified(&slot, table)).collect();
    if tables.is_empty() {
        return Ok(());
    }
    take_time(connection, &format!("analyze {}", tables.join(", "))).await
}

/// A key's index is built like any other, with its reloptions, and then made the key: `pg_get_constraintdef` has none.
const INDEXES_TO_CREATE: &str = "
    select format('create %sindex %I on %I.%I%s', case when indisunique then 'unique ' else '' end,
                  model.relname, $3, owner.relname,
                  substring(definition from position(' USING ' in definition)))
           || case when conname is null then ''
                else format('; alter table %I.%I add constraint %I %s using index %I', $3, owner.relname, conname,
                            case contype when 'p' then 'primary key' else 'unique' end, model.relname) end
           || case when condeferrable then ' deferrable' else '' end
           || case when condeferred then ' initially deferred' else '' end
      from pg_index
      join pg_class as owner on owner.oid = indrelid
      join pg_class as model on model.oid = indexrelid
     cross join pg_get_indexdef(indexrelid) as definition
      left join pg_constraint on conindid = indexrelid and conrelid = indrelid and contype in ('p', 'u')
     where owner.relkind = 'r' and owner.relnamespace = to_regnamespace(quote_ident($2))
       and (owner.relname = $1 or starts_with(owner.relname, $1 || '_'))
       and not exists (select from pg_indexes where schemaname = $3 and indexname = model.relname)
     order by owner.relname, not indisprimary, model.relname";

/// One statement that may take as long as an index of a large table does.
async fn take_time(connection: &mut Connection, statement: &str) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let limit = INDEXED_WITHIN.as_millis();
    let bounds = format!("set local statement_timeout = {limit}; set local maintenance_work_mem = '{INDEX_MEMORY}'");
    execute(&mut transaction, &bounds).await?;
    execute(&mut transaction, statement).await?;
    transaction.commit().await
}

/// Removes a generation that is not live: its tables and its checkpoints, all or nothing. What is gone already is fine.
/// Its row in `generations` is the caller's; while there is one, it is locked, so that no switch makes it live meanwhile.
/// A live generation is left alone.
pub(crate) async fn remove(connection: &mut Connection, projection: &str, generation: i32) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let slot = slot(projection, generation);
    let bound = format!("set local lock_timeout = {}", REMOVAL_WAITS.as_millis());
    execute(&mut transaction, &bound).await?;
    sqlx::query("select from generations where projection = $1 and generation = $2 for update")
        .bind(projection)
        .bind(generation)
        .execute(&mut *transaction)
        .await?;
    // The live one has neither under this name.
    sqlx::query("delete from checkpoints where consumer = $1").bind(&slot).execute(&mut *transaction).await?;
    execute(&mut transaction, &format!("drop schema if exists {} cascade", quoted(&slot))).await?;
    transaction.commit().await
}

/// The read model's tables in a schema, by name.
pub(super) async fn tables(connection: &mut Connection, projection: &str, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select tablename::text from pg_tables
          where schemaname = $2 and (tablename = $1 or starts_with(tablename, $1 || '_'))
          order by tablename",
    )
    .bind(projection)
    .bind(schema)
    .fetch_all(connection)
    .await
}

/// The schema whose tables show what code of this version fills.
async fn template(connection: &mut Connection, projection: &str, code_version: i32) -> sqlx::Result<String> {
    let own = format!("{projection}_v{code_version}");
    let found: bool = sqlx::query_scalar("select to_regnamespace(quote_ident($1)) is not null")
        .bind(&own)
        .fetch_one(connection)
        .await?;
    Ok(if found { own } else { LIVE.into() })
}
