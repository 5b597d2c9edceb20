//! The demo: four products, one of them with terms and still to come, and some invests, so that the first calls a newcomer makes have something to answer.

use anyhow::{Context, bail};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use command_api::processor::{CommandEnvelope, PartitionProcessors, UntimedCommand};
use domain::{Amount, InvestId, ProductCommand, ProductId, Terms, Title, UserId, Window};
use event_log::Metadata;
use uuid::Uuid;

/// Title, total, the window's start and end in days from now, and the minimum, unit and limit per user if it has terms.
const PRODUCTS: [(&str, i64, i64, i64, Option<[i64; 3]>); 4] = [
    ("product0", 500, -40, -10, None),
    ("product1", 1_000, -2, 20, None),
    ("product2", 100, -1, 20, None),
    ("product3", 10_000, 1, 20, Some([100, 50, 1_000])),
];
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
    for (title, total, starts, finishes, bounds) in PRODUCTS {
        let window = Window::new(day(now, starts), day(now, finishes))?;
        opened.push(open(processors, title, total, window, terms(bounds)?).await?);
    }
    for (product, user, amount) in INVESTS {
        let product_id = *opened.get(product).context("the demo invests in a product it did not open")?;
        let invest_id = InvestId(Uuid::now_v7());
        let (user_id, amount) = (UserId::try_from(user.to_owned())?, Amount::try_from(amount)?);
        submit(processors, product_id, UntimedCommand::Invest { invest_id, user_id, amount }).await?;
    }
    Ok(())
}

fn day(now: DateTime<Utc>, days: i64) -> DateTime<Utc> {
    (now + TimeDelta::days(days)).trunc_subsecs(0)
}

fn terms(bounds: Option<[i64; 3]>) -> anyhow::Result<Terms> {
    let Some([minimum, unit, limit]) = bounds else { return Ok(Terms::default()) };
    Ok(Terms {
        min_invest_amount: Some(minimum.try_into()?),
        invest_amount_unit: Some(unit.try_into()?),
        max_amount_per_user: Some(limit.try_into()?),
    })
}

async fn open(
    processors: &PartitionProcessors,
    title: &str,
    total: i64,
    window: Window,
    terms: Terms,
) -> anyhow::Result<ProductId> {
    let product_id = processors.log().next_product_id().await?;
    let (title, total) = (Title::try_from(title.to_owned())?, Amount::try_from(total)?);
    let command = ProductCommand::OpenProduct { product_id, title, total, window, terms };
    submit(processors, product_id, command.into()).await?;
    Ok(product_id)
}

async fn submit(
    processors: &PartitionProcessors,
    product_id: ProductId,
    command: UntimedCommand,
) -> anyhow::Result<()> {
    let metadata = Metadata { correlation_id: "demo".into(), ..Metadata::default() };
    match processors.submit(CommandEnvelope::new(product_id, command, metadata)).await?.decision {
        Ok(()) => Ok(()),
        Err(refusal) => bail!("product {product_id} refused: {refusal}"),
    }
}
