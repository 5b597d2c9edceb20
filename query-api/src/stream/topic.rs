//! The latest state of each item of a stream, in the order in which they were published.

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// Items whose latest state a topic keeps; with more, those that changed least recently are forgotten, and who resumes is not sent them.
pub(super) const MAX_ITEMS_PER_TOPIC: usize = 10_000;
/// A listener is handed pieces of about so many bytes: what a slow one holds besides its place in the topic, and what a connection may
/// hold of any answer without asking.
const MAX_PIECE_BYTES: usize = 8 * 1024;
/// The log does not say when a window began or ended, so who resumes is sent every item whose last one did since.
const MAX_TURN_AGE: TimeDelta = TimeDelta::days(1);

/// A product's id, or an invest's.
pub(super) type Key = u128;
/// The number of a publication, and a key within it.
type Place = (u64, Key);

/// How a listener wants its times, as an index of an item's texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Zone {
    Local = 0,
    WithOffset = 1,
}

/// An item as it is published.
pub(super) struct Item {
    /// Its event, after the id: name, data and the empty line. By [`Zone`].
    pub(super) texts: [Bytes; 2],
    /// Its partition, and the position there at which it was seen to have changed.
    pub(super) changed_at: (usize, i64),
    /// When its window last began or ended.
    pub(super) turned_at: Option<DateTime<Utc>>,
    /// Whether who has seen nothing yet is to be sent it.
    pub(super) is_listed: bool,
}

impl Item {
    /// Whether a reader at `positions` may have seen another state of it.
    fn may_have_changed_since(&self, positions: &[i64]) -> bool {
        let (partition, position) = self.changed_at;
        let has_turned = || {
            self.turned_at
                .is_some_and(|at| Utc::now() - at < MAX_TURN_AGE)
        };
        positions.get(partition).is_none_or(|seen| *seen < position) || has_turned()
    }
}

/// One publication: everybody who has the one before needs just this.
pub(super) struct Publication {
    number: u64,
    /// The id of its last event, which says that everything up to there was sent.
    id: Arc<str>,
    /// Its events, by [`Zone`]; `None` when they are more than one piece.
    piece: Option<[Bytes; 2]>,
}

/// The items of a stream.
pub(super) struct Topic {
    latest: RwLock<Latest>,
    publications: watch::Sender<Arc<Publication>>,
}

struct Latest {
    items: BTreeMap<Place, Arc<Item>>,
    numbers: HashMap<Key, u64>,
    last: u64,
    id: Arc<str>,
}

impl Topic {
    /// Without an item, and not published yet. `id` says that nothing was sent.
    pub(super) fn new(id: Arc<str>) -> Self {
        let (publications, _) = watch::channel(Arc::new(Publication {
            number: 0,
            id: id.clone(),
            piece: None,
        }));
        let latest = Latest {
            items: BTreeMap::new(),
            numbers: HashMap::new(),
            last: 0,
            id,
        };
        Self {
            latest: RwLock::new(latest),
            publications,
        }
    }

    /// Whether it has the item in this state.
    pub(super) fn has(&self, key: Key, texts: &[Bytes; 2]) -> bool {
        let latest = self.read();
        let number = latest.numbers.get(&key);
        number
            .and_then(|number| latest.items.get(&(*number, key)))
            .is_some_and(|item| item.texts == *texts)
    }

    /// Publishes the items that have changed, if any, to everybody; `id` says that everything up to there was sent. The first
    /// time counts without an item too.
    pub(super) fn publish(&self, items: Vec<(Key, Item)>, id: Arc<str>) {
        let mut latest = self.write();
        let before = std::mem::replace(&mut latest.id, id.clone());
        if items.is_empty() && latest.last > 0 {
            return;
        }
        latest.last += 1;
        let number = latest.last;
        let items: Vec<_> = items
            .into_iter()
            .map(|(key, item)| (key, Arc::new(item)))
            .collect();
        let piece = piece_of_all(&items, &before, &id);
        for (key, item) in items {
            latest.put((number, key), item);
        }
        drop(latest);
        self.publications
            .send_replace(Arc::new(Publication { number, id, piece }));
    }

    /// Returns once it was published.
    pub(super) async fn published(&self) {
        // The sender lives as long as `self`.
        self.publications
            .subscribe()
            .wait_for(|publication| publication.number > 0)
            .await
            .ok();
    }

    pub(super) fn is_published(&self) -> bool {
        self.publications.borrow().number > 0
    }

    fn read(&self) -> RwLockReadGuard<'_, Latest> {
        // A panic while it was locked left at most an item less.
        self.latest.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Latest> {
        self.latest.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    fn put(&mut self, (number, key): Place, item: Arc<Item>) {
        if let Some(before) = self.numbers.insert(key, number) {
            self.items.remove(&(before, key));
        }
        self.items.insert((number, key), item);
        if self.items.len() > MAX_ITEMS_PER_TOPIC
            && let Some(((_, oldest), _)) = self.items.pop_first()
        {
            self.numbers.remove(&oldest);
        }
    }
}

/// The events of a whole publication, each with the id that is true once it was received: only the last says that all were sent.
fn piece_of_all(items: &[(Key, Arc<Item>)], before: &str, id: &str) -> Option<[Bytes; 2]> {
    let bytes: usize = items
        .iter()
        .map(|(_, item)| item.texts[Zone::Local as usize].len() + id.len())
        .sum();
    if bytes > MAX_PIECE_BYTES {
        return None;
    }
    let mut sorted: Vec<_> = items.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    Some([Zone::Local, Zone::WithOffset].map(|zone| {
        let mut events = Events::default();
        for (_, item) in &sorted {
            events.push(item, zone);
        }
        events.finish(before, id)
    }))
}

/// Events of a piece, about to be written.
#[derive(Default)]
struct Events {
    texts: Vec<Bytes>,
    bytes: usize,
}

impl Events {
    fn push(&mut self, item: &Item, zone: Zone) {
        let text = item.texts[zone as usize].clone();
        self.bytes += text.len();
        self.texts.push(text);
    }

    /// The last event with the id `last`, the others with `others`.
    fn finish(self, others: &str, last: &str) -> Bytes {
        let mut piece =
            Vec::with_capacity(self.bytes + self.texts.len() * (last.len() + "id: \n".len()));
        let count = self.texts.len();
        for (text, number) in self.texts.iter().zip(1..) {
            let id = if number == count { last } else { others };
            piece.extend_from_slice(b"id: ");
            piece.extend_from_slice(id.as_bytes());
            piece.push(b'\n');
            piece.extend_from_slice(text);
        }
        piece.into()
    }
}

/// A listener's place in a topic.
pub(super) struct TopicReader {
    topic: Arc<Topic>,
    publications: watch::Receiver<Arc<Publication>>,
    zone: Zone,
    /// Everything up to here was sent, or need not be.
    sent: Place,
    /// The id that says so.
    id: Arc<str>,
    /// The last publication that `since` is about; later ones are sent whole.
    joined: u64,
    /// The positions that the listener has seen; `None` when it has seen nothing.
    since: Option<Vec<i64>>,
}

impl TopicReader {
    /// Of a listener who has seen what `since` says. Its `id` is the one of its last event, or of none.
    pub(super) fn new(
        topic: Arc<Topic>,
        zone: Zone,
        since: Option<Vec<i64>>,
        id: Arc<str>,
    ) -> Self {
        let publications = topic.publications.subscribe();
        let joined = topic.read().last;
        Self {
            topic,
            publications,
            zone,
            sent: (0, 0),
            id,
            joined,
            since,
        }
    }

    /// Returns when something was published after the last [`Self::take`].
    pub(super) async fn changed(&mut self) {
        if self.publications.changed().await.is_err() {
            // Whoever has a reader has the topic too, and with it the sender.
            std::future::pending().await
        }
    }

    /// The next events; `None` when everything was sent.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let publication = self.publications.borrow_and_update().clone();
        if self.sent >= (publication.number, Key::MAX) {
            return None;
        }
        match &publication.piece {
            Some(piece) if self.sent == (publication.number - 1, Key::MAX) => {
                self.sent = (publication.number, Key::MAX);
                self.id = publication.id.clone();
                Some(piece[self.zone as usize].clone())
            }
            _ => self.catch_up(),
        }
    }

    fn catch_up(&mut self) -> Option<Bytes> {
        let topic = self.topic.clone();
        let latest = topic.read();
        let mut events = Events::default();
        for (place, item) in latest.items.range((Excluded(self.sent), Unbounded)) {
            if events.bytes >= MAX_PIECE_BYTES {
                return Some(events.finish(&self.id, &self.id));
            }
            if self.wants(place.0, item) {
                events.push(item, self.zone);
            }
            self.sent = *place;
        }
        self.sent = (latest.last, Key::MAX);
        let before = std::mem::replace(&mut self.id, latest.id.clone());
        (!events.texts.is_empty()).then(|| events.finish(&before, &self.id))
    }

    fn wants(&self, number: u64, item: &Item) -> bool {
        match &self.since {
            _ if number > self.joined => true,
            Some(positions) => item.may_have_changed_since(positions),
            None => item.is_listed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str, position: i64) -> Item {
        let texts = [
            Bytes::from(format!("{text}\n\n")),
            Bytes::from(format!("{text}+\n\n")),
        ];
        Item {
            texts,
            changed_at: (0, position),
            turned_at: None,
            is_listed: position != 0,
        }
    }

    fn topic() -> Arc<Topic> {
        Arc::new(Topic::new("none".into()))
    }

    fn listener(topic: &Arc<Topic>, since: Option<i64>) -> TopicReader {
        TopicReader::new(
            topic.clone(),
            Zone::Local,
            since.map(|at| vec![at]),
            "own".into(),
        )
    }

    fn taken(listener: &mut TopicReader) -> String {
        let pieces = std::iter::from_fn(|| listener.take());
        pieces
            .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_new_listener_is_sent_what_is_listed_and_then_what_changes() {
        let topic = topic();
        topic.publish(
            vec![(1, item("a", 1)), (2, item("b", 0)), (3, item("c", 1))],
            "at1".into(),
        );
        let mut listener = listener(&topic, None);
        assert_eq!(taken(&mut listener), "id: own\na\n\nid: at1\nc\n\n");
        assert_eq!(taken(&mut listener), "");
        topic.publish(vec![(2, item("b2", 0))], "at2".into());
        topic.publish(vec![], "at3".into());
        assert_eq!(taken(&mut listener), "id: at2\nb2\n\n");
    }

    #[test]
    fn who_is_slow_is_sent_the_last_state_of_each() {
        let topic = topic();
        let mut listener = listener(&topic, None);
        for position in 1..=3 {
            let both = vec![
                (1, item(&format!("a{position}"), position)),
                (2, item(&format!("b{position}"), position)),
            ];
            topic.publish(both, format!("at{position}").into());
        }
        assert_eq!(taken(&mut listener), "id: own\na3\n\nid: at3\nb3\n\n");
    }

    #[test]
    fn who_resumes_is_sent_what_may_have_changed_since() {
        let topic = topic();
        topic.publish(vec![(1, item("a", 5)), (2, item("b", 7))], "at7".into());
        let turned = Item {
            turned_at: Some(Utc::now()),
            ..item("c", 1)
        };
        topic.publish(vec![(3, turned), (4, item("d", 1))], "at8".into());
        assert_eq!(
            taken(&mut listener(&topic, Some(5))),
            "id: own\nb\n\nid: at8\nc\n\n"
        );
        assert_eq!(taken(&mut listener(&topic, Some(7))), "id: at8\nc\n\n");
    }

    /// An id must not say more than was sent: a listener that goes in the middle of a publication resumes before it.
    #[test]
    fn only_the_last_event_says_that_all_were_sent() {
        let topic = topic();
        topic.publish(vec![], "at0".into());
        let (mut small, mut large) = (listener(&topic, None), listener(&topic, None));
        assert_eq!(
            (taken(&mut small), taken(&mut large)),
            (String::new(), String::new())
        );
        topic.publish(vec![(1, item("a", 1)), (2, item("b", 1))], "at1".into());
        assert_eq!(taken(&mut small), "id: at0\na\n\nid: at1\nb\n\n");
        let long = "x".repeat(MAX_PIECE_BYTES - 100);
        let many = (1..=5).map(|key| (key, item(&format!("{key}{long}"), 2)));
        topic.publish(many.collect(), "at2".into());
        let pieces: Vec<_> = std::iter::from_fn(|| large.take()).collect();
        assert!(
            pieces.len() >= 3
                && pieces
                    .iter()
                    .all(|piece| piece.len() <= 3 * MAX_PIECE_BYTES)
        );
        let (last, others) = pieces.split_last().unwrap();
        assert!(
            others
                .iter()
                .all(|piece| !piece.windows(7).any(|bytes| bytes == b"id: at2"))
        );
        assert!(last.windows(7).any(|bytes| bytes == b"id: at2"));
    }

    #[test]
    fn the_items_that_changed_least_recently_are_forgotten() {
        let topic = topic();
        let all = (0..=MAX_ITEMS_PER_TOPIC as u128).map(|key| (key, item("a", 1)));
        topic.publish(all.collect(), "at1".into());
        let latest = topic.read();
        assert_eq!(
            (latest.items.len(), latest.numbers.len()),
            (MAX_ITEMS_PER_TOPIC, MAX_ITEMS_PER_TOPIC)
        );
        assert!(!latest.numbers.contains_key(&0));
    }
}
