//! Shows a job until it ends: with a progress bar on a terminal, else line by line, or as JSON.

use super::{Refusal, ask};
use crate::output::{print_line, print_note};
use crate::settings::AdminSettings;
use crate::table::text;
use anyhow::{Context, bail};
use indicatif::{FormattedDuration, ProgressBar, ProgressFinish, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// How often the job is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// How long the admin listener may be unreachable before the command gives up; the job continues.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a line reports progress, within one stage.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// The time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Shows the job until it has ended, and returns its last state. An error when it cannot be polled any more, or Ctrl-C came:
/// the job continues.
pub(super) async fn follow(admin: &AdminSettings, id: i64, json: bool) -> anyhow::Result<Value> {
    tokio::select! {
        ended = watch(admin, id, ProgressView::new(json)) => ended,
        _ = tokio::signal::ctrl_c() => bail!(
            "not waited for any longer: job {id} goes on; `moa projection list` has how far it is, `moa projection \
             drop NAME` ends it"
        ),
    }
}

async fn watch(admin: &AdminSettings, id: i64, mut show: ProgressView) -> anyhow::Result<Value> {
    let mut answered = Instant::now();
    loop {
        match ask(admin, Method::GET, &format!("/admin/job/{id}"), None).await {
            Ok(job) => {
                answered = Instant::now();
                show.show(&job);
                if job["state"] != "RUNNING" {
                    return Ok(job);
                }
            }
            Err(error) if answered.elapsed() < UNREACHABLE_TIMEOUT && may_pass(&error) => {
                show.note(&format!("{error:#}; trying again"))
            }
            Err(error) => {
                return Err(error).with_context(|| format!("what job {id} does is not known"));
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Whether asking again may help: the listener is away, or busy.
fn may_pass(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Refusal>()
        .is_none_or(|refusal| ["OVERLOADED", "500"].contains(&refusal.code.as_str()))
}

/// What has been shown, and how.
struct ProgressView {
    output: Output,
    rate: RateMeter,
    stage: String,
    done: i64,
    noted: String,
    line_at: Instant,
}

enum Output {
    Bar(ProgressBar),
    Lines,
    Json,
}

impl ProgressView {
    fn new(json: bool) -> Self {
        let output = match json {
            true => Output::Json,
            false if std::io::stderr().is_terminal() => Output::Bar(bar()),
            false => Output::Lines,
        };
        let (stage, noted) = (String::new(), String::new());
        Self {
            output,
            rate: RateMeter::default(),
            stage,
            done: -1,
            noted,
            line_at: Instant::now(),
        }
    }

    fn show(&mut self, job: &Value) {
        let (stage, done, total) = (
            text(&job["stage"]),
            number(&job["done"]),
            number(&job["total"]),
        );
        self.rate.reached(Instant::now(), done);
        let (is_new, has_moved) = (stage != self.stage, done != self.done);
        match &self.output {
            Output::Json if is_new || has_moved || job["state"] != "RUNNING" => {
                print_line!("{}", self.rate.with_rate(job))
            }
            Output::Json => {}
            Output::Bar(bar) => {
                bar.set_length(total.unsigned_abs());
                bar.set_position(done.unsigned_abs());
                bar.set_message(sentence(job, &self.rate));
            }
            Output::Lines
                if is_new || (has_moved && self.line_at.elapsed() >= PROGRESS_INTERVAL) =>
            {
                print_note!("{}", sentence(job, &self.rate));
                self.line_at = Instant::now();
            }
            Output::Lines => {}
        }
        (self.stage, self.done) = (stage, done);
        if let (Some(problem), "RUNNING") = (job["problem"].as_str(), text(&job["state"]).as_str())
        {
            self.note(&format!("it failed, and is tried again: {problem}"));
        }
    }

    /// Says what is wrong, once in a row.
    fn note(&mut self, note: &str) {
        if note == std::mem::replace(&mut self.noted, note.to_owned()) {
            return;
        }
        match &self.output {
            Output::Bar(bar) => bar.println(note),
            Output::Lines | Output::Json => print_note!("{note}"),
        }
    }
}

/// Goes away with its value; what came of the job is printed then.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("[{bar:30}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0)
        .with_style(style.progress_chars("=> "))
        .with_finish(ProgressFinish::AndClear)
}

/// Stage, position, rate and what is left, where there are such.
fn sentence(job: &Value, meter: &RateMeter) -> String {
    let (stage, done, total) = (
        text(&job["stage"]),
        number(&job["done"]),
        number(&job["total"]),
    );
    match stage.as_str() {
        "WAITING" => format!(
            "WAITING for a projector with version {} of the code",
            text(&job["codeVersion"])
        ),
        "FOLDING" | "CATCHING_UP" => {
            let rate = meter
                .events_per_second()
                .map(|rate| format!(", {rate:.0}/s"))
                .unwrap_or_default();
            let left = meter
                .left(total)
                .map(|left| format!(", {} left", FormattedDuration(left)))
                .unwrap_or_default();
            format!("{stage}: {done} of {total} events{rate}{left}")
        }
        _ => stage,
    }
}

/// How fast events are folded, over the last [`RATE_WINDOW`].
#[derive(Default)]
struct RateMeter {
    seen: VecDeque<(Instant, i64)>,
}

impl RateMeter {
    fn reached(&mut self, at: Instant, done: i64) {
        self.seen.push_back((at, done));
        while self
            .seen
            .front()
            .is_some_and(|(first, _)| at - *first > RATE_WINDOW)
        {
            self.seen.pop_front();
        }
    }

    /// `None` while nothing has moved.
    fn events_per_second(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (self.seen.front()?, self.seen.back()?);
        let rate = (to - from) as f64 / (*last - *first).as_secs_f64();
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }

    /// How long it takes at this rate until `total` are done.
    fn left(&self, total: i64) -> Option<Duration> {
        let (_, done) = self.seen.back()?;
        let rest = (total > *done).then(|| (total - done) as f64)?;
        Duration::try_from_secs_f64((rest / self.events_per_second()?).round()).ok()
    }

    /// The job with its rate.
    fn with_rate(&self, job: &Value) -> Value {
        let mut with_rate = job.clone();
        with_rate["eventsPerSecond"] =
            json!(self.events_per_second().map(|rate| rate.round() as i64));
        with_rate["secondsLeft"] =
            json!(self.left(number(&job["total"])).map(|left| left.as_secs()));
        with_rate
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(seen: &[(u64, i64)]) -> RateMeter {
        let (start, mut rate) = (Instant::now(), RateMeter::default());
        for (second, done) in seen {
            rate.reached(start + Duration::from_secs(*second), *done);
        }
        rate
    }

    #[test]
    fn the_pace_is_that_of_the_last_ten_seconds() {
        assert_eq!(
            rate(&[(0, 0), (5, 1_000), (10, 3_000), (20, 9_000)]).events_per_second(),
            Some(600.0)
        );
        assert_eq!(
            rate(&[(0, 0), (5, 1_000)]).left(5_000),
            Some(Duration::from_secs(20))
        );
    }

    #[test]
    fn what_has_not_moved_or_is_done_has_no_time_left() {
        assert_eq!(rate(&[(0, 10)]).left(20), None);
        assert_eq!(rate(&[(0, 10), (1, 10)]).left(20), None);
        assert_eq!(rate(&[(0, 10), (1, 20)]).left(20), None);
    }

    #[test]
    fn a_line_says_stage_position_pace_and_what_is_left() {
        let job = json!({"stage": "FOLDING", "done": 1_000, "total": 5_000, "codeVersion": 2});
        assert_eq!(
            sentence(&job, &rate(&[(0, 0), (5, 1_000)])),
            "FOLDING: 1000 of 5000 events, 200/s, 00:00:20 left"
        );
        assert_eq!(
            sentence(&job, &RateMeter::default()),
            "FOLDING: 1000 of 5000 events"
        );
        let waits = json!({"stage": "WAITING", "codeVersion": 2});
        assert_eq!(
            sentence(&waits, &RateMeter::default()),
            "WAITING for a projector with version 2 of the code"
        );
        assert_eq!(
            sentence(&json!({"stage": "COMPARING"}), &RateMeter::default()),
            "COMPARING"
        );
    }
}
