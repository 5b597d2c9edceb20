//! A generation's tables are what the template's are, in everything the catalog knows.

use super::world::World;
use crate::PROJECTIONS;
use crate::fold::ReadModel;
use crate::generation::tables;

/// All that the catalog has of the tables of a schema that bear a read model's name.
async fn catalog(world: &World, projection: &str, schema: &str) -> Vec<String> {
    let columns = world
        .says(&format!(
            "select concat_ws(' ', relname, relpersistence, reloptions, relacl, attname,
                              format_type(atttypid, atttypmod), attnotnull, attstorage, attcompression, attgenerated,
                              attcollation::regcollation, pg_get_expr(adbin, adrelid))
               from pg_class c
               join pg_attribute a on attrelid = c.oid and attnum > 0 and not attisdropped
               left join pg_attrdef on adrelid = c.oid and adnum = attnum
              where relkind = 'r' and relnamespace = '{schema}'::regnamespace and relname ~ '^{projection}(_|$)'
              order by relname, attnum"
        ))
        .await;
    let constraints = world
        .says(&format!(
            "select concat_ws(' ', relname, conname, contype, conindid::regclass::name, condeferrable, condeferred,
                              convalidated, pg_get_constraintdef(k.oid))
               from pg_constraint k join pg_class c on c.oid = conrelid
              where connamespace = '{schema}'::regnamespace and relname ~ '^{projection}(_|$)' order by 1"
        ))
        .await;
    let indexes = world
        .says(&format!(
            "select concat_ws(' ', i.relname, i.reloptions, indisunique, indisprimary, indisvalid, indimmediate,
                              pg_get_indexdef(i.oid))
               from pg_index join pg_class i on i.oid = indexrelid join pg_class t on t.oid = indrelid
              where t.relkind = 'r' and t.relnamespace = '{schema}'::regnamespace and t.relname ~ '^{projection}(_|$)'
              order by 1"
        ))
        .await;
    let all = [columns, constraints, indexes].concat();
    all.into_iter()
        .map(|line| line.replace(&format!("{schema}."), ""))
        .collect()
}

#[tokio::test]
async fn a_new_generation_is_created_like_the_live_one() {
    let world = World::fresh().await;
    for projection in PROJECTIONS.iter().map(|projection| projection.name) {
        world.make(projection, 2).await;
        let created = catalog(&world, projection, &format!("{projection}_2")).await;
        assert_eq!(created, catalog(&world, projection, "public").await);
        let found = world
            .says(&format!(
                "select 'x' from pg_tables where schemaname = '{projection}_2'"
            ))
            .await;
        assert_eq!(
            found.len(),
            with_model!(projection, Model => tables_of::<Model>(), _ => 0),
            "{projection}"
        );
    }
}

fn tables_of<M: ReadModel>() -> usize {
    M::TABLES.len()
}

/// What no read model has today, and one may have tomorrow.
#[tokio::test]
async fn unusual_tables_are_copied_too() {
    let world = World::fresh().await;
    world
        .run(
            r#"create table holdings_odd (
                   id bigint, gone text, "odd Name" text collate "C" not null default 'it''s',
                   doubled numeric(20, 2) generated always as (id * 2) stored, payload text, at timestamptz,
                   constraint holdings_odd_key primary key (id) include (at) with (fillfactor = 71),
                   constraint holdings_odd_once unique ("odd Name") deferrable initially deferred,
                   constraint "odd check" check (id > 0)
               ) with (fillfactor = 61, autovacuum_vacuum_scale_factor = 0.5);
               alter table holdings_odd drop column gone;
               alter table holdings_odd alter column payload set storage external;
               create unique index "odd Index" on holdings_odd (lower("odd Name") desc nulls last)
                   include (payload) with (fillfactor = 51) where at is not null;
               grant select on holdings_odd to public;
               grant select, update on holdings_odd to pg_monitor with grant option"#,
        )
        .await;
    world.make("holdings", 2).await;
    assert_eq!(
        catalog(&world, "holdings", "holdings_2").await,
        catalog(&world, "holdings", "public").await
    );
}

#[tokio::test]
async fn code_of_a_later_version_has_a_template_of_its_own() {
    let world = World::fresh().await;
    world
        .run(
            "create schema holdings_v2; create table holdings_v2.holdings (user_id text primary key, note text);
             select moa_grant_roles()",
        )
        .await;
    let mut connection = world.connection().await;
    tables::create(&mut connection, "holdings", 2, 2)
        .await
        .unwrap();
    tables::index(&mut connection, "holdings", 2, 2)
        .await
        .unwrap();
    let made = catalog(&world, "holdings", "holdings_2").await;
    assert_eq!(made, catalog(&world, "holdings", "holdings_v2").await);
}

#[tokio::test]
async fn bare_tables_have_no_index_until_they_are_filled() {
    let world = World::fresh().await;
    tables::create(&mut world.connection().await, "holdings", 2, 1)
        .await
        .unwrap();
    let indexes = "select indexname::text from pg_indexes where schemaname = 'holdings_2'";
    assert_eq!(world.says(indexes).await, [""; 0]);
}

/// A killed build left one index; what is there stays as it is, rows too.
#[tokio::test]
async fn an_interrupted_index_build_continues() {
    let world = World::fresh().await;
    let mut connection = world.connection().await;
    tables::create(&mut connection, "holdings", 2, 1)
        .await
        .unwrap();
    world
        .run(
            "insert into holdings_2.holdings values ('kim', 1, 1, 'epoch');
             create index holdings_latest_first on holdings_2.holdings (user_id, invest_date desc, product_id desc)",
        )
        .await;
    let oid = "select 'holdings_2.holdings_latest_first'::regclass::oid::text";
    let before = world.says(oid).await;
    for _ in 0..2 {
        tables::create(&mut connection, "holdings", 2, 1)
            .await
            .unwrap();
        tables::index(&mut connection, "holdings", 2, 1)
            .await
            .unwrap();
    }
    assert_eq!(world.says(oid).await, before);
    assert_eq!(
        world.says("select user_id from holdings_2.holdings").await,
        ["kim"]
    );
    assert_eq!(
        catalog(&world, "holdings", "holdings_2").await,
        catalog(&world, "holdings", "public").await
    );
    let statistics =
        "select reltuples::text from pg_class where oid = 'holdings_2.holdings'::regclass";
    assert_eq!(world.says(statistics).await, ["1"]);
}

#[tokio::test]
async fn a_removed_generation_leaves_nothing_and_the_live_one_stays() {
    let world = World::with_two_holdings().await;
    for generation in [2, 2, 1] {
        tables::remove(&mut world.connection().await, "holdings", generation)
            .await
            .unwrap();
    }
    let left = [
        "holdings {1,1}",
        "public.holdings 6",
        "public.holdings_count 1",
        "public.holdings_product 6",
        "1 LIVE",
        "2 READY",
    ];
    assert_eq!(world.places().await, left);
}
