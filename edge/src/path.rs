//! Ids in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use domain::{InvestId, ProductId};
use uuid::Uuid;

use crate::field_problem::plain_integer;
use crate::{FieldProblem, Problem};

/// The length of a uuid written with hyphens, the one form we give out.
const HYPHENATED_UUID_CHARS: usize = 36;

/// The one id in the path, a product's; malformed is refused with [`Problem::Invalid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductIdPath(pub ProductId);

/// The one id in the path, an invest's; malformed is refused with [`Problem::Invalid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvestIdPath(pub InvestId);

impl<S: Send + Sync> FromRequestParts<S> for ProductIdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment("productId", parts, state).await?;
        let id = plain_integer(&text)
            .ok()
            .and_then(|id| ProductId::try_from(id).ok());
        let wrong = || FieldProblem::new("productId", "must be a whole number from 1").given(&text);
        id.map(Self).ok_or_else(|| Problem::invalid(wrong()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InvestIdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment("investId", parts, state).await?;
        let id = Uuid::try_parse(&text)
            .ok()
            .filter(|_| text.len() == HYPHENATED_UUID_CHARS);
        let wrong = || FieldProblem::new("investId", "must be a uuid").given(&text);
        id.map(|id| Self(InvestId(id)))
            .ok_or_else(|| Problem::invalid(wrong()))
    }
}

async fn segment<S: Send + Sync>(
    name: &'static str,
    parts: &mut Parts,
    state: &S,
) -> Result<String, Problem> {
    let segment = Path::<String>::from_request_parts(parts, state).await;
    segment
        .map(|Path(text)| text)
        .map_err(|_| Problem::invalid(FieldProblem::new(name, "must be UTF-8")))
}
