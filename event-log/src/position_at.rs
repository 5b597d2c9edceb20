//! The position of each partition at a time, by bisection.

use crate::LogError;
use crate::log::Log;
use chrono::{DateTime, Utc};
use log_format::{Partition, Position};

impl Log {
    /// The last position of every partition, in order, whose event was recorded at `time` or before; 0 where there is none.
    /// Within a partition times never fall, so it bisects. An event of just now may not have committed yet: all events up to `time` are
    /// here some seconds after it.
    pub async fn positions_at(&self, time: DateTime<Utc>) -> Result<Vec<Position>, LogError> {
        // The position is between `least` and `most`.
        let (mut least, mut most) = (vec![0; self.partitions().count()], self.heads().await?);
        loop {
            let asked: Vec<_> = self
                .partitions()
                .zip(middles(&least, &most))
                .filter_map(unsettled)
                .collect();
            if asked.is_empty() {
                return Ok(least);
            }
            for (partition, position, recorded_at) in self.recorded_at(&asked).await? {
                // A partition's number is its place.
                let place = partition as usize;
                if recorded_at <= time {
                    least[place] = position
                } else {
                    most[place] = position - 1
                }
            }
        }
    }

    /// The times at which these positions were recorded.
    async fn recorded_at(
        &self,
        asked: &[(Partition, Position)],
    ) -> Result<Vec<(Partition, Position, DateTime<Utc>)>, LogError> {
        let (partitions, positions): (Vec<_>, Vec<_>) = asked.iter().copied().unzip();
        let found: Vec<(Partition, Position, Option<DateTime<Utc>>)> = sqlx::query_as(
            "select partition, position, e.recorded_at
               from unnest($1::integer[], $2::bigint[]) as asked (partition, position)
               left join events e using (partition, position)",
        )
        .bind(partitions)
        .bind(positions)
        .fetch_all(self.reads())
        .await?;
        let there = |(partition, position, time): (Partition, Position, Option<_>)| match time {
            Some(time) => Ok((partition, position, time)),
            None => Err(LogError::Broken {
                partition,
                position,
                reason: "there is a hole".into(),
            }),
        };
        found.into_iter().map(there).collect()
    }
}

/// The upper middle of what is left in each partition; `None` where nothing is.
fn middles(least: &[Position], most: &[Position]) -> impl Iterator<Item = Option<Position>> {
    least
        .iter()
        .zip(most)
        .map(|(least, most)| (least < most).then(|| least + (most - least + 1) / 2))
}

fn unsettled((partition, middle): (Partition, Option<Position>)) -> Option<(Partition, Position)> {
    Some((partition, middle?))
}
