//! The queue of log lines: bounded, with one thread that writes to standard error. Logging never waits for the reader of standard
//! error, never fails when it is gone, and never panics.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// Lines that wait to be written, in bytes: 10,000 or so. What comes beyond it is dropped and counted.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// What a waiting line costs beyond its text.
const LINE_OVERHEAD_BYTES: usize = 64;
/// The pause before a standard error that takes nothing now, because it does not block, is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// The sender's end of the queue; clones share it.
#[derive(Clone, Debug)]
pub(super) struct LogQueue {
    sender: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before it is written when this is answered.
    Flush(Sender<()>),
}

#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    /// Lines that were dropped and not yet reported.
    dropped: AtomicU64,
}

impl LogQueue {
    /// A queue whose lines a thread of its own writes to `out`, for as long as the process lives. After lines were
    /// dropped, `log_dropped` is called with their number as soon as `out` takes a line again.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        log_dropped: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let queue = Self {
            sender,
            shared: shared.clone(),
        };
        let write = move || write_on(&receiver, &shared, out, log_dropped);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(write)?;
        Ok(queue)
    }

    /// Adds a line, which ends with a line feed; drops it when there is no room.
    pub(super) fn push(&self, line: &[u8]) {
        let cost = line.len() + LINE_OVERHEAD_BYTES;
        let queued = self.shared.queued_bytes.fetch_add(cost, Ordering::Relaxed);
        let fits = queued + cost <= MAX_QUEUED_BYTES;
        if !fits || self.sender.send(Message::Line(line.to_vec())).is_err() {
            self.shared.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
            self.shared.drop_one();
        }
    }

    /// Waits until what was added is written, for `bound` at most.
    pub(super) fn flush(&self, bound: Duration) {
        let (done, written) = mpsc::channel();
        if self.sender.send(Message::Flush(done)).is_ok() {
            // Late or not, the process ends now.
            written.recv_timeout(bound).ok();
        }
    }
}

/// One event is one write.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("moa_log_lines_dropped_total").increment(1);
    }
}

fn write_on(
    messages: &Receiver<Message>,
    shared: &Shared,
    mut out: impl Write,
    log_dropped: impl Fn(u64),
) {
    for message in messages {
        match message {
            Message::Flush(done) => {
                // Who asked may have given up.
                done.send(()).ok();
            }
            Message::Line(line) => {
                let written = write_whole(&mut out, &line);
                shared
                    .queued_bytes
                    .fetch_sub(line.len() + LINE_OVERHEAD_BYTES, Ordering::Relaxed);
                match written {
                    Ok(()) => Some(shared.dropped.swap(0, Ordering::Relaxed))
                        .filter(|n| *n > 0)
                        .into_iter()
                        .for_each(&log_dropped),
                    Err(_) => shared.drop_one(),
                }
            }
        }
    }
}

fn write_whole(out: &mut impl Write, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_DELAY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, pipe};
    use std::time::Instant;

    const TEST_TIMEOUT: Duration = Duration::from_secs(10);

    fn line(number: usize) -> String {
        format!("{number} {}\n", "x".repeat(1_000))
    }

    /// Steps: nobody reads; more is logged than the pipe and the queue hold; nobody waits; then somebody reads, and is
    /// and a line says how many are missing.
    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_is_told_what_it_missed() {
        let (reader, writer) = pipe().unwrap();
        let (told, hear) = mpsc::channel();
        let queue = LogQueue::start(writer, move |dropped| told.send(dropped).unwrap()).unwrap();
        let (began, lines) = (Instant::now(), 3 * MAX_QUEUED_BYTES / 1_000);
        (0..lines).for_each(|number| queue.push(line(number).as_bytes()));
        queue.flush(Duration::from_millis(10));
        assert!(began.elapsed() < TEST_TIMEOUT, "{:?}", began.elapsed());

        let read = std::thread::spawn(move || {
            BufReader::new(reader).lines().map_while(Result::ok).count()
        });
        let mut dropped = hear.recv_timeout(TEST_TIMEOUT).unwrap();
        queue.flush(TEST_TIMEOUT);
        drop(queue);
        let read = read.join().unwrap();
        // What is dropped while the first report is made is in another.
        dropped += hear.try_iter().sum::<u64>();
        assert_eq!(read + usize::try_from(dropped).unwrap(), lines);
        assert!(dropped as usize > lines / 2, "{dropped}");
    }

    #[test]
    fn a_reader_that_is_gone_is_no_fault_of_who_logs() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let queue = LogQueue::start(writer, |_| panic!("nothing was written")).unwrap();
        (0..100).for_each(|number| queue.push(line(number).as_bytes()));
        queue.flush(TEST_TIMEOUT);
        assert_eq!(queue.shared.dropped.load(Ordering::Relaxed), 100);
        assert_eq!(queue.shared.queued_bytes.load(Ordering::Relaxed), 0);
    }

    /// Takes nothing at first, and then byte by byte.
    struct Reluctant(mpsc::Sender<u8>, u32);

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 % 3 {
                0 => {
                    self.0.send(bytes[0]).unwrap();
                    Ok(1)
                }
                1 => Err(ErrorKind::WouldBlock.into()),
                _ => Err(ErrorKind::Interrupted.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_written_whole_to_who_takes_little_at_a_time() {
        let (taken, hear) = mpsc::channel();
        let queue = LogQueue::start(Reluctant(taken, 0), |_| {}).unwrap();
        queue.push(b"whole\n");
        queue.flush(TEST_TIMEOUT);
        assert_eq!(hear.try_iter().collect::<Vec<_>>(), b"whole\n");
    }
}
