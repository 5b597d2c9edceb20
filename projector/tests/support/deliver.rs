//! The ways in which what was appended may reach a consumer.

use super::{Happened, World};
use event_log::RecordedEvent;
use event_log::consume::{Consumer, Projection};

#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Each as soon as it is there.
    OneByOne,
    /// Nothing until all of it is there, then all of it in one delivery.
    AllInOneBatch,
    /// Nothing ever; the log is read.
    NotAtAll,
    /// Each twice in a row, and at the end everything once more, in pieces and whole.
    Twice,
    /// Four at a time, singly and in one delivery, out of order.
    Shuffled,
    /// Of three only the last, so that the others are missing.
    WithGaps,
    /// The first and the last of three, in one delivery with a hole in it.
    WithAHole,
}

impl Manner {
    pub const ALL: [Self; 7] = [
        Self::OneByOne,
        Self::AllInOneBatch,
        Self::NotAtAll,
        Self::Twice,
        Self::Shuffled,
        Self::WithGaps,
        Self::WithAHole,
    ];

    /// How many events are there before anything of them is delivered.
    fn at_once(self) -> usize {
        match self {
            Self::OneByOne | Self::Twice => 1,
            Self::WithGaps | Self::WithAHole => 3,
            Self::Shuffled => 4,
            Self::AllInOneBatch | Self::NotAtAll => usize::MAX,
        }
    }

    /// What is handed over after these events of one partition were appended.
    fn deliveries(self, events: &[RecordedEvent]) -> Vec<Vec<RecordedEvent>> {
        let whole = events.to_vec();
        match self {
            Self::OneByOne | Self::AllInOneBatch => vec![whole],
            Self::NotAtAll => vec![],
            Self::Twice => vec![whole.clone(), whole],
            Self::Shuffled => {
                let mut shuffled = whole;
                shuffled.reverse();
                shuffled.rotate_left(1.min(events.len()));
                shuffled.iter().cloned().map(|event| vec![event]).chain([shuffled.clone()]).collect()
            }
            Self::WithGaps => whole.last().map(|last| vec![last.clone()]).into_iter().collect(),
            Self::WithAHole => {
                let ends = whole.iter().enumerate().filter(|(at, _)| *at == 0 || at + 1 == whole.len());
                vec![ends.map(|(_, event)| event.clone()).collect()]
            }
        }
    }

    /// What is handed over once more at the very end.
    fn echoes(self, events: &[RecordedEvent]) -> Vec<Vec<RecordedEvent>> {
        match self {
            Self::Twice => events.iter().map(|event| vec![event.clone()]).chain([events.to_vec()]).collect(),
            Self::OneByOne
            | Self::AllInOneBatch
            | Self::NotAtAll
            | Self::Shuffled
            | Self::WithGaps
            | Self::WithAHole => vec![],
        }
    }
}

impl World {
    /// Appends `events` and delivers them to `projection` in this manner; then lets it catch up.
    pub async fn deliver<P: Projection + Clone>(&mut self, projection: &P, events: &[Happened], manner: Manner) {
        let consumers = self.consumers(projection);
        let mut all = Vec::new();
        for chunk in events.chunks(manner.at_once().min(events.len().max(1))) {
            let appended = self.append(chunk).await;
            hand_over(&consumers, &appended, |events| manner.deliveries(events)).await;
            all.extend(appended);
        }
        self.drain(projection).await;
        hand_over(&consumers, &all, |events| manner.echoes(events)).await;
    }
}

async fn hand_over<P: Projection>(
    consumers: &[Consumer<P>],
    events: &[RecordedEvent],
    deliveries: impl Fn(&[RecordedEvent]) -> Vec<Vec<RecordedEvent>>,
) {
    for (partition, consumer) in (0..).zip(consumers) {
        let here: Vec<_> = events.iter().filter(|event| event.partition == partition).cloned().collect();
        for delivered in deliveries(&here) {
            consumer.step(&delivered).await.unwrap();
        }
    }
}
