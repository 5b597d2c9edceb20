//! Readers and writers of a read model while its generations are switched.

use super::world::{PARTITIONS, World};
use crate::generation::standby_schema;
use crate::generation::switch::{CatchUp, SwitchError};
use connection_pool::{Connection, Pool};
use event_log::Position;
use event_log::consume::StepError;
use sqlx::Executor as _;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SWITCHES: i32 = 50;
const READERS: u32 = 6;
/// The longest a read may take here: one attempt's wait, and a machine that is busy with other tests.
const MAX_RACE_DURATION: Duration = Duration::from_secs(1);

/// How often a statement comes that does not begin with the main table.
const SLOW_INTERVAL: Duration = Duration::from_millis(25);

/// The statement of `GET /api/product/my/invest`.
const PAGE: &str = "
    select page.product_id is not null as present,
           (select coalesce(sum(holdings), 0)::bigint from holdings_count where user_id = $2) as total_count,
           array(select coalesce(position, 0)
                 from generate_series(0, $1 - 1) as n
                 left join checkpoints on consumer = 'holdings' and partition = n
                 order by n) as positions,
           page.product_id, page.amount, page.invest_date, product.title, product.total_amount
    from (values (1)) as one
    left join (select product_id, amount, invest_date
               from holdings
               where user_id = $2
               order by invest_date desc, product_id desc
               offset $3 limit $4) as page on true
    left join holdings_product as product using (product_id)
    order by page.invest_date desc, page.product_id desc";

/// The same tables the other way round: it may hold one when it meets the switch at another.
const OTHER_PAGE: &str = "
    select true as present, count.holdings as total_count,
           array(select position from checkpoints where consumer = 'holdings' order by partition) as positions,
           product_id, amount, invest_date, title, total_amount
    from holdings_product join holdings using (product_id) join holdings_count as count using (user_id)
    where $1 > 0 and user_id = $2
    order by product_id desc
    offset $3 limit $4";

#[derive(sqlx::FromRow)]
struct Row {
    present: bool,
    total_count: i64,
    positions: Vec<Position>,
    amount: i64,
    title: String,
}

/// Reads the same page over and over; says how long the longest read took, and how many there were.
async fn read_on(
    readers: Pool,
    (page, pause): (&'static str, Duration),
    stop: CancellationToken,
) -> (Duration, u64) {
    let (mut longest, mut reads, mut seen) = (Duration::ZERO, 0, vec![0; PARTITIONS as usize]);
    while !stop.is_cancelled() {
        let since = Instant::now();
        let rows: Vec<Row> = sqlx::query_as(page)
            .bind(PARTITIONS)
            .bind("kim")
            .bind(0_i64)
            .bind(100_i64)
            .fetch_all(&readers)
            .await
            .unwrap();
        longest = longest.max(since.elapsed());
        reads += 1;
        let positions = &rows.first().unwrap().positions;
        assert!(
            positions
                .iter()
                .zip(&seen)
                .all(|(now, before)| now >= before),
            "{seen:?}, then {positions:?}"
        );
        // Generation 1 is live at odd positions, 2 at even ones.
        let generation = if positions[0] % 2 == 1 { 1 } else { 2 };
        assert_eq!(rows.len() as i64, 5 + generation);
        for row in &rows {
            assert!(row.present && row.positions == *positions);
            assert_eq!((row.total_count, row.amount), (5 + generation, generation));
            assert_eq!(row.title, format!("generation {generation}"));
        }
        seen.clone_from(positions);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    (longest, reads)
}

async fn end_of<T: 'static>(tasks: JoinSet<T>, stop: &CancellationToken) -> Vec<T> {
    stop.cancel();
    tasks.join_all().await
}

/// 1. Readers read a page of three tables and the positions, with statements prepared once, as fast as they can.
/// 2. Fifty times the generation that is not live goes a position ahead and becomes the live one.
/// 3. Each read had rows of one generation only, the one that was live at the positions it had, and positions never fell.
#[tokio::test(flavor = "multi_thread")]
async fn readers_see_one_generation_and_never_an_older_one() {
    let world = World::with_two_holdings().await;
    let (readers, stop, mut reading) = (
        world.readers(READERS),
        CancellationToken::new(),
        JoinSet::new(),
    );
    for reader in 0..READERS {
        let page = if reader == 0 {
            (OTHER_PAGE, SLOW_INTERVAL)
        } else {
            (PAGE, Duration::ZERO)
        };
        reading.spawn(read_on(readers.clone(), page, stop.clone()));
    }
    let (mut held, mut longest_switch) = (Duration::ZERO, Duration::ZERO);
    for n in 0..SWITCHES {
        let to = 2 - n % 2;
        world.step_ahead(to).await;
        let since = Instant::now();
        let switched = world.switch(to).await.unwrap();
        longest_switch = longest_switch.max(since.elapsed());
        held = held.max(switched.blocked);
        // Let them read a while.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = end_of(reading, &stop).await;
    let (longest, reads) = read
        .iter()
        .fold((Duration::ZERO, 0), |(most, sum), (longest, n)| {
            (most.max(*longest), sum + n)
        });
    println!(
        "{reads} reads, the longest {longest:?}; readers held {held:?} at most; a switch {longest_switch:?}"
    );
    assert!(
        longest < MAX_RACE_DURATION && held < MAX_RACE_DURATION,
        "{longest:?}, {held:?}"
    );
    assert!(reads > 1_000, "only {reads} reads: nothing was proved");
}

/// What the writers of a partition wrote: a product for each position, in the tables that are live.
const WRITE: &str = "
    insert into holdings_product
    select 1000 + $1 * 2 + $2, title, $1 from holdings_product where product_id = 1";

/// Steps like a consumer: locks the checkpoint by its name, writes to the tables by theirs, moves the checkpoint.
async fn write_on(pool: Pool, partition: i32, stop: CancellationToken) -> u64 {
    let mut steps = 0;
    while !stop.is_cancelled() {
        let mut transaction = pool.begin().await.unwrap();
        let held: Option<Position> = sqlx::query_scalar(
            "select position from checkpoints where consumer = 'holdings' and partition = $1 for update skip locked",
        )
        .bind(partition)
        .fetch_optional(&mut *transaction)
        .await
        .unwrap();
        let Some(position) = held else {
            transaction.rollback().await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        sqlx::query(WRITE)
            .bind(position + 1)
            .bind(partition)
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query(
            "update checkpoints set position = $1 where consumer = 'holdings' and partition = $2",
        )
        .bind(position + 1)
        .bind(partition)
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
        steps += 1;
    }
    steps
}

/// Writes to a generation what it lacks.
struct Writes(i32);

impl CatchUp for Writes {
    async fn catch_up(
        &mut self,
        transaction: &mut Connection,
        live: &[Position],
    ) -> Result<(), StepError> {
        let schema = standby_schema("holdings", self.0);
        transaction
            .execute(&format!("set local search_path = {schema}, public")[..])
            .await?;
        for (partition, live) in (0..).zip(live) {
            sqlx::query(&format!(
                "with own as (select position from checkpoints where consumer = '{schema}' and partition = $1)
                 insert into holdings_product
                 select 1000 + n * 2 + $1, title, n from own
                  cross join generate_series(own.position + 1, $2) as n
                  cross join (select title from holdings_product where product_id = 1) as mine"
            ))
            .bind(partition)
            .bind(live)
            .execute(&mut *transaction)
            .await?;
            sqlx::query(
                "update checkpoints set position = $1 where consumer = $2 and partition = $3",
            )
            .bind(live)
            .bind(&schema)
            .bind(partition)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(())
    }
}

/// What is not as it must be: a generation's rows that another generation's writer wrote, and positions without a row.
const WRONG: &str = "
    select format('%s at %s: position %s of partition %s', consumer, position, n, partition)
      from (select 'holdings' as consumer, title, product_id, total_amount from public.holdings_product
             union all select 'holdings_2', title, product_id, total_amount from holdings_2.holdings_product) as row
      full join (select consumer, partition, position, n, 1000 + n * 2 + partition as product_id
                   from checkpoints cross join generate_series(2, position) as n) as due using (consumer, product_id)
     where product_id >= 1000 and (n is null or title is distinct from case consumer when 'holdings' then 'generation 1'
                                                                                     else 'generation 2' end)";

/// 1. Two writers of each partition step as consumers do, as fast as they can.
/// 2. Fifty times the other generation is brought to the live one's positions and becomes the live one.
/// 3. No step failed, and each generation has exactly the rows of its positions.
#[tokio::test(flavor = "multi_thread")]
async fn writers_write_to_the_generation_whose_checkpoint_they_hold() {
    let world = World::with_two_holdings().await;
    let (stop, mut writing) = (CancellationToken::new(), JoinSet::new());
    for writer in 0..2 * PARTITIONS {
        writing.spawn(write_on(
            world.pool.clone(),
            writer % PARTITIONS,
            stop.clone(),
        ));
    }
    for n in 0..SWITCHES {
        let to = 2 - n % 2;
        world.switch_with(to, &mut Writes(to)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let steps: u64 = end_of(writing, &stop).await.iter().sum();
    println!("{steps} steps");
    assert!(steps > 500, "only {steps} steps: nothing was proved");
    assert_eq!(world.says(WRONG).await, [""; 0]);
    let places = world.places().await;
    assert!(
        places.contains(&"1 LIVE".to_owned()) && places.contains(&"2 PREVIOUS".to_owned()),
        "{places:?}"
    );
}

/// 1. A reader keeps its transaction, and so a table, while others read.
/// 2. A switch gives up in time; until then none of the others waited for longer than one attempt.
/// 3. The reader ends, and a switch is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_gives_way_to_a_long_reader() {
    let world = World::with_two_holdings().await;
    let before = world.places().await;
    let (readers, stop, mut reading) = (
        world.readers(READERS),
        CancellationToken::new(),
        JoinSet::new(),
    );
    let mut long = world.pool.begin().await.unwrap();
    long.execute("select from holdings_product").await.unwrap();
    for _ in 1..READERS {
        reading.spawn(read_on(
            readers.clone(),
            (PAGE, Duration::ZERO),
            stop.clone(),
        ));
    }
    let switched = world.switch(2).await;
    let longest = end_of(reading, &stop)
        .await
        .into_iter()
        .map(|(longest, _)| longest)
        .max()
        .unwrap();
    let Err(SwitchError::Busy { blocked: held, .. }) = switched else {
        panic!("{switched:?}")
    };
    println!("readers held {held:?} in all, the longest read {longest:?}");
    assert!(held < Duration::from_secs(1), "{held:?}");
    assert!(longest < Duration::from_millis(700), "{longest:?}");
    assert_eq!(world.places().await, before);
    long.rollback().await.unwrap();
    world.switch(2).await.unwrap();
}

/// 1. A vacuum has the lock that it needs for a second, as an autovacuum has before it is cancelled.
/// 2. The switch waits for it without its checkpoints or tables, so that nobody waits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_blocked_while_a_switch_waits_for_a_vacuum() {
    let world = World::with_two_holdings().await;
    let mut vacuum = world.pool.begin().await.unwrap();
    vacuum
        .execute("lock table holdings in share update exclusive mode")
        .await
        .unwrap();
    let (readers, stop, mut at_it) = (
        world.readers(READERS),
        CancellationToken::new(),
        JoinSet::new(),
    );
    at_it.spawn(read_on(readers, (PAGE, Duration::ZERO), stop.clone()));
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let longest = end_of(at_it, &stop).await[0].0;
        vacuum.rollback().await.unwrap();
        longest
    };
    let (switched, longest) = tokio::join!(world.switch(2), ends);
    assert!(switched.unwrap().blocked < Duration::from_millis(500));
    assert!(longest < Duration::from_millis(700), "{longest:?}");
}
