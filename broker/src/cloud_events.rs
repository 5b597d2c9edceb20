//! CloudEvents 1.0, JSON batch format. A decoded event equals the stored one byte for byte, so that a receiver can verify
//! the hash chain as `docs/log-format.md` describes it.

use chrono::{DateTime, SecondsFormat, Utc};
use event_log::{Forks, Hash, Metadata, Partition, Position, RawEvent};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// The media type of a batch.
pub const CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// The most events in one message.
pub const MAX_EVENTS_PER_MESSAGE: usize = 500;
/// A message that has grown to this many bytes takes no more events.
pub const TARGET_MESSAGE_BYTES: usize = 256 * 1024;

const SPEC_VERSION: &str = "1.0";
const DATA_CONTENT_TYPE: &str = "application/json";
const AGGREGATE_TYPE: &str = "product";
/// No log gets this far, and nothing overflows below it.
const MAX_POSITION: Position = 1 << 62;

/// An event on the wire. Attribute names are those of CloudEvents; numbers that may exceed 32 bits are decimal strings,
/// because its Integer has no more.
#[derive(Serialize, Deserialize)]
struct CloudEvent<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    id: Uuid,
    source: Cow<'a, str>,
    #[serde(rename = "type")]
    event_type: Cow<'a, str>,
    subject: Cow<'a, str>,
    time: Cow<'a, str>,
    #[serde(default)]
    datacontenttype: Cow<'a, str>,
    partition: Partition,
    position: Cow<'a, str>,
    sequence: Cow<'a, str>,
    dataversion: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'a, str>>,
    metadata: Cow<'a, str>,
    hash: Cow<'a, str>,
    /// Only of an event after the log lost others: the incarnation that it is of, and the last position of its partition that this has in
    /// common with the ones before. For outsiders; Moa itself compares with the log.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    incarnation: Option<Cow<'a, str>>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    forkedat: Option<Cow<'a, str>>,
    /// Only where the stored text is not the text of `data`: spaces around it, or no JSON to this parser.
    #[serde(skip_serializing_if = "Option::is_none")]
    datatext: Option<Cow<'a, str>>,
    /// Only in a replay. A mark for outsiders; Moa itself does not read it.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    data: &'a RawValue,
}

/// The `source` of a log's events.
pub fn source(log_id: Uuid) -> String {
    format!("/moa/{}", log_id.hyphenated())
}

/// Encodes the first of `events` of the log `log_id`, as many as fit into one message, and returns how many: at least one, unless there
/// are none. `forks` says which incarnation each is of.
pub fn encode(
    log_id: Uuid,
    forks: &Forks,
    events: &[RawEvent],
) -> serde_json::Result<(Vec<u8>, usize)> {
    batch(log_id, forks, events, None)
}

/// The same as [`encode`], with each event marked as replayed.
pub(crate) fn encode_replayed(
    log_id: Uuid,
    forks: &Forks,
    events: &[RawEvent],
) -> serde_json::Result<(Vec<u8>, usize)> {
    batch(log_id, forks, events, Some(true))
}

fn batch(
    log_id: Uuid,
    forks: &Forks,
    events: &[RawEvent],
    replayed: Option<bool>,
) -> serde_json::Result<(Vec<u8>, usize)> {
    let (source, mut body, mut written) = (source(log_id), vec![b'['], 0);
    for event in events.iter().take(MAX_EVENTS_PER_MESSAGE) {
        if written > 0 {
            body.push(b',');
        }
        serde_json::to_writer(
            &mut body,
            &CloudEvent {
                replayed,
                ..to_cloud_event(&source, forks, event)
            },
        )?;
        written += 1;
        if body.len() >= TARGET_MESSAGE_BYTES {
            break;
        }
    }
    body.push(b']');
    Ok((body, written))
}

/// Decodes a message of the log `log_id`; an error is one sentence for the operator. Does not verify that the events are in
/// the log: see [`event_log::Log::verify_delivery`].
pub fn decode(log_id: Uuid, body: &[u8]) -> Result<Vec<RawEvent>, String> {
    let batch: Vec<CloudEvent> = serde_json::from_slice(body)
        .map_err(|error| format!("it is not a batch of our CloudEvents: {error}"))?;
    if batch.is_empty() {
        return Err("it holds no event".into());
    }
    let source = source(log_id);
    batch
        .iter()
        .map(|event| from_cloud_event(&source, event))
        .collect()
}

/// An event's metadata; `None` when it cannot be parsed.
pub(crate) fn metadata(event: &RawEvent) -> Option<Metadata> {
    serde_json::from_str(&event.metadata).ok()
}

fn to_cloud_event<'a>(source: &'a str, forks: &Forks, event: &'a RawEvent) -> CloudEvent<'a> {
    let (metadata, fork) = (metadata(event), forks.of(event.partition, event.position));
    let (data, datatext) = data(&event.payload);
    CloudEvent {
        specversion: SPEC_VERSION.into(),
        id: event.event_id,
        source: source.into(),
        event_type: event.event_type.as_str().into(),
        subject: event.aggregate_id.as_str().into(),
        time: time(event.recorded_at).into(),
        datacontenttype: DATA_CONTENT_TYPE.into(),
        partition: event.partition,
        position: event.position.to_string().into(),
        sequence: event.sequence.to_string().into(),
        dataversion: event.event_version.as_str().into(),
        correlationid: metadata
            .as_ref()
            .map(|known| known.correlation_id.clone().into()),
        causationid: metadata
            .as_ref()
            .and_then(|known| known.causation_id.clone())
            .map(Cow::from),
        traceparent: metadata.and_then(|known| known.traceparent).map(Cow::from),
        metadata: event.metadata.as_str().into(),
        hash: hex::encode(event.hash).into(),
        incarnation: fork.map(|fork| fork.incarnation.to_string().into()),
        forkedat: fork.map(|fork| fork.head(event.partition).to_string().into()),
        datatext,
        replayed: None,
        data,
    }
}

/// The payload as JSON; with it its text, where that is more than the JSON in it.
fn data(payload: &str) -> (&RawValue, Option<Cow<'_, str>>) {
    match serde_json::from_str::<&RawValue>(payload) {
        Ok(data) if data.get() == payload => (data, None),
        Ok(data) => (data, Some(payload.into())),
        Err(_) => (RawValue::NULL, Some(payload.into())),
    }
}

fn from_cloud_event(source: &str, event: &CloudEvent) -> Result<RawEvent, String> {
    if event.specversion != SPEC_VERSION {
        return Err(format!(
            "CloudEvents {} is not {SPEC_VERSION}",
            event.specversion
        ));
    }
    if event.source != source {
        return Err("it is of another log".into());
    }
    let payload = event.datatext.as_deref().unwrap_or(event.data.get());
    Ok(RawEvent {
        aggregate_type: AGGREGATE_TYPE.into(),
        aggregate_id: event.subject.as_ref().into(),
        sequence: number("sequence", &event.sequence)?,
        event_type: event.event_type.as_ref().into(),
        event_version: event.dataversion.as_ref().into(),
        payload: payload.into(),
        metadata: event.metadata.as_ref().into(),
        partition: event.partition,
        position: number("position", &event.position)?,
        event_id: event.id,
        recorded_at: recorded_at(&event.time).ok_or("its time is not one that we write")?,
        hash: unhex(&event.hash).ok_or("its hash is not 64 lowercase hexadecimal digits")?,
    })
}

fn number(name: &str, text: &str) -> Result<i64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=MAX_POSITION).contains(number));
    number.ok_or_else(|| format!("its {name} is none"))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Accepts only what [`time`] writes: the hash does not cover digits past the microseconds, so they must not come in.
fn recorded_at(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    (time(at) == text).then_some(at)
}

/// Accepts lower case only: there is one way to write a hash.
fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(text, &mut hash).is_ok()).then_some(hash)
}
