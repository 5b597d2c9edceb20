//! A generation's tables: created without indexes, because they fill fastest so; then indexed; in the end removed.

use super::{LIVE_SCHEMA, execute, qualified, quoted, standby_schema};
use connection_pool::{Connection, Pool};
use std::time::Duration;

/// How long each index may take to build, and the statistics of all tables together.
const INDEX_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The memory in which one index build may sort.
const INDEX_MEMORY: &str = "256MB";
/// How long a removal waits for statements that still read the tables.
const REMOVAL_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Creates the tables of a generation in a schema of its own, without keys and indexes: [`index`] adds those once the tables
/// are filled. Columns, types, defaults, checks, storage and reloptions are the template's: the schema
/// `{projection}_v{code_version}` where a migration created it, else the live one. The tables get the live ones' owner, and
/// the grants of the live ones and of the template, whoever creates them. Atomic; tables that exist are kept as they are.
pub(crate) async fn create(
    connection: &mut Connection,
    projection: &str,
    generation: i32,
    code_version: i32,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let schema = standby_schema(projection, generation);
    let template = template(&mut transaction, projection, code_version).await?;
    create_schema(&mut transaction, projection, &schema).await?;
    let template = template.as_str();
    for (statements, model) in [
        (TABLES_TO_CREATE, template),
        (OWNERS, LIVE_SCHEMA),
        (GRANTS, template),
        (GRANTS, LIVE_SCHEMA),
    ] {
        for statement in composed(&mut transaction, statements, projection, model, &schema).await? {
            execute(&mut transaction, &statement).await?;
        }
    }
    transaction.commit().await
}

/// Creates a schema for a standby, with the owner of the live tables, unless it exists.
pub(super) async fn create_schema(
    connection: &mut Connection,
    projection: &str,
    schema: &str,
) -> sqlx::Result<()> {
    let owner: Option<String> = sqlx::query_scalar(
        "select relowner::regrole::text from pg_class
          where relname = $1 and relnamespace = to_regnamespace(quote_ident($2))",
    )
    .bind(projection)
    .bind(LIVE_SCHEMA)
    .fetch_optional(&mut *connection)
    .await?;
    let owner = owner
        .map(|owner| format!(" authorization {owner}"))
        .unwrap_or_default();
    execute(
        connection,
        &format!("create schema if not exists {}{owner}", quoted(schema)),
    )
    .await
}

/// The statements that a query of the catalog composes, to create in `schema` what the projection has in `model`.
async fn composed(
    connection: &mut Connection,
    query: &str,
    projection: &str,
    model: &str,
    schema: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(query)
        .bind(projection)
        .bind(model)
        .bind(schema)
        .fetch_all(connection)
        .await
}

/// `like` copies everything that is not an index, except what is given in `with`.
const TABLES_TO_CREATE: &str = "
    select format('create table %I.%I (like %I.%I including all excluding indexes)',
                  $3, model.relname, $2, model.relname)
           || coalesce(' with (' || array_to_string(model.reloptions, ', ') || ')', '')
      from pg_class as model
     where model.relkind = 'r' and model.relnamespace = to_regnamespace(quote_ident($2))
       and (model.relname = $1 or starts_with(model.relname, $1 || '_'))
       and not exists (select from pg_tables where schemaname = $3 and tablename = model.relname)
     order by model.relname";

/// A projector must be able to drop what an operator's superuser created; the superuser may drop anything.
const OWNERS: &str = "
    select format('alter table %I.%I owner to %s', $3, own.relname, owner::regrole)
      from pg_class as own
      join pg_class as main on main.relname = $1 and main.relnamespace = to_regnamespace(quote_ident($2))
      left join pg_class as live on live.relname = own.relname and live.relnamespace = main.relnamespace
     cross join coalesce(live.relowner, main.relowner) as owner
     where own.relnamespace = to_regnamespace(quote_ident($3)) and own.relkind = 'r' and own.relowner <> owner";

/// A switch must not take away what other roles were granted.
const GRANTS: &str = "
    select format('grant %s on %I.%I to %s', privilege_type, $3, own.relname,
                  case grantee when 0 then 'public' else grantee::regrole::text end)
           || case when is_grantable then ' with grant option' else '' end
      from pg_class as live
      join pg_class as own on own.relname = live.relname and own.relnamespace = to_regnamespace(quote_ident($3))
     cross join aclexplode(live.relacl)
     where live.relkind = 'r' and live.relnamespace = to_regnamespace(quote_ident($2))
       and (live.relname = $1 or starts_with(live.relname, $1 || '_')) and grantee <> live.relowner";

/// Creates temporary tables like a read model's, empty and without indexes, for this connection alone. Statements that name
/// them without a schema find these.
pub(crate) async fn create_temporary(
    connection: &mut Connection,
    projection: &str,
    code_version: i32,
) -> sqlx::Result<()> {
    let template = template(connection, projection, code_version).await?;
    for statement in composed(connection, TABLES_TO_COPY, projection, &template, "pg_temp").await? {
        execute(connection, &statement).await?;
    }
    execute(
        connection,
        "create temporary table checkpoints (like checkpoints including all excluding indexes)",
    )
    .await
}

const TABLES_TO_COPY: &str = "
    select format('create table %I.%I (like %I.%I including all excluding indexes)',
                  $3, model.relname, $2, model.relname)
      from pg_class as model
     where model.relkind = 'r' and model.relnamespace = to_regnamespace(quote_ident($2))
       and (model.relname = $1 or starts_with(model.relname, $1 || '_'))
     order by model.relname";

/// Writes the read model's positions into the temporary `checkpoints`.
pub(crate) async fn set_positions(
    connection: &mut Connection,
    projection: &str,
    positions: &[i64],
) -> sqlx::Result<()> {
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

/// Builds the keys and indexes of the template that a generation lacks, under the same names, one after another. Each is
/// committed by itself, so that an interrupted build continues where it was. Then collects the planner's statistics.
pub(crate) async fn index(
    connection: &mut Connection,
    projection: &str,
    generation: i32,
    code_version: i32,
) -> sqlx::Result<()> {
    let schema = standby_schema(projection, generation);
    let template = template(connection, projection, code_version).await?;
    for statement in composed(
        connection,
        INDEXES_TO_CREATE,
        projection,
        &template,
        &schema,
    )
    .await?
    {
        execute_long(connection, &statement).await?;
    }
    let tables = tables(connection, projection, &schema).await?;
    let tables: Vec<_> = tables
        .iter()
        .map(|table| qualified(&schema, table))
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    execute_long(connection, &format!("analyze {}", tables.join(", "))).await
}

/// A key's index is built like any other, with its reloptions, and then becomes the key: `pg_get_constraintdef` has none.
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

/// Runs one statement that may take as long as an index of a large table.
async fn execute_long(connection: &mut Connection, statement: &str) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let limit = INDEX_TIMEOUT.as_millis();
    let bounds = format!(
        "set local statement_timeout = {limit}; set local maintenance_work_mem = '{INDEX_MEMORY}'"
    );
    execute(&mut transaction, &bounds).await?;
    execute(&mut transaction, statement).await?;
    transaction.commit().await
}

/// Removes a generation that is not live, with its tables, checkpoints and row; what does not exist is skipped. A live
/// generation is left alone.
pub(crate) async fn remove_generation(
    pool: &Pool,
    projection: &str,
    generation: i32,
) -> sqlx::Result<()> {
    remove(&mut pool.acquire().await?, projection, generation).await?;
    sqlx::query(
        "delete from generations where projection = $1 and generation = $2 and state <> 'LIVE'",
    )
    .bind(projection)
    .bind(generation)
    .execute(pool)
    .await?;
    Ok(())
}

/// Removes a standby's tables and its checkpoints, atomically. Locks its row in `generations`, so that no switch makes it
/// live meanwhile; the caller deletes the row.
pub(crate) async fn remove(
    connection: &mut Connection,
    projection: &str,
    generation: i32,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let schema = standby_schema(projection, generation);
    let bound = format!(
        "set local lock_timeout = {}",
        REMOVAL_LOCK_TIMEOUT.as_millis()
    );
    execute(&mut transaction, &bound).await?;
    sqlx::query("select from generations where projection = $1 and generation = $2 for update")
        .bind(projection)
        .bind(generation)
        .execute(&mut *transaction)
        .await?;
    // A live generation has neither under this name.
    sqlx::query("delete from checkpoints where consumer = $1")
        .bind(&schema)
        .execute(&mut *transaction)
        .await?;
    execute(
        &mut transaction,
        &format!("drop schema if exists {} cascade", quoted(&schema)),
    )
    .await?;
    transaction.commit().await
}

/// The read model's tables in a schema, by name.
pub(super) async fn tables(
    connection: &mut Connection,
    projection: &str,
    schema: &str,
) -> sqlx::Result<Vec<String>> {
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

/// The schema whose tables have the shape that code of this version fills.
async fn template(
    connection: &mut Connection,
    projection: &str,
    code_version: i32,
) -> sqlx::Result<String> {
    let own = format!("{projection}_v{code_version}");
    let found: bool = sqlx::query_scalar("select to_regnamespace(quote_ident($1)) is not null")
        .bind(&own)
        .fetch_one(connection)
        .await?;
    Ok(if found { own } else { LIVE_SCHEMA.into() })
}
