//! What seals cost once there are many: those of a log that is never quiet, where most cover an event or two.

use crate::history::connect;
use crate::verify::empty;
use anyhow::Context;
use audit::proof::seal_store;
use audit::proof::sealer::{Sealer, Sealing};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use event_log::Log;
use proof::key::{self, SigningKey};
use proof::seal::{HASH_PREFIX_BYTES, Statement};
use proof::seal_chain::{SealChain, ValidSeals};
use proof::seals_file;
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::time::Instant;

pub(crate) async fn run(seals: i64, database_url: &str) -> anyhow::Result<()> {
    let pool = connect(database_url, 4).await?;
    let partitions = Log::partitions_of(&pool)
        .await?
        .context("there is no log: fill one with bench history")?;
    let log = Log::open(pool.clone(), partitions).await?;
    let key = key::generate_key()?;
    let folder = std::env::temp_dir().join(format!("moa-bench-seals-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let measured = measure(&log, &pool, &key, &folder, seals).await;
    std::fs::remove_dir_all(&folder)?;
    empty(&pool).await?;
    measured
}

async fn measure(
    log: &Log,
    pool: &Pool,
    key: &SigningKey,
    folder: &Path,
    seals: i64,
) -> anyhow::Result<()> {
    fill(log, pool, key, seals).await?;
    let path = folder.join("seals.ndjson");
    let sealing = Sealing {
        key: key.clone(),
        earlier: Vec::new(),
        file: Some(path.clone()),
    };
    for start in [
        "with no file",
        "with its resume marker",
        "without its resume marker",
    ] {
        if start == "without its resume marker" {
            std::fs::remove_file(folder.join("seals.ndjson.resume marker"))?;
        }
        let began = Instant::now();
        Sealer::begin(log, pool, &sealing).await?;
        println!(
            "{seals} seals: a sealer {start} begins in {:.2} s",
            began.elapsed().as_secs_f64()
        );
    }
    println!(
        "  its file has {} bytes a seal",
        std::fs::metadata(&path)?.len() / seals.unsigned_abs()
    );
    let began = Instant::now();
    let sealed = ValidSeals::read(
        seals_file::read(&path)?,
        &[key.verifying_key()],
        Some(*log.identity()),
    );
    let believed = sealed.map_or(0, |sealed| sealed.seals().len());
    println!(
        "  {believed} of them read from it and believed in {:.2} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Seals of one event each, of the partitions in turn. The events need not be there: a start does not read them.
async fn fill(log: &Log, pool: &Pool, key: &SigningKey, seals: i64) -> anyhow::Result<()> {
    empty(pool).await?;
    let (mut chain, identity) = (
        SealChain::new(*log.identity(), &[key.verifying_key()]),
        log.identity(),
    );
    let mut transaction = pool.begin().await?;
    for seal in 1..=seals {
        let partition = i32::try_from(seal % i64::from(identity.partitions))?;
        let position = chain.sealed_to(partition).context("a partition")?.position + 1;
        let (head, hash_prefixes) = ([1; 32], vec![1; HASH_PREFIX_BYTES]);
        let statement = Statement {
            log: identity.log_id,
            partitions: identity.partitions,
            seal,
            partition,
            first: position,
            last: position,
            head,
            root: head,
            hash_prefixes_digest: Sha256::digest(&hash_prefixes).into(),
            at: DateTime::<Utc>::UNIX_EPOCH,
            previous: chain.digest(),
            loss: None,
        };
        let seal = statement.seal(hash_prefixes, key);
        chain.append(&seal).map_err(anyhow::Error::msg)?;
        seal_store::insert(&mut transaction, &seal).await?;
    }
    transaction.commit().await?;
    Ok(())
}
