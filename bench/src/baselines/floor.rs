//! `floor`: what HTTP and JSON cost alone. It keeps nothing.

use super::server::{Invest, Invests, Outcome};

pub(super) struct Floor;

impl Invests for Floor {
    async fn invest(&self, invest: Invest) -> anyhow::Result<Outcome> {
        let is_wanted = invest.product_id > 0 && !invest.user_id.is_empty();
        Ok(if is_wanted {
            Outcome::Accepted
        } else {
            Outcome::SoldOut
        })
    }
}
