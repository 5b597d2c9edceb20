//! An invest's fate on its way through the desk.

use super::Due;
use crate::desk::{Answer, Desks, NoVerdict, Request, Verdict};
use domain::Refusal;

/// What became of an invest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Settled,
    Failed,
    Expired,
}

impl Fate {
    const ALL: [Self; 3] = [Self::Settled, Self::Failed, Self::Expired];

    fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// What `request` gives when it is accepted.
    fn by(request: &Request) -> Option<Self> {
        match request {
            Request::Settle(_) => Some(Self::Settled),
            Request::Fail(..) => Some(Self::Failed),
            Request::Expire(_) => Some(Self::Expired),
            Request::Open { .. } | Request::Invest { .. } | Request::Close => None,
        }
    }
}

/// Has `request` decided by the desk; `None` when that gave the invest no fate, or somebody else did.
pub(super) async fn give(desks: &Desks, due: Due, request: Request) -> Option<Fate> {
    let (invest_id, fate) = (due.invest_id, Fate::by(&request));
    match desks.submit(due.order(request)).await {
        // The row goes with the event that the desk wrote.
        Ok(Verdict { answer: Answer::Accepted, .. }) => fate,
        // An invest that is no longer open has its fate: the row is about to go. Of the rest, a sweep takes it when it
        // is due again; not expired it is to a desk whose idea of the database's time is a little behind ours.
        Ok(Verdict { answer: Answer::Refused(Refusal::NotOpen | Refusal::NotExpired), .. }) => None,
        Err(NoVerdict::Overloaded | NoVerdict::OutcomeUnknown) => None,
        other => {
            tracing::error!(%invest_id, verdict = ?other, "an open invest got no fate");
            None
        }
    }
}

/// Adds to the counter of fates; once for many, because the way of `approve` is a busy one.
pub(super) fn count(given: &[Option<Fate>]) {
    for fate in Fate::ALL {
        let number = given.iter().filter(|given| **given == Some(fate)).count();
        if number > 0 {
            metrics::counter!("moa_settlement_fates_total", "fate" => fate.name()).increment(number as u64);
        }
    }
}
