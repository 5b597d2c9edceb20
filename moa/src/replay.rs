//! `moa replay`: sends history again to one queue of a consumer outside Moa. It only reads the log, and records that it did: by its
//! login, as nobody shows a token.

use crate::database::{Connections, Database};
use crate::output::{print_line, print_note};
use crate::serve::StopSignal;
use crate::settings::ReplaySettings;
use crate::trust;
use anyhow::Context;
use broker::replay::{IncompleteReplay, Progress, Replay, Selection};
use broker::{Address, Broker};
use domain::ProductId;
use event_log::acts::{ActBy, ActOutcome, Acts, NewAct};
use event_log::{Log, Partition};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::json;
use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often progress is logged, where there is no terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How often the bar moves.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// What the login needs.
const RECORD_RIGHTS: &str =
    "nothing was sent; the login must be a member of moa_relay or own the database";

/// Sends what is chosen, until it is sent or a signal comes; then it prints where to continue.
pub async fn run(settings: ReplaySettings) -> anyhow::Result<()> {
    let mut stop = StopSignal::listen()?;
    let address =
        Address::parse(settings.amqp_url.reveal(), trust::of_process()).context("AMQP_URL")?;
    let database = Database::named(&settings.database_url)?;
    let log = existing(&database).await?;
    let broker = Broker::at(&address, log.identity().log_id);
    let replay = replay(&settings, partitions(&settings, &log)?);
    let (progress, shutdown) = (
        watch::Sender::<Progress>::default(),
        CancellationToken::new(),
    );
    let (stopping, shown) = (shutdown.clone(), progress.subscribe());
    let _listening = AbortOnDropHandle::new(tokio::spawn(async move {
        stop.received().await;
        stopping.cancel();
    }));
    let acts = Acts::new(database.project_pool());
    let sending = async move { replay.run(&log, &broker, &progress, &shutdown).await };
    let ended = tokio::select! {
        ended = acts.perform(act(&settings), sending, outcome) => ended.context(RECORD_RIGHTS)?,
        never = show(shown) => match never {},
    };
    print(
        &settings,
        ended.map_err(|incomplete| failure(&settings, incomplete))?,
    );
    Ok(())
}

fn act(settings: &ReplaySettings) -> NewAct {
    let parameters = json!({
        "from": settings.from.to_string(), "partition": settings.partition, "productId": settings.product.map(ProductId::get),
        "type": settings.event_type, "maxRate": settings.max_rate,
    });
    let subject = format!("queue {}", settings.to);
    NewAct {
        by: ActBy::Direct,
        act: "REPLAY",
        subject,
        parameters,
        correlation_id: None,
    }
}

fn outcome(ended: &Result<Progress, IncompleteReplay>) -> ActOutcome {
    match ended {
        Ok(progress) => ActOutcome::Done(json!({"read": progress.read, "sent": progress.sent})),
        Err(incomplete) if incomplete.progress.sent == 0 => {
            ActOutcome::Refused("NOTHING_SENT".into())
        }
        Err(_) => ActOutcome::Failed("INCOMPLETE".into()),
    }
}

/// The log that is there; none is made.
async fn existing(database: &Database) -> anyhow::Result<Log> {
    let read = database.read_pool().await?;
    let found = Log::partitions_of(&read).await;
    let found =
        found.with_context(|| format!("there is no log to read at {}", database.describe()))?;
    read.close().await;
    anyhow::ensure!(
        found.is_some(),
        "there is no log yet at {}: nothing to send again",
        database.describe()
    );
    database.log(found, Connections::FEW).await
}

fn partitions(settings: &ReplaySettings, log: &Log) -> anyhow::Result<Vec<Partition>> {
    let only = settings
        .product
        .map(|product| log.partition_of(product))
        .or(settings.partition);
    let chosen: Vec<_> = log
        .partitions()
        .filter(|partition| only.is_none_or(|only| only == *partition))
        .collect();
    let last = log.identity().partitions - 1;
    anyhow::ensure!(
        !chosen.is_empty(),
        "this log has the partitions 0 to {last}: choose one of them with --partition"
    );
    Ok(chosen)
}

fn replay(settings: &ReplaySettings, partitions: Vec<Partition>) -> Replay {
    let product = settings.product.map(|product| product.to_string());
    let event_type = settings.event_type.clone();
    let selection = Selection {
        partitions,
        from: settings.from,
        product,
        event_type,
    };
    Replay {
        to: settings.to.clone(),
        selection,
        max_rate: settings.max_rate,
    }
}

/// Shows how far it is on standard error: as a bar on a terminal, else a line now and then.
async fn show(mut progress: watch::Receiver<Progress>) -> Infallible {
    // Before it is known how much there is, there is nothing to show.
    if progress.changed().await.is_err() {
        return std::future::pending().await;
    }
    let bar = std::io::stderr().is_terminal().then(bar);
    loop {
        tokio::time::sleep(if bar.is_some() {
            REDRAW_INTERVAL
        } else {
            PROGRESS_INTERVAL
        })
        .await;
        let progress = *progress.borrow();
        match &bar {
            Some(bar) => {
                bar.set_message(sentence(progress));
                bar.set_length(progress.total.unsigned_abs());
                bar.set_position(progress.read.unsigned_abs());
            }
            None => print_note!("{}", sentence(progress)),
        }
    }
}

/// Goes away with its value; what came of the replay is printed then.
fn bar() -> ProgressBar {
    let template = ProgressStyle::with_template("[{bar:30}] {msg}, {eta} left");
    let style = template.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0)
        .with_style(style.progress_chars("=> "))
        .with_finish(ProgressFinish::AndClear)
}

fn sentence(Progress { read, total, sent }: Progress) -> String {
    format!("REPLAYING: {read} of {total} events, {sent} sent")
}

fn print(settings: &ReplaySettings, progress: Progress) {
    if settings.json {
        print_line!(
            "{}",
            json!({"queue": settings.to.to_string(), "read": progress.read, "sent": progress.sent})
        );
    } else {
        print_line!(
            "Sent {} of {} events to {}.",
            progress.sent,
            progress.read,
            settings.to
        );
    }
}

/// The error, and the settings that continue.
fn failure(settings: &ReplaySettings, incomplete: IncompleteReplay) -> anyhow::Error {
    let IncompleteReplay {
        ref error,
        progress,
        ref rest,
    } = incomplete;
    let whose = |partition| match settings.product {
        Some(_) => String::new(),
        None => format!("--partition {partition} "),
    };
    let rest: Vec<_> = rest
        .iter()
        .map(|(partition, from)| format!("{}--from {from}", whose(partition)))
        .collect();
    if rest.is_empty() {
        return anyhow::anyhow!("{error}");
    }
    anyhow::anyhow!(
        "{error}; {} events were sent, go on with {}",
        progress.sent,
        rest.join(", then ")
    )
}
