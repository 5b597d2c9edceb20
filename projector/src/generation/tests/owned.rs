//! A generation gets the live one's owner, whoever creates it: a projector with only its own rights can switch to a generation
//! that a superuser created, and drop it, and readers can still read.

use super::world::World;
use crate::generation::switch::switch;
use crate::generation::tables;
use connection_pool::Connection;
use sqlx::Executor as _;

impl World {
    /// Every role with its rights; and only then a superuser made generation 2.
    async fn with_roles() -> Self {
        let world = Self::with_two_holdings().await;
        world.run("select moa_grant_roles()").await;
        tables::remove(&mut world.connection().await, "holdings", 2)
            .await
            .unwrap();
        world
            .run("delete from generations where generation = 2")
            .await;
        world.make("holdings", 2).await;
        world.begin("holdings_2").await;
        world
    }

    /// As a projector with a login of its own.
    async fn projector(&self) -> Connection {
        let mut connection = self.connection().await;
        connection
            .execute("set session authorization moa_projector")
            .await
            .unwrap();
        connection
    }

    /// Whose the tables and schemas are.
    async fn owners(&self) -> Vec<String> {
        self.says(
            "select distinct relowner::regrole::text from pg_class where relname ~ '^holdings' and relkind = 'r'
              union
             select nspowner::regrole::text from pg_namespace where nspname ~ '^holdings_'",
        )
        .await
    }

    async fn is_read(&self) {
        for role in ["moa_reader", "moa_auditor"] {
            let may = format!(
                "select bool_and(has_table_privilege('{role}', oid, 'select'))::text from pg_class
                  where relname ~ '^holdings' and relkind = 'r' and relnamespace = 'public'::regnamespace"
            );
            assert_eq!(self.says(&may).await, ["true"], "{role}");
        }
    }
}

#[tokio::test]
async fn a_projector_switches_to_what_a_superuser_made_and_drops_it() {
    let world = World::with_roles().await;
    let mut projector = world.projector().await;
    switch(&mut projector, "holdings", 2, &mut ())
        .await
        .unwrap();
    assert_eq!(world.owners().await, ["moa_projector"]);
    world.is_read().await;
    tables::remove(&mut projector, "holdings", 1).await.unwrap();
    assert_eq!(
        world
            .says("select nspname::text from pg_namespace where nspname ~ '^holdings_'")
            .await,
        [""; 0]
    );
}

#[tokio::test]
async fn what_a_superuser_switched_and_left_is_the_projectors_to_drop() {
    let world = World::with_roles().await;
    world.switch(2).await.unwrap();
    assert_eq!(
        world.owners().await,
        ["moa_projector"],
        "where the old one went, too"
    );
    world.is_read().await;
    tables::remove(&mut world.projector().await, "holdings", 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_projector_makes_a_generation_and_a_superuser_switches_to_it() {
    let world = World::with_roles().await;
    let mut projector = world.projector().await;
    tables::remove(&mut projector, "holdings", 2).await.unwrap();
    world
        .run("delete from generations where generation = 2")
        .await;
    tables::create(&mut projector, "holdings", 2, 1)
        .await
        .unwrap();
    tables::index(&mut projector, "holdings", 2, 1)
        .await
        .unwrap();
    world
        .run("insert into generations values ('holdings', 2, 1, 'READY')")
        .await;
    world.begin("holdings_2").await;
    world.switch(2).await.unwrap();
    assert_eq!(world.owners().await, ["moa_projector"]);
    world.is_read().await;
    projector
        .execute("insert into holdings_count values ('kim', 1, 1); truncate holdings")
        .await
        .unwrap();
}

/// A table that only the next version has: it is the projector's, and who may read its template may read it.
#[tokio::test]
async fn a_table_that_is_new_is_read_like_its_template() {
    let world = World::with_roles().await;
    world
        .run(
            "create schema holdings_v2; create table holdings_v2.holdings (user_id text primary key);
             create table holdings_v2.holdings_fresh (user_id text primary key); select moa_grant_roles()",
        )
        .await;
    tables::create(&mut world.connection().await, "holdings", 3, 2)
        .await
        .unwrap();
    assert_eq!(world.owners().await, ["moa_projector"]);
    let may =
        "select has_table_privilege('moa_reader', 'holdings_3.holdings_fresh', 'select')::text";
    assert_eq!(world.says(may).await, ["true"]);
}
