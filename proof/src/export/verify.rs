//! Checking an export with nothing but seals and public keys.

mod check;

use super::blocks::Blocks;
use super::format::{COLUMNS, Format, Header};
use super::parsed_block::ParsedBlock;
use crate::report::Report;
use crate::seal::{Seal, SealParseError};
use crate::seal_chain::ValidSeals;
use check::FileCheck;
use ed25519_dalek::VerifyingKey;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, available_parallelism};

/// How many threads read lines and hash at most.
const MAX_WORKERS: usize = 8;
/// Blocks that wait for a worker, or were read by it and wait.
const BLOCKS_AHEAD: usize = 1;

/// Why an export cannot be checked, or is not the whole file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It does not begin as an export does.
    #[error(
        "{0} is no export of a log: it begins neither with a header of format moa-export-1 nor with the columns' names"
    )]
    NotAnExport(PathBuf),
    /// A filter left events out.
    #[error(
        "{0} is not a whole log but what a filter left of it, which cannot be verified: export without filters"
    )]
    Filtered(PathBuf),
    /// A CSV does not say which log it is of.
    #[error(
        "{0} is a CSV, which does not say which log it is of: give the log's seals, or export as NDJSON"
    )]
    NeedsSeals(PathBuf),
    /// The seals do not belong to it.
    #[error("{0} is of another log than the seals")]
    OtherLog(PathBuf),
    /// Its events are good as far as they go, but it has no end.
    #[error("{0} was cut off: its last line is missing; get all of the file, or export again")]
    CutOff(PathBuf),
    /// Its events are good, but they are not those that it says it has.
    #[error("{0} has other lines than it says: {1}; get the file again, or export again")]
    Miscounted(PathBuf, String),
}

/// Checks the export in `path`: its chain, and against `seals`, believed where one of `keys` signed. Memory stays the same
/// however long the file is.
pub fn verify(
    path: &Path,
    seals: impl IntoIterator<Item = Result<Seal, SealParseError>>,
    keys: &[VerifyingKey],
) -> Result<Report, ExportError> {
    let opened = Opened::open(path)?;
    let sealed = ValidSeals::read(seals, keys, opened.header.as_ref().map(Header::identity));
    opened.verify(&sealed.ok_or_else(|| ExportError::NeedsSeals(path.to_owned()))?)
}

/// The same, against seals that were read before. [`ExportError::OtherLog`] when they are of another log.
pub fn verify_against(path: &Path, sealed: &ValidSeals) -> Result<Report, ExportError> {
    let opened = Opened::open(path)?;
    if opened
        .header
        .as_ref()
        .is_some_and(|header| header.identity() != sealed.identity())
    {
        return Err(ExportError::OtherLog(path.to_owned()));
    }
    opened.verify(sealed)
}

/// An export whose beginning was read.
struct Opened<'a> {
    path: &'a Path,
    format: Format,
    header: Option<Header>,
    /// What was read of the file beyond the first line.
    first: Vec<u8>,
    blocks: Blocks<File>,
}

impl<'a> Opened<'a> {
    fn open(path: &'a Path) -> Result<Self, ExportError> {
        let mut blocks = Blocks::of(File::open(path).map_err(unreadable(path))?);
        let mut line = blocks.next().map_err(unreadable(path))?.unwrap_or_default();
        let first = line.split_off(
            line.iter()
                .position(|byte| *byte == b'\n')
                .map_or(line.len(), |end| end + 1),
        );
        let (format, header) =
            beginning(&line).ok_or_else(|| ExportError::NotAnExport(path.to_owned()))?;
        if header.as_ref().is_some_and(Header::is_filtered) {
            return Err(ExportError::Filtered(path.to_owned()));
        }
        Ok(Self {
            path,
            format,
            header,
            first,
            blocks,
        })
    }

    fn verify(self, sealed: &ValidSeals) -> Result<Report, ExportError> {
        let mut check = FileCheck::of(sealed, self.format);
        let read = run(self.first, self.blocks, self.format, |lines| {
            lines.each(|line| check.line(line))
        });
        read.map_err(unreadable(self.path))?;
        check.finish(self.path, sealed, self.header)
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    |source| ExportError::File {
        path: path.to_owned(),
        source,
    }
}

/// The form of an export that begins with this line, and its header where that has one.
fn beginning(line: &[u8]) -> Option<(Format, Option<Header>)> {
    let line = line.strip_suffix(b"\n")?;
    if line == format!("{}\r", COLUMNS.join(",")).as_bytes() {
        return Some((Format::Csv, None));
    }
    Header::read(line).map(|header| (Format::Ndjson, Some(header)))
}

/// Has blocks read on every core, and takes what they say in order.
fn run(
    first: Vec<u8>,
    mut blocks: Blocks<File>,
    format: Format,
    mut take: impl FnMut(ParsedBlock),
) -> io::Result<()> {
    thread::scope(|scope| {
        let workers = available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_WORKERS);
        let (hands, read): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let ((hand, block), (done, read)) =
                    (sync_channel(BLOCKS_AHEAD), sync_channel(BLOCKS_AHEAD));
                scope.spawn(move || parse_blocks(block, format, done));
                (hand, read)
            })
            .unzip();
        let reading = scope.spawn(move || distribute(first, &mut blocks, hands));
        // Each worker in its turn, as they were dealt out; the first that has none ends it.
        for next in read.iter().cycle() {
            let Ok(lines) = next.recv() else { break };
            take(lines);
        }
        reading
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the file was not read to its end")))
    })
}

fn distribute(
    first: Vec<u8>,
    blocks: &mut Blocks<File>,
    hands: Vec<SyncSender<Vec<u8>>>,
) -> io::Result<()> {
    let mut block = Some(first);
    for hand in hands.iter().cycle() {
        let Some(lines) = block else { break };
        if hand.send(lines).is_err() {
            break;
        }
        block = blocks.next()?;
    }
    Ok(())
}

fn parse_blocks(blocks: Receiver<Vec<u8>>, format: Format, done: SyncSender<ParsedBlock>) {
    for block in blocks {
        if done.send(ParsedBlock::read(block, format)).is_err() {
            return;
        }
    }
}
