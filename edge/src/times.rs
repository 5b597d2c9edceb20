//! How a request wants its times.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::{Params, Problem, ServiceTime};

/// `?times=offset`: RFC 3339 with an offset. Without it times are local to the service's zone, without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Times {
    with_offset: bool,
}

impl Times {
    /// The service's times, as this request wants them.
    pub fn of(self, time: ServiceTime) -> ServiceTime {
        if self.with_offset {
            time.with_offset()
        } else {
            time
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Times {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut params = Params::from_request_parts(parts, state).await?;
        let parse = |text: &str| {
            if text == "offset" {
                Ok(())
            } else {
                Err("must be offset, or left out")
            }
        };
        match params.text("times", parse) {
            Some(asked) => Ok(Self {
                with_offset: asked.is_some(),
            }),
            None => Err(params.refuse()),
        }
    }
}
