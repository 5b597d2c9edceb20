//! A file in blocks of whole lines.

use std::io::{self, Read};

/// Bytes of a block, unless one line is longer.
const BLOCK_BYTES: usize = 1 << 20;
/// The longest line, in bytes. Moa writes none of over some kilobytes.
pub(super) const MAX_LINE_BYTES: usize = 16 << 20;

/// Reads blocks.
pub(super) struct Blocks<R> {
    file: R,
    /// What follows the last line feed that was read.
    left: Vec<u8>,
}

impl<R: Read> Blocks<R> {
    pub(super) fn of(file: R) -> Self {
        Self {
            file,
            left: Vec::new(),
        }
    }

    /// The next lines, each with its line feed, the file's last maybe without; `None` at the end. An error when a line is
    /// too long.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut block = std::mem::take(&mut self.left);
        loop {
            let (from, wanted) = (
                block.len(),
                BLOCK_BYTES.saturating_sub(block.len()).max(BLOCK_BYTES / 2),
            );
            block.reserve(wanted);
            let read = (&mut self.file)
                .take(wanted as u64)
                .read_to_end(&mut block)?;
            if read == 0 {
                return Ok((!block.is_empty()).then_some(block));
            }
            if let Some(end) = block[from..].iter().rposition(|byte| *byte == b'\n') {
                self.left = block.split_off(from + end + 1);
                return Ok(Some(block));
            }
            if block.len() > MAX_LINE_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it has a line longer than any export's",
                ));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_lines_and_all_of_the_file() {
        let line = |length: usize| [vec![b'x'; length], vec![b'\n']].concat();
        let lengths = [
            0,
            1,
            BLOCK_BYTES - 1,
            BLOCK_BYTES,
            3 * BLOCK_BYTES,
            5,
            0,
            BLOCK_BYTES / 3,
            BLOCK_BYTES / 3,
            BLOCK_BYTES / 3,
            7,
        ];
        let mut file: Vec<u8> = lengths.into_iter().flat_map(line).collect();
        file.extend_from_slice(b"no end");
        let (mut blocks, mut read) = (Blocks::of(file.as_slice()), Vec::new());
        while let Some(block) = blocks.next().unwrap() {
            read.extend_from_slice(&block);
            assert!(block.ends_with(b"\n") || read.len() == file.len());
        }
        assert!(read == file, "{} of {} bytes", read.len(), file.len());
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let read = Blocks::of(io::repeat(b'x')).next();
        assert_eq!(
            read.unwrap_err().to_string(),
            "it has a line longer than any export's"
        );
    }
}
