//! What the lines of a file say together: each row is given to its partition, and what is no row finds its place.

use super::super::format::{End, Format, Header};
use super::super::parsed_block::ParsedLine;
use super::ExportError;
use crate::chain_check::Checker;
use crate::report::{BadPosition, PartitionReport, Problem, Report, Verdict};
use crate::seal_chain::ValidSeals;
use log_format::Partition;
use std::path::Path;

/// The check of a file, line by line.
pub(super) struct FileCheck {
    partitions: Vec<Checker>,
    /// The line that comes next; the first is 1.
    line: u64,
    /// Of the last row.
    partition: usize,
    /// ParsedBlock since the last row that cannot be read: the first, and how many.
    unreadable: Option<(u64, u64)>,
    /// The first row of a partition that the log does not have.
    stray: Option<PartitionReport>,
    format: Format,
    end: Option<End>,
    after_end: bool,
}

impl FileCheck {
    pub(super) fn of(sealed: &ValidSeals, format: Format) -> Self {
        let partitions: Vec<Partition> = (0..sealed.identity().partitions).collect();
        let partitions = partitions
            .into_iter()
            .map(|partition| Checker::new(sealed, partition))
            .collect();
        Self {
            partitions,
            line: 2,
            partition: 0,
            unreadable: None,
            stray: None,
            format,
            end: None,
            after_end: false,
        }
    }

    pub(super) fn line(&mut self, line: ParsedLine<'_>) {
        self.after_end |= self.end.is_some();
        match line {
            ParsedLine::Hashed(row, hash) => {
                if let Some(checker) = self.checker(row.partition, row.position) {
                    checker.hashed(&row, &hash);
                }
            }
            ParsedLine::Row(row) => {
                if let Some(checker) = self.checker(row.partition, row.position) {
                    checker.row(&row);
                }
            }
            ParsedLine::Other(line) => match self.format.read_end(line) {
                Some(end) => self.end = Some(end),
                None => self.cannot_read(),
            },
        }
        self.line += 1;
    }

    /// Who checks the row that comes now; nobody does where the log has no such partition.
    fn checker(&mut self, stated: Partition, position: i64) -> Option<&mut Checker> {
        let known = usize::try_from(stated)
            .ok()
            .filter(|partition| *partition < self.partitions.len());
        let Some(partition) = known else {
            self.stray
                .get_or_insert_with(|| stray(stated, position))
                .events += 1;
            return None;
        };
        // In the middle of a partition, what cannot be read is of it; before its first row, of the one before.
        let theirs = if position == 1 {
            self.partition
        } else {
            partition
        };
        self.place_unreadable(theirs);
        self.partition = partition;
        self.partitions.get_mut(partition)
    }

    fn cannot_read(&mut self) {
        let (first, lines) = self.unreadable.unwrap_or((self.line, 0));
        self.unreadable = Some((first, lines + 1));
    }

    fn place_unreadable(&mut self, partition: usize) {
        let Some((first, lines)) = self.unreadable.take() else {
            return;
        };
        let Some(checker) = self.partitions.get_mut(partition) else {
            return;
        };
        for line in first..first + lines {
            checker.unreadable(format!("line {line} of the file cannot be read"));
        }
    }

    pub(super) fn finish(
        mut self,
        path: &Path,
        sealed: &ValidSeals,
        header: Option<Header>,
    ) -> Result<Report, ExportError> {
        self.place_unreadable(self.partition);
        let mut found: Vec<_> = self.partitions.into_iter().map(Checker::finish).collect();
        let heads = header.as_ref().map(Header::heads).unwrap_or_default();
        found
            .iter_mut()
            .zip(heads)
            .for_each(|(found, head)| reaches(found, *head));
        found.extend(self.stray);
        let report = Report::of(sealed, found);
        let (Some(header), Verdict::Whole) = (header, report.verdict) else {
            return Ok(report);
        };
        let miscounted = |why: String| Err(ExportError::Miscounted(path.to_owned(), why));
        match self.end {
            None => Err(ExportError::CutOff(path.to_owned())),
            Some(_) if self.after_end => miscounted("something follows its last line".into()),
            Some(end) if end.events != report.events => miscounted(format!(
                "its last line says {} events, there are {}",
                end.events, report.events
            )),
            Some(_) => match report
                .partitions
                .iter()
                .zip(header.heads())
                .find(|(found, head)| found.head != **head)
            {
                Some((found, head)) => miscounted(format!(
                    "its header ends partition {} at {head}, it goes on",
                    found.partition
                )),
                None => Ok(report),
            },
        }
    }
}

/// Of a row in a partition that the log does not have; it is not counted yet.
fn stray(partition: Partition, position: i64) -> PartitionReport {
    let detail = "the log has no such partition".into();
    let bad = Some(BadPosition {
        position,
        problem: Problem::Partition,
        detail,
        seal: None,
    });
    PartitionReport {
        partition,
        events: 0,
        head: position,
        sealed_upto: 0,
        unsealed: None,
        bad,
    }
}

/// Finds that a partition ends before the file's header says.
fn reaches(found: &mut PartitionReport, head: i64) {
    if found.bad.is_none() && found.head < head {
        let detail = format!(
            "the partition ends here, but the file's header says that it goes up to position {head}"
        );
        found.bad = Some(BadPosition {
            position: found.head + 1,
            problem: Problem::CutOff,
            detail,
            seal: None,
        });
    }
}
