//! The files of seals outside the database, of events and of acts: one line per seal, append-only.

use crate::act_seal::ActSeal;
use crate::seal::{Seal, SealParseError};
use crate::seal_chain::read_lines;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are read at once when the last line's beginning is looked for.
const READ_BLOCK_BYTES: u64 = 4 * 1_024;
/// Bytes of a line at most; a seal of a full segment has some 45,000.
const MAX_LINE_BYTES: u64 = 64 * 1_024;

/// A file of seals, open for appending. It is locked: nobody else appends to it.
#[derive(Debug)]
pub struct SealsFile {
    path: PathBuf,
    file: File,
    /// Where the last whole line ends.
    length: u64,
    /// Where the last line that was added begins.
    last: u64,
}

impl SealsFile {
    /// Opens `path`, making the file when it is not there; its folder must be. A last line that was not written to its end
    /// is taken away: what it was to say is in the database. [`io::ErrorKind::WouldBlock`] when another has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "another sealer adds to it: give each a file of its own",
            ),
            TryLockError::Error(error) => error,
        })?;
        let (whole, length) = (end_of_lines(&mut file)?, file.metadata()?.len());
        if whole < length {
            tracing::warn!(
                "the last line of {} was not written to its end; it is taken away",
                path.display()
            );
            file.set_len(whole)?;
            file.sync_data()?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            length: whole,
            last: whole,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the last line that was added begins; where the file ended, when none was.
    pub fn last_began(&self) -> u64 {
        self.last
    }

    /// Adds `seals`, a line each, and waits until they are on the disk. After an error nothing of the line that failed
    /// counts: the next call takes it away.
    pub fn append(&mut self, seals: &[Seal]) -> io::Result<()> {
        self.append_lines(seals.iter().map(Seal::line).collect())
    }

    /// The same of seals of acts.
    pub fn append_acts(&mut self, seals: &[ActSeal]) -> io::Result<()> {
        self.append_lines(seals.iter().map(ActSeal::line).collect())
    }

    fn append_lines(&mut self, lines: Vec<String>) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.check_not_replaced()?;
        if self.file.metadata()?.len() != self.length {
            self.file.set_len(self.length)?;
        }
        for line in lines {
            let line = format!("{line}\n");
            self.file.write_all(line.as_bytes())?;
            self.last = self.length;
            self.length += line.len() as u64;
        }
        self.file.sync_data()
    }

    fn check_not_replaced(&self) -> io::Result<()> {
        let (here, there) = (self.file.metadata()?, fs::metadata(&self.path)?);
        if (here.dev(), here.ino()) == (there.dev(), there.ino()) && here.len() >= self.length {
            return Ok(());
        }
        Err(io::Error::other(
            "it was cut or replaced while it was written to",
        ))
    }
}

/// The lines that a file of seals has when it is opened, as many at a time as are asked for.
#[derive(Debug)]
pub struct Lines {
    left: io::Take<BufReader<File>>,
    /// Where the next line begins, and where the last one did.
    next: u64,
    last: u64,
}

impl Lines {
    /// Those of the file at `path` from the one that begins at byte `from` on.
    pub fn open(path: &Path, from: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from))?;
        Ok(Self {
            left: BufReader::new(file).take(length.saturating_sub(from)),
            next: from,
            last: from,
        })
    }

    /// Up to `most` of the next lines; fewer when there are no more.
    pub fn read(&mut self, most: usize) -> io::Result<Vec<Result<Seal, SealParseError>>> {
        std::iter::from_fn(|| self.next().transpose())
            .take(most)
            .collect()
    }

    fn next(&mut self) -> io::Result<Option<Result<Seal, SealParseError>>> {
        loop {
            let mut line = Vec::new();
            let length = (&mut self.left)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)? as u64;
            if length == 0 {
                return Ok(None);
            }
            (self.last, self.next) = (self.next, self.next + length);
            let text = String::from_utf8_lossy(&line);
            if !text.trim().is_empty() {
                return Ok(Some(Seal::read(text.trim_end())));
            }
        }
    }

    /// Where the line that was read last begins.
    pub fn last_began(&self) -> u64 {
        self.last
    }
}

/// The seals in the file at `path`, which may be copied while somebody adds to it: a last line without its end is not there
/// yet. A line that is no text is no seal either.
pub fn read(path: &Path) -> io::Result<Vec<Result<Seal, SealParseError>>> {
    Ok(read_lines(&whole_lines(path)?).collect())
}

/// The same of a file of seals of acts.
pub fn read_acts(path: &Path) -> io::Result<Vec<Result<ActSeal, SealParseError>>> {
    Ok(whole_lines(path)?
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(ActSeal::read)
        .collect())
}

/// The file of seals of acts beside the file of seals at `seals`.
pub fn acts_path(seals: &Path) -> PathBuf {
    let mut name = seals.as_os_str().to_owned();
    name.push(".acts");
    name.into()
}

fn whole_lines(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
}

/// Where the last whole line ends; 0 when there is none.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(READ_BLOCK_BYTES);
        block.clear();
        file.seek(SeekFrom::Start(begin))?;
        (&mut *file).take(end - begin).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}
