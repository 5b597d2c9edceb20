//! `POST /api/invest`: reserved at once, or truthfully refused.

use crate::desk::{Key, Order, Request};
use crate::door::{Door, metadata};
use axum::extract::State;
use axum::response::Response;
use domain::{Amount, InvestId, PersonalData, ProductId, UserId, resident_number};
use edge::{Correlation, FieldProblem, IdempotencyKey, JsonObject, Problem, Submission, UserIdHeader};
use uuid::Uuid;

pub(crate) async fn invest(
    State(door): State<Door>,
    correlation: Correlation,
    submission: Submission,
    UserIdHeader(user_id): UserIdHeader,
    key: Option<IdempotencyKey>,
    body: JsonObject,
) -> Result<Response, Problem> {
    let (product_id, amount) = parse(&body)?;
    pseudonymous(&user_id)?;
    let key = key.map(|key| Key {
        owner: user_id.as_str().to_owned(),
        key: key.as_str().to_owned(),
        fingerprint: format!("invest {product_id} {}", amount.won()),
    });
    let invest_id = InvestId(Uuid::now_v7());
    let request = Request::Invest { invest_id, user_id, amount };
    let order = Order::new(product_id, request, metadata(&correlation)).with_key(key);
    submission.begin(invest_id);
    Ok(door.decide(order, |_| "OK").await)
}

/// What names a user is kept for ever. Ids that are in the log already can still be asked for.
fn pseudonymous(user_id: &UserId) -> Result<(), Problem> {
    if resident_number(user_id.as_str()) {
        let wrong = format!("must be a pseudonym: it seems to hold {}", PersonalData::ResidentNumber);
        return Err(Problem::invalid(FieldProblem::new("X-USER-ID", wrong)));
    }
    Ok(())
}

fn parse(body: &JsonObject) -> Result<(ProductId, Amount), Problem> {
    let mut fields = body.fields();
    let product_id = fields.int("productId", ProductId::try_from);
    let amount = fields.int("investAmount", Amount::try_from);
    let (Some(product_id), Some(amount)) = (product_id, amount) else { return Err(fields.refuse()) };
    Ok((product_id, amount))
}
