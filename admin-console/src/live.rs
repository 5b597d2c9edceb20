//! Pages that are kept up to date: once a second the parts of a page are made again, and those that changed are sent as server-sent
//! events of the part's name. No part holds what one can press: it would lose the focus.

use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream::unfold;
use maud::{Markup, html};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::backend::Refused;
use crate::console::{Console, Shared};
use crate::error::Failure;
use crate::layout::Parts;
use crate::products::Page;
use crate::session::Visitor;
use crate::{overview, product, products, projections};

/// How often the parts are made.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// The part that every live page has: why it is not up to date.
pub(crate) const TROUBLE: &str = "trouble";
/// What ends a page's updates: its visitor is not logged in any more.
const GONE: &str = "gone";

/// A part with nothing in it.
const EMPTY: &str = "<!-- -->";

/// Which page.
enum View {
    Overview,
    Products(Page),
    Product(String),
    Projections,
    Projection(String),
}

impl View {
    async fn parts(&self, console: &Console, visitor: &Visitor) -> Result<Parts, Refused> {
        match self {
            Self::Overview => overview::parts(console, visitor).await,
            Self::Products(page) => products::parts(console, visitor, *page).await,
            Self::Product(id) => product::parts(console, visitor, id).await,
            Self::Projections => projections::parts(console, visitor).await,
            Self::Projection(name) => projections::parts_of(console, visitor, name).await,
        }
    }
}

pub(crate) async fn overview(
    State(console): Shared,
    visitor: Visitor,
) -> Result<Response, Failure> {
    follow(console, visitor, View::Overview)
}

pub(crate) async fn products(
    State(console): Shared,
    visitor: Visitor,
    Query(page): Query<Page>,
) -> Result<Response, Failure> {
    follow(console, visitor, View::Products(page))
}

pub(crate) async fn product(
    State(console): Shared,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    follow(console, visitor, View::Product(id))
}

pub(crate) async fn projections(
    State(console): Shared,
    visitor: Visitor,
) -> Result<Response, Failure> {
    follow(console, visitor, View::Projections)
}

pub(crate) async fn projection(
    State(console): Shared,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    follow(console, visitor, View::Projection(name))
}

/// One page that somebody looks at.
struct Follower {
    console: Arc<Console>,
    visitor: Visitor,
    view: View,
    tick: Interval,
    /// What the page shows.
    sent: HashMap<String, String>,
    ready: VecDeque<Event>,
    is_gone: bool,
    _permit: OwnedSemaphorePermit,
}

fn follow(console: Arc<Console>, visitor: Visitor, view: View) -> Result<Response, Failure> {
    let permit = console
        .live_pages
        .clone()
        .try_acquire_owned()
        .map_err(|_| Failure::TooManyLivePages)?;
    let mut tick = interval(UPDATE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (sent, ready) = (HashMap::new(), VecDeque::new());
    let follower = Follower {
        console,
        visitor,
        view,
        tick,
        sent,
        ready,
        is_gone: false,
        _permit: permit,
    };
    let events = unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let headers = [("x-accel-buffering", "no")];
    Ok((headers, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

impl Follower {
    /// The next part that changed; `None` when the process stops or the visitor is gone.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_gone {
                return None;
            }
            let shutdown = self.console.shutdown.clone();
            shutdown.run_until_cancelled(self.look()).await?;
        }
    }

    async fn look(&mut self) {
        self.tick.tick().await;
        if !self.visitor.is_current(&self.console) {
            let why = html! { p .failed role="alert" { "You are logged out. " a href="/console/login" { "Log in again" } "." } };
            self.show(TROUBLE.into(), why);
            self.ready
                .push_back(Event::default().event(GONE).data("gone"));
            self.is_gone = true;
            return;
        }
        match self.view.parts(&self.console, &self.visitor).await {
            Ok(parts) => {
                parts
                    .into_iter()
                    .for_each(|(name, part)| self.show(name, part));
                self.show(TROUBLE.into(), html! {});
            }
            Err(Refused { message, .. }) => {
                if matches!(self.view, View::Overview) {
                    let needs = overview::needs_in_trouble(&self.console, &message).await;
                    self.show(overview::NEEDS.into(), needs);
                }
                let why =
                    html! { p .failed role="alert" { "This page is not up to date: " (message) } };
                self.show(TROUBLE.into(), why);
            }
        }
    }

    /// Sends a part, unless the page shows it.
    fn show(&mut self, name: String, part: Markup) {
        // An event without data is none.
        let part = Some(part.into_string())
            .filter(|part| !part.is_empty())
            .unwrap_or_else(|| EMPTY.into());
        if self.sent.get(&name) != Some(&part) {
            self.ready
                .push_back(Event::default().event(&name).data(&part));
            self.sent.insert(name, part);
        }
    }
}
