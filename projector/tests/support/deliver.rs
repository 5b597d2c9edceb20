//! The ways in which appended events may reach a consumer.

use super::{Happened, TestApp};
use event_log::RecordedEvent;
use event_log::consume::{Consumer, Projection};

#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Each as soon as it is there.
    OneByOne,
    /// Nothing until all of it is there, then all of it in one delivery.
    AllInOneBatch,
    /// Each twice in a row, and at the end everything once more, in pieces and whole.
    Twice,
    /// Four at a time, singly and in one delivery, out of order.
    Shuffled,
    /// The first and the last of three, in one delivery with a gap in it.
    WithGaps,
}

impl Manner {
    pub const ALL: [Self; 5] = [
        Self::OneByOne,
        Self::AllInOneBatch,
        Self::Twice,
        Self::Shuffled,
        Self::WithGaps,
    ];

    /// How many events are there before anything of them is delivered.
    fn at_once(self) -> usize {
        match self {
            Self::OneByOne | Self::Twice => 1,
            Self::WithGaps => 3,
            Self::Shuffled => 4,
            Self::AllInOneBatch => usize::MAX,
        }
    }

    /// The deliveries after these events of one partition were appended.
    fn deliveries(self, events: &[RecordedEvent]) -> Vec<Vec<RecordedEvent>> {
        let mut events = events.to_vec();
        match self {
            Self::OneByOne | Self::AllInOneBatch => vec![events],
            Self::Twice => vec![events.clone(), events],
            Self::Shuffled => {
                events.reverse();
                let count = events.len();
                events.rotate_left(count.min(1));
                events
                    .iter()
                    .map(|event| vec![event.clone()])
                    .chain([events.clone()])
                    .collect()
            }
            Self::WithGaps => {
                let last = events.split_off(events.len() - usize::from(events.len() > 1));
                events.truncate(1);
                vec![[events, last].concat()]
            }
        }
    }

    /// The repeated deliveries at the end.
    fn echoes(self, events: &[RecordedEvent]) -> Vec<Vec<RecordedEvent>> {
        match self {
            Self::Twice => events
                .iter()
                .map(|event| vec![event.clone()])
                .chain([events.to_vec()])
                .collect(),
            Self::OneByOne | Self::AllInOneBatch | Self::Shuffled | Self::WithGaps => vec![],
        }
    }
}

impl TestApp {
    /// Appends `events` and delivers them to `projection` in this manner; then lets it catch up.
    pub async fn deliver<P: Projection + Clone>(
        &mut self,
        projection: &P,
        events: &[Happened],
        manner: Manner,
    ) {
        let consumers = self.consumers(projection);
        let mut all = Vec::new();
        for chunk in events.chunks(manner.at_once().min(events.len().max(1))) {
            let appended = self.append(chunk).await;
            deliver_to(&consumers, &appended, |events| manner.deliveries(events)).await;
            all.extend(appended);
        }
        self.drain(projection).await;
        deliver_to(&consumers, &all, |events| manner.echoes(events)).await;
    }
}

async fn deliver_to<P: Projection>(
    consumers: &[Consumer<P>],
    events: &[RecordedEvent],
    deliveries: impl Fn(&[RecordedEvent]) -> Vec<Vec<RecordedEvent>>,
) {
    for (partition, consumer) in (0..).zip(consumers) {
        let here: Vec<_> = events
            .iter()
            .filter(|event| event.partition == partition)
            .cloned()
            .collect();
        for delivered in deliveries(&here).into_iter().filter(|_| !here.is_empty()) {
            consumer.step(&delivered).await.unwrap();
        }
    }
}
