//! The demo: four products, one of them with terms and still to come, and some invests, so that the first calls a newcomer makes have
//! something to answer.

use anyhow::{Context, bail};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use command_api::processor::{CommandEnvelope, PartitionProcessors, UntimedCommand};
use domain::{Amount, InvestId, ProductCommand, ProductId, Terms, Title, UserId, Window};
use event_log::Metadata;
use uuid::Uuid;

/// Title, total, and the window's start and end in days from now.
type Offer = (&'static str, i64, i64, i64);

const PRODUCTS: [Offer; 3] = [
    ("product0", 500, -40, -10),
    ("product1", 1_000, -2, 20),
    ("product2", 100, -1, 20),
];
/// Still to come, so that the list of open products is the seed's; with a minimum, a unit and a limit per user. It fails below half of its
/// total, and its invests can be withdrawn until its last day.
const WITH_TERMS: (Offer, [i64; 3]) = (("product3", 10_000, 1, 20), [100, 50, 1_000]);
/// Product, user, amount, in order.
const INVESTS: [(usize, &str, i64); 8] = [
    (2, "user1", 30),
    (2, "user2", 20),
    (2, "user3", 10),
    (2, "user4", 20),
    (1, "user1", 100),
    (1, "user2", 80),
    (1, "user2", 20),
    (1, "user4", 10),
];

/// Opens the demo, unless the log has any event.
pub(crate) async fn open_on_empty(processors: &PartitionProcessors) -> anyhow::Result<()> {
    let (heads, now) = processors.log().heads_now().await?;
    if heads.iter().any(|head| *head > 0) {
        return Ok(());
    }
    let mut opened = Vec::new();
    for offer in PRODUCTS {
        opened.push(open(processors, now, offer, Terms::default()).await?);
    }
    open(processors, now, WITH_TERMS.0, terms(now, WITH_TERMS)?).await?;
    for (product, user, amount) in INVESTS {
        let product_id = *opened
            .get(product)
            .context("the demo invests in a product it did not open")?;
        let invest_id = InvestId(Uuid::now_v7());
        let (user_id, amount) = (
            UserId::try_from(user.to_owned())?,
            Amount::try_from(amount)?,
        );
        submit(
            processors,
            product_id,
            UntimedCommand::Invest {
                invest_id,
                user_id,
                amount,
            },
        )
        .await?;
    }
    Ok(())
}

fn day(now: DateTime<Utc>, days: i64) -> DateTime<Utc> {
    (now + TimeDelta::days(days)).trunc_subsecs(0)
}

fn terms(
    now: DateTime<Utc>,
    (offer, [minimum, unit, limit]): (Offer, [i64; 3]),
) -> anyhow::Result<Terms> {
    let (_, total, _, finishes) = offer;
    Ok(Terms {
        min_invest_amount: Some(minimum.try_into()?),
        invest_amount_unit: Some(unit.try_into()?),
        max_amount_per_user: Some(limit.try_into()?),
        target_amount: Some((total / 2).try_into()?),
        withdrawable_until: Some(day(now, finishes - 1)),
    })
}

async fn open(
    processors: &PartitionProcessors,
    now: DateTime<Utc>,
    (title, total, starts, finishes): Offer,
    terms: Terms,
) -> anyhow::Result<ProductId> {
    let product_id = processors.log().next_product_id().await?;
    let (title, total) = (Title::try_from(title.to_owned())?, Amount::try_from(total)?);
    let window = Window::new(day(now, starts), day(now, finishes))?;
    let command = ProductCommand::OpenProduct {
        product_id,
        title,
        total,
        window,
        terms,
    };
    submit(processors, product_id, command.into()).await?;
    Ok(product_id)
}

async fn submit(
    processors: &PartitionProcessors,
    product_id: ProductId,
    command: UntimedCommand,
) -> anyhow::Result<()> {
    let metadata = Metadata {
        correlation_id: "demo".into(),
        ..Metadata::default()
    };
    match processors
        .submit(CommandEnvelope::new(product_id, command, metadata))
        .await?
        .decision
    {
        Ok(()) => Ok(()),
        Err(refusal) => bail!("product {product_id} refused: {refusal}"),
    }
}
