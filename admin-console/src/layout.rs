//! The frame of every page, and the parts within it.

use maud::{DOCTYPE, Markup, html};

use crate::assets::versioned;
use crate::session::{CSRF_FIELD, Notice, Visitor};

/// Where the visitor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Products,
    Events,
    Projections,
    Parked,
    Seals,
    Acts,
}

const SECTIONS: [(Section, &str, &str); 7] = [
    (Section::Overview, "Overview", "/console"),
    (Section::Products, "Products", "/console/products"),
    (Section::Events, "Events", "/console/events"),
    (Section::Projections, "Projections", "/console/projections"),
    (Section::Parked, "Parked", "/console/parked"),
    (Section::Seals, "Seals", "/console/seals"),
    (Section::Acts, "Acts", "/console/acts"),
];

/// The parts of a page by their names.
pub(crate) type Parts = Vec<(String, Markup)>;

/// Nothing is evaluated, and no style stands within a page: the policy forbids both.
const HTMX: &str = r#"{"allowEval":false,"includeIndicatorStyles":false,"selfRequestsOnly":true,"historyCacheSize":0,"refreshOnHistoryMiss":true}"#;

/// A whole page. `live` is the path that keeps parts of it up to date.
pub(crate) fn page(
    section: Option<Section>,
    visitor: &Visitor,
    live: Option<&str>,
    title: &str,
    body: &Markup,
) -> Markup {
    page_with_notice(section, visitor, live, title, None, body)
}

/// The same, with what came of the form before it.
pub(crate) fn page_with_notice(
    section: Option<Section>,
    visitor: &Visitor,
    live: Option<&str>,
    title: &str,
    notice: Option<Notice>,
    body: &Markup,
) -> Markup {
    let within = html! {
        a .skip href="#main" { "To the contents" }
        header {
            a .brand href="/console" { "Moa" }
            nav aria-label="Sections" {
                ul {
                    @for (one, name, path) in SECTIONS {
                        li { a href=(path) aria-current=[(section == Some(one)).then_some("page")] { (name) } }
                    }
                }
            }
            form .visitor method="post" action="/console/logout" {
                (csrf(visitor))
                span { (visitor.actor.name()) " (" (visitor.actor.role()) ")" }
                button .plain type="submit" { "Log out" }
            }
        }
        main #main tabindex="-1" hx-ext=[live.map(|_| "sse")] sse-connect=[live] sse-close=[live.map(|_| "gone")] {
            @match notice {
                Some(Notice::Done(done)) => p .done role="status" { (done) },
                Some(Notice::Failed(why)) => p .failed role="alert" { (why) },
                None => {},
            }
            @if live.is_some() { p #stale .failed role="alert" hidden { "This page is not up to date: Moa does not answer. Trying again…" } }
            (body)
        }
    };
    document(title, &within, true)
}

/// A page for nobody in particular.
pub(crate) fn bare(title: &str, body: &Markup) -> Markup {
    document(title, &html! { main #main .bare { (body) } }, false)
}

fn document(title: &str, body: &Markup, has_scripts: bool) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) " – Moa" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href=(versioned("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(versioned("console.css"));
                @if has_scripts {
                    meta name="htmx-config" content=(HTMX);
                    link rel="stylesheet" href=(versioned("uPlot.min.css"));
                    @for script in ["htmx.min.js", "sse.min.js", "uPlot.iife.min.js", "console.js"] {
                        script src=(versioned(script)) defer {}
                    }
                }
            }
            body { (body) }
        }
    }
}

/// The field that shows that a form is of this session.
pub(crate) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(CSRF_FIELD) value=(visitor.csrf); }
}

/// A table that scrolls on its own where it is too wide, also by keys.
pub(crate) fn table(name: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div .scroll role="region" aria-label=(name) tabindex="0" {
            table {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}
