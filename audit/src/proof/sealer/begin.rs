//! How a sealer begins: the seals of the database are followed from the first on, or from its bookmark, to the last, and the
//! file is compared with them and filled up.

use super::super::file::{Lines, SealsFile};
use super::super::seal::{NoSeal, Seal};
use super::super::store::{self, PAGE};
use super::super::trust::SealChain;
use super::bookmark::Bookmark;
use super::{Sealer, Sealing, Trouble, bad};
use connection_pool::Pool;
use ed25519_dalek::VerifyingKey;
use event_log::Log;
use std::io;
use std::path::PathBuf;

/// A bookmark at every so many seals. As it is written one late, a start compares twice as many at most, in a second or less,
/// and those that were added since.
const MARK_EVERY: i64 = 1_000;

impl Sealer {
    /// A sealer that has followed every seal there is: those before its bookmark, when they were added.
    pub async fn begin(log: &Log, pool: &Pool, sealing: &Sealing) -> Result<Self, Trouble> {
        Self::begin_marking(log, pool, sealing, MARK_EVERY).await
    }

    /// The same with a bookmark at every so many seals, at least one: for tests of what few seals show.
    #[doc(hidden)]
    pub async fn begin_marking(log: &Log, pool: &Pool, sealing: &Sealing, every: i64) -> Result<Self, Trouble> {
        let keys: Vec<VerifyingKey> =
            std::iter::once(sealing.key.verifying_key()).chain(sealing.earlier.iter().copied()).collect();
        let chain = SealChain::new(*log.identity(), &keys);
        let (file, lines, chain) = match &sealing.file {
            Some(path) => {
                let file = with_file(path.clone(), |path| SealsFile::open(path)).await?;
                let (lines, chain) = where_to_begin(&file, pool, chain, keys).await?;
                (Some(file), Some(lines), chain)
            }
            None => (None, None, chain),
        };
        let (log, pool, key) = (log.clone(), pool.clone(), sealing.key.clone());
        let mark_every = every.max(1);
        let mut sealer = Self { log, pool, key, chain, file, lease: None, mark_every, bookmark: None };
        sealer.follow_all(lines).await?;
        Ok(sealer)
    }

    /// Follows the seals of the database to the last, and compares the lines of the file with them.
    async fn follow_all(&mut self, mut lines: Option<Lines>) -> Result<(), Trouble> {
        loop {
            let known = self.chain.seals();
            // Every one that is to be marked is the last of its page.
            let most = PAGE.min(self.mark_every - known % self.mark_every);
            let page = store::seals_from(&self.pool, if known == 0 { i64::MIN } else { known + 1 }, most).await?;
            let more = page.len() as i64 == most;
            let (there, read);
            // One more where the database ends: the file must end there as well.
            (there, lines) = read_lines(lines, page.len() + usize::from(!more)).await?;
            read = there.len();
            self.follow_page(page, there).await?;
            if !more {
                return Ok(());
            }
            let begins = match &lines {
                Some(lines) if read as i64 == most => lines.last_began(),
                // What the file lacked was just added to it.
                _ => self.file.as_ref().map_or(0, SealsFile::last_began),
            };
            self.mark(begins).await;
        }
    }

    /// Follows some seals, and compares them with the next lines of the file.
    async fn follow_page(
        &mut self,
        page: Vec<Result<Seal, NoSeal>>,
        lines: Vec<Result<Seal, NoSeal>>,
    ) -> Result<(), Trouble> {
        let (mut missing, mut lines) = (Vec::new(), lines.into_iter());
        for (number, seal) in (self.chain.seals() + 1..).zip(page) {
            let seal = seal.map_err(|error| bad(number, error))?;
            self.chain.follow(&seal).map_err(|why| bad(number, why))?;
            match lines.next() {
                Some(Ok(line)) if line == seal => {}
                Some(_) => {
                    return Err(Trouble::Refused(format!(
                        "seal {number} in the file is not the database's: one of them was changed"
                    )));
                }
                None => missing.push(seal),
            }
        }
        if lines.next().is_some() {
            let last = self.chain.seals();
            return Err(Trouble::Refused(format!(
                "the file has seal {}, and the database ends at seal {last}: the database was set back",
                last + 1
            )));
        }
        self.write(missing).await
    }
}

/// The lines of the file that are still to be compared, and the chain before them.
async fn where_to_begin(
    file: &SealsFile,
    pool: &Pool,
    chain: SealChain,
    keys: Vec<VerifyingKey>,
) -> Result<(Lines, SealChain), Trouble> {
    let partitions = chain.identity().partitions;
    let path = file.path().to_owned();
    let marked = with_file(path.clone(), move |path| {
        let Some(bookmark) = Bookmark::read(path, partitions, &keys) else { return Ok(None) };
        let mut lines = Lines::open(path, bookmark.begins)?;
        let line = lines.read(1)?.pop();
        Ok(line.and_then(Result::ok).filter(|line| bookmark.names(line)).map(|line| (bookmark, line, lines)))
    });
    if let Some((bookmark, line, lines)) = marked.await? {
        let stored = store::seals_from(pool, bookmark.seal(), 1).await?.pop();
        if stored.and_then(Result::ok).is_some_and(|stored| stored == line) {
            return Ok((lines, bookmark.resume(chain)));
        }
    }
    Ok((with_file(path, |path| Lines::open(path, 0)).await?, chain))
}

/// Up to `most` of the lines, off the threads that others wait for.
async fn read_lines(lines: Option<Lines>, most: usize) -> Result<(Vec<Result<Seal, NoSeal>>, Option<Lines>), Trouble> {
    let Some(mut lines) = lines else { return Ok((Vec::new(), None)) };
    let read = tokio::task::spawn_blocking(move || lines.read(most).map(|read| (read, Some(lines)))).await;
    read.map_err(io::Error::other)
        .and_then(|read| read)
        .map_err(|error| Trouble::Away(format!("the file of seals: {error}")))
}

async fn with_file<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&PathBuf) -> io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    let away = format!("the file of seals {}", path.display());
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    done.map_err(io::Error::other).and_then(|done| done).map_err(|error| Trouble::Away(format!("{away}: {error}")))
}
