//! `POST /api/invest`: reserves at once, or refuses with the reason.

use crate::command_api::{CommandApi, metadata};
use crate::idempotency::IdempotencyKey;
use crate::processor::{CommandEnvelope, UntimedCommand};
use axum::extract::State;
use axum::response::Response;
use domain::{Amount, InvestId, PersonalData, ProductId, UserId, resident_number};
use edge::{Correlation, FieldProblem, JsonObject, Problem, Submission, UserIdHeader};
use uuid::Uuid;

pub(crate) async fn invest(
    State(api): State<CommandApi>,
    correlation: Correlation,
    submission: Submission,
    UserIdHeader(user_id): UserIdHeader,
    key: Option<edge::IdempotencyKey>,
    body: JsonObject,
) -> Result<Response, Problem> {
    let (product_id, amount) = parse(&body)?;
    pseudonymous(&user_id)?;
    let key = key.map(|key| IdempotencyKey {
        owner: user_id.as_str().to_owned(),
        key: key.as_str().to_owned(),
        fingerprint: format!("invest {product_id} {}", amount.won()),
    });
    let invest_id = InvestId(Uuid::now_v7());
    let command = UntimedCommand::Invest {
        invest_id,
        user_id,
        amount,
    };
    let envelope =
        CommandEnvelope::new(product_id, command, metadata(&correlation)).with_idempotency_key(key);
    submission.begin(invest_id);
    Ok(api.decide(envelope, |_| "OK").await)
}

/// User ids are kept for ever, so they must be pseudonyms. Reads still accept ids that are in the log already.
fn pseudonymous(user_id: &UserId) -> Result<(), Problem> {
    if resident_number(user_id.as_str()) {
        let wrong = format!(
            "must be a pseudonym: it seems to hold {}",
            PersonalData::ResidentNumber
        );
        return Err(Problem::invalid(FieldProblem::new("X-USER-ID", wrong)));
    }
    Ok(())
}

fn parse(body: &JsonObject) -> Result<(ProductId, Amount), Problem> {
    let mut fields = body.fields();
    let product_id = fields.int("productId", ProductId::try_from);
    let amount = fields.int("investAmount", Amount::try_from);
    let (Some(product_id), Some(amount)) = (product_id, amount) else {
        return Err(fields.refuse());
    };
    Ok((product_id, amount))
}
