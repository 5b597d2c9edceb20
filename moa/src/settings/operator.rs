//! The operator's commands: what is done with products, read models, parked deliveries and tokens.

use clap::{Args, Subcommand};

/// How a list is shown: as a table that fits the terminal, unless something else is asked for.
#[derive(Clone, Copy, Debug, Args)]
pub struct ListOutput {
    /// As JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// All columns, each row on one line; so it is in a pipe anyway
    #[arg(long, conflicts_with = "json")]
    pub wide: bool,
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, Args)]
pub struct ListPage {
    /// Which page, from 0
    #[arg(long, default_value_t = 0)]
    pub page: i64,
    /// How many on a page, 1 to 1000
    #[arg(long, default_value_t = 20)]
    pub size: i64,
}

/// Commands on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it once with its line for the file of tokens
    New {
        /// Whose it is: 1 to 64 of A-Z a-z 0-9 . _ -; it is kept for ever with all that its bearer does
        name: String,
        /// What it may do: operator or auditor
        #[arg(long)]
        role: edge::Role,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Commands on products.
#[derive(Debug, Subcommand)]
pub enum ProductCommand {
    /// Open a product
    #[command(
        override_usage = "moa product open [OPTIONS] --title <TITLE> --total <WON>\n       --starts <TIME> --finishes <TIME>"
    )]
    Open {
        /// Its name, 1 to 500 characters
        #[arg(long)]
        title: String,
        /// How much it takes altogether, in whole won
        #[arg(long, value_name = "WON")]
        total: i64,
        /// When it starts to take invests: 2026-11-22T09:00:00, in the service's zone or with an offset
        #[arg(long, value_name = "TIME")]
        starts: String,
        /// When it takes no more
        #[arg(long, value_name = "TIME")]
        finishes: String,
        /// The least amount of one invest, in whole won
        #[arg(long, value_name = "WON")]
        min_invest: Option<i64>,
        /// What every amount must be a multiple of, in whole won
        #[arg(long, value_name = "WON")]
        unit: Option<i64>,
        /// The most that one user may have of it, in whole won
        #[arg(long, value_name = "WON")]
        max_per_user: Option<i64>,
        /// What must be taken when the window ends, in whole won; else every invest is given back
        #[arg(long, value_name = "WON")]
        target: Option<i64>,
        /// Until when an invest can be withdrawn, at most when it takes no more; without it none can
        #[arg(long, value_name = "TIME")]
        withdrawable_until: Option<String>,
    },
    /// Close a product: it takes no more invests; what is reserved still gets its fate
    Close {
        /// Its id
        product_id: i64,
    },
    /// Cancel a product for good: it takes no more invests, and every invest is given back
    Cancel {
        /// Its id
        product_id: i64,
        /// Why, for its investors: 1 to 500 characters without personal data
        #[arg(long)]
        reason: String,
    },
    /// All products, newest first
    List {
        /// Which of them.
        #[command(flatten)]
        page: ListPage,
        /// How it is shown.
        #[command(flatten)]
        output: ListOutput,
    },
}

/// What an operator agrees to.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct RestoreSettings {
    /// What followed the log's present ends is lost: write on from there
    #[arg(long)]
    pub accept_loss: bool,
    /// The database's clock is right as it is now
    #[arg(long)]
    pub accept_clock: bool,
}

/// Commands on read models.
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// The lag of each, and its standby generations
    List {
        /// How it is shown.
        #[command(flatten)]
        output: ListOutput,
    },
    /// Rebuild one from the log as a standby, compare it with the live one, and switch
    Rebuild {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
        /// Leave it ready; `moa projection switch` switches
        #[arg(long)]
        no_switch: bool,
        /// Switch even when it differs from the live one
        #[arg(long)]
        accept_differences: bool,
        /// Ask for it and do not wait for its end
        #[arg(long)]
        detach: bool,
        /// How the job runs and shows.
        #[command(flatten)]
        job: JobSettings,
    },
    /// Switch to the standby that is ready
    Switch {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
        /// Even to one that differs from the live one
        #[arg(long)]
        accept_differences: bool,
    },
    /// Switch back to the generation that was live before
    Rollback {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
    /// Pause the live one
    Pause {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
    /// Resume it
    Resume {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
    /// A dry run: rebuild from the whole log, compare with the live one, and drop the result
    Diff {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
        /// How the job runs and shows.
        #[command(flatten)]
        job: JobSettings,
    },
    /// Cancel its job and drop every standby generation
    Drop {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
}

/// How a job runs and shows.
#[derive(Clone, Debug, Args)]
pub struct JobSettings {
    /// Fold at most so many events a second [default: as many as it can]
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(i32).range(1..))]
    pub max_rate: Option<i32>,
    /// The job as one JSON object a line, the last being the finished job
    #[arg(long)]
    pub json: bool,
}

/// Commands on parked deliveries.
#[derive(Debug, Subcommand)]
pub enum ParkedCommand {
    /// The newest, with why they were parked
    List {
        /// How many, 1 to 1000
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
        /// How it is shown.
        #[command(flatten)]
        output: ListOutput,
    },
    /// One of them, with its headers and the beginning of its body
    Show {
        /// Its id
        id: i64,
    },
    /// Forget one of them, or all
    Drop {
        /// Its id
        #[arg(required_unless_present = "all")]
        id: Option<i64>,
        /// Forget all
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// A name that can stand in a path.
fn projection(name: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.bytes().all(plain) {
        Ok(name.into())
    } else {
        Err("must be of a-z, 0-9 and _")
    }
}
