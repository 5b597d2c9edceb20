//! The start of a sealer: it checks the seals of the database from the first, or from its resume marker, to the last, compares
//! the file with them, and appends to the file what it lacks.

use super::super::seal_store::{self, SEALS_PER_PAGE};
use super::resume_marker::ResumeMarker;
use super::{SealError, Sealer, Sealing, invalid_seal};
use connection_pool::Pool;
use ed25519_dalek::VerifyingKey;
use event_log::Log;
use proof::seal::{Seal, SealParseError};
use proof::seal_chain::SealChain;
use proof::seals_file::{Lines, SealsFile};
use std::io;
use std::path::PathBuf;

/// A resume marker at every so many seals. As it is written one late, a start compares twice as many at most, in a second or less,
/// and those added since.
const SEALS_PER_MARKER: i64 = 1_000;

impl Sealer {
    /// A sealer that has compared every seal; those before its resume marker, when they were added.
    pub async fn begin(log: &Log, pool: &Pool, sealing: &Sealing) -> Result<Self, SealError> {
        Self::begin_with_markers_every(log, pool, sealing, SEALS_PER_MARKER).await
    }

    /// The same with a resume marker at every so many seals, at least one: for tests of what few seals show.
    #[doc(hidden)]
    pub async fn begin_with_markers_every(
        log: &Log,
        pool: &Pool,
        sealing: &Sealing,
        every: i64,
    ) -> Result<Self, SealError> {
        let keys: Vec<VerifyingKey> = std::iter::once(sealing.key.verifying_key())
            .chain(sealing.earlier.iter().copied())
            .collect();
        let chain = SealChain::new(*log.identity(), &keys);
        let (file, lines, chain) = match &sealing.file {
            Some(path) => {
                let file = with_file(path.clone(), |path| SealsFile::open(path)).await?;
                let (lines, chain) = resume_point(&file, pool, chain, keys).await?;
                (Some(file), Some(lines), chain)
            }
            None => (None, None, chain),
        };
        let (log, pool, key) = (log.clone(), pool.clone(), sealing.key.clone());
        let seals_per_marker = every.max(1);
        let mut sealer = Self {
            log,
            pool,
            key,
            chain,
            file,
            lease: None,
            seals_per_marker,
            resume_marker: None,
        };
        sealer.compare_all(lines).await?;
        Ok(sealer)
    }

    /// Checks the seals of the database to the last, and compares the lines of the file with them.
    async fn compare_all(&mut self, mut lines: Option<Lines>) -> Result<(), SealError> {
        loop {
            let known = self.chain.seals();
            // A seal that gets a marker is the last of its page.
            let most = SEALS_PER_PAGE.min(self.seals_per_marker - known % self.seals_per_marker);
            let page = seal_store::seals_from(
                &self.pool,
                if known == 0 { i64::MIN } else { known + 1 },
                most,
            )
            .await?;
            let more = page.len() as i64 == most;
            let (there, read);
            // One more where the database ends: the file must end there as well.
            (there, lines) = read_lines(lines, page.len() + usize::from(!more)).await?;
            read = there.len();
            let lost = self.compare_page(page, there).await?;
            if !lost.is_empty() {
                return self.accept_loss(lost, lines).await;
            }
            if !more {
                return Ok(());
            }
            let begins = match &lines {
                Some(lines) if read as i64 == most => lines.last_began(),
                // What the file lacked was just added to it.
                _ => self.file.as_ref().map_or(0, SealsFile::last_began),
            };
            self.write_marker(begins).await;
        }
    }

    /// Checks some seals, and compares them with the next lines of the file. The lines that the database has no seals for.
    async fn compare_page(
        &mut self,
        page: Vec<Result<Seal, SealParseError>>,
        lines: Vec<Result<Seal, SealParseError>>,
    ) -> Result<Vec<Result<Seal, SealParseError>>, SealError> {
        let (mut missing, mut lines) = (Vec::new(), lines.into_iter());
        for (number, seal) in (self.chain.seals() + 1..).zip(page) {
            let seal = seal.map_err(|error| invalid_seal(number, error))?;
            self.chain
                .append(&seal)
                .map_err(|why| invalid_seal(number, why))?;
            match lines.next() {
                Some(Ok(line)) if line == seal => {}
                Some(_) => {
                    return Err(SealError::Conflict(format!(
                        "seal {number} in the file is not the database's: one of them was changed"
                    )));
                }
                None => missing.push(seal),
            }
        }
        self.write(missing).await?;
        Ok(lines.collect())
    }
}

/// The lines of the file that are still to be compared, and the chain before them.
async fn resume_point(
    file: &SealsFile,
    pool: &Pool,
    chain: SealChain,
    keys: Vec<VerifyingKey>,
) -> Result<(Lines, SealChain), SealError> {
    let partitions = chain.identity().partitions;
    let path = file.path().to_owned();
    let found = with_file(path.clone(), move |path| {
        let Some(marker) = ResumeMarker::read(path, partitions, &keys) else {
            return Ok(None);
        };
        let mut lines = Lines::open(path, marker.begins)?;
        let line = lines.read(1)?.pop();
        Ok(line
            .and_then(Result::ok)
            .filter(|line| marker.names(line))
            .map(|line| (marker, line, lines)))
    });
    if let Some((marker, line, lines)) = found.await? {
        let stored = seal_store::seals_from(pool, marker.seal(), 1).await?.pop();
        if stored
            .and_then(Result::ok)
            .is_some_and(|stored| stored == line)
        {
            return Ok((lines, marker.resume(chain)));
        }
    }
    Ok((with_file(path, |path| Lines::open(path, 0)).await?, chain))
}

/// Up to `most` of the lines, off the threads that others wait for.
pub(super) async fn read_lines(
    lines: Option<Lines>,
    most: usize,
) -> Result<(Vec<Result<Seal, SealParseError>>, Option<Lines>), SealError> {
    let Some(mut lines) = lines else {
        return Ok((Vec::new(), None));
    };
    let read =
        tokio::task::spawn_blocking(move || lines.read(most).map(|read| (read, Some(lines)))).await;
    read.map_err(io::Error::other)
        .and_then(|read| read)
        .map_err(|error| SealError::Unavailable(format!("the file of seals: {error}")))
}

async fn with_file<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&PathBuf) -> io::Result<T> + Send + 'static,
) -> Result<T, SealError> {
    let context = format!("the file of seals {}", path.display());
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    done.map_err(io::Error::other)
        .and_then(|done| done)
        .map_err(|error| SealError::Unavailable(format!("{context}: {error}")))
}
