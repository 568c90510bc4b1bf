//! `GET /v1/events`: the whole log, in the order in which it was committed.

mod waiting;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use event_schemas::{
    Metadata, Timestamp,
    events::{CATEGORIES, descriptors},
};
use event_store::read::{self, Filter, PAGE_BYTES};
use gateway::{FieldError, Json, Limit, MinPosition, Position, Problem, Query, Route, Routes};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Queries, error::Error, freshness::answered};
pub use waiting::Waiters;

/// How many positions one statement goes through for a filter that few events fit.
const WINDOW: i64 = 20_000;
/// How long a request goes through the log for such a filter; the cursor then says how far it came.
const SCAN_TIME: Duration = Duration::from_millis(500);

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/events", list)
            .summary("The log: every event, in commit order")
            .description(
                "`next_cursor` is the last position that was read, also where the filter left nothing of it: send it as `cursor`, \
                 or as `after`. A page may be short before the head: where its events have more than 2 MiB of data, or, and then it may be empty, where few \
                 fit the filter. With `wait` the answer to \
                 an empty page is held back until an event fits, or that many seconds have passed; where too many wait already, it is 503.",
            )
            .tag("History")
            .query::<Listing>()
            .answers::<Events>(200)
            .leads_to("/v1/streams/{stream}", "$response.body#/items/0/stream"),
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Listing {
    /// Only events after this position; instead of a cursor.
    #[schemars(range(min = 0))]
    after: Option<i64>,
    /// Only of these types.
    #[serde(default)]
    #[schemars(schema_with = "event_types")]
    types: Vec<String>,
    /// Only of this category of streams.
    #[serde(default)]
    #[schemars(schema_with = "categories")]
    category: Option<String>,
    #[serde(default)]
    limit: Limit,
    /// Seconds to wait for an event where there is none yet.
    #[schemars(range(min = 0, max = 20))]
    wait: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = "^[0-9]{1,19}$"))]
    cursor: Option<String>,
}

fn event_types(_: &mut SchemaGenerator) -> Schema {
    let mut names: Vec<_> = descriptors().map(|descriptor| descriptor.event_type).collect();
    names.sort_unstable();
    names.dedup();
    json_schema!({"type": "array", "minItems": 1, "items": {"type": "string", "enum": names, "description": "an event type", "examples": ["OrderConfirmed"]}})
}

fn categories(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": CATEGORIES})
}

/// Events of the log, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LogEvents")]
struct Events {
    /// What is on the page.
    #[schemars(with = "Vec<StoredEvent>")]
    items: Vec<Arc<Item>>,
    /// The last position that was read: what `cursor` must be for the next page.
    next_cursor: String,
    /// The position of the newest event.
    head: i64,
}

/// An event as the log holds it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct StoredEvent {
    /// Its number in the whole log.
    position: i64,
    /// Its stream.
    stream: String,
    /// Its number in its stream.
    version: i64,
    /// Its id.
    id: Uuid,
    /// Its type.
    #[serde(rename = "type")]
    event_type: String,
    /// The version of its data's schema.
    schema_version: i16,
    /// When it was recorded.
    recorded_at: Timestamp,
    /// What happened.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    data: Box<RawValue>,
    /// Who and why.
    #[schemars(with = "Metadata")]
    meta: Box<RawValue>,
    /// SHA-256 over its canonical encoding, in hexadecimal.
    hash: String,
}

impl TryFrom<read::StoredEvent> for StoredEvent {
    type Error = serde_json::Error;

    fn try_from(event: read::StoredEvent) -> Result<Self, serde_json::Error> {
        Ok(Self {
            position: event.position,
            stream: event.stream_id,
            version: event.version,
            id: event.event_id,
            event_type: event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            data: RawValue::from_string(event.payload)?,
            meta: RawValue::from_string(event.metadata)?,
            hash: hex(&event.hash),
        })
    }
}

/// An event as JSON, and what a filter asks of it.
#[derive(Debug)]
pub struct Item {
    position: i64,
    stream_id: String,
    event_type: String,
    json: Box<RawValue>,
}

impl Item {
    /// Bytes of its JSON: nearly all that it takes.
    fn bytes(&self) -> usize {
        self.json.get().len()
    }
}

impl TryFrom<read::StoredEvent> for Item {
    type Error = serde_json::Error;

    fn try_from(event: read::StoredEvent) -> Result<Self, serde_json::Error> {
        let event = StoredEvent::try_from(event)?;
        let json = to_raw_value(&event)?;
        Ok(Self { position: event.position, stream_id: event.stream, event_type: event.event_type, json })
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

async fn list(State(queries): State<Queries>, min: MinPosition, Query(listing): Query<Listing>) -> Result<Response, Problem> {
    let after = listing.checked()?;
    let head = queries.head_from(min).await?;
    if after > head {
        // Written by another server a moment ago, or by none.
        let head = answered(|| queries.store.head()).await.map_err(Error::from)?;
        if after > head {
            return Err(Problem::invalid(vec![beyond_head(listing.cursor.is_some(), head)]));
        }
    }
    let deadline = listing.wait.filter(|wait| *wait > 0).map(|wait| Instant::now() + Duration::from_secs(wait.into()));
    let filter = Filter { category: listing.category, types: listing.types };
    let scan = queries.scan(Scan { read_up_to: after, head, items: Vec::new() }, &filter, listing.limit, deadline).await?;
    let head = scan.head.max(scan.read_up_to);
    Ok((Position(head), Json(Events { items: scan.items, next_cursor: scan.read_up_to.to_string(), head })).into_response())
}

impl Listing {
    /// The position to read after, or everything that the types alone can't tell to be wrong.
    fn checked(&self) -> Result<i64, Problem> {
        let mut errors = Vec::new();
        let cursor = self.cursor.as_deref().map(parse_cursor);
        if cursor == Some(None) {
            errors.push(FieldError::new("?cursor", "malformed", "must be the next_cursor of this same list, unchanged"));
        }
        if self.after.is_some() && self.cursor.is_some() {
            errors.push(FieldError::new("?after", "conflicting", "can't be sent together with `cursor`"));
        }
        if self.category.as_ref().is_some_and(|category| !CATEGORIES.contains(&category.as_str())) {
            errors.push(FieldError::new("?category", "unknown_value", format!("must be one of {}", CATEGORIES.join(", "))));
        }
        let is_known = |name: &str| descriptors().any(|descriptor| descriptor.event_type == name);
        let unknown: Vec<_> = self.types.iter().map(String::as_str).filter(|name| !is_known(name)).collect();
        if !unknown.is_empty() {
            errors.push(FieldError::new(
                "?types",
                "unknown_value",
                format!("{} is no event type, as in OrderConfirmed", unknown.join(", ")),
            ));
        }
        if errors.is_empty() { Ok(cursor.flatten().or(self.after).unwrap_or(0)) } else { Err(Problem::invalid(errors)) }
    }
}

/// The cursor of this list is a position, so that it is good for `after` too.
fn parse_cursor(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn beyond_head(is_cursor: bool, head: i64) -> FieldError {
    let pointer = if is_cursor { "?cursor" } else { "?after" };
    FieldError::new(pointer, "out_of_range", format!("is beyond the head of the log, {head}")).with("head", head)
}

/// How far a request has come through the log.
struct Scan {
    read_up_to: i64,
    head: i64,
    items: Vec<Arc<Item>>,
}

/// The next step of a request.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Answer,
    ReadOn,
    Wait,
}

impl Scan {
    /// The next step at `now`: no request reads on after `scan_until`, whatever it waits for, nor waits after `deadline` or without one. One that may
    /// wait reads no further by itself than others who wait have been `told`.
    fn step(&self, limit: Limit, now: Instant, scan_until: Instant, (deadline, told): (Option<Instant>, Option<i64>)) -> Step {
        if self.items.len() >= usize::from(limit) || self.items.iter().map(|item| item.bytes()).sum::<usize>() >= PAGE_BYTES {
            return Step::Answer;
        }
        let end = told.filter(|_| deadline.is_some()).map_or(self.head, |told| told.min(self.head));
        if self.read_up_to < end {
            return if now >= scan_until { Step::Answer } else { Step::ReadOn };
        }
        if self.items.is_empty() && deadline.is_some_and(|deadline| now < deadline) { Step::Wait } else { Step::Answer }
    }
}

impl Queries {
    /// Reads on from `scan` until the page is full, the time to read is up, or the head is reached and either there is something or nobody waits
    /// any more. What comes while it waits is read from memory.
    async fn scan(&self, mut scan: Scan, filter: &Filter, limit: Limit, deadline: Option<Instant>) -> Result<Scan, Problem> {
        let scan_until = Instant::now() + SCAN_TIME;
        let mut closing = self.closing.subscribe();
        let mut waiter = None;
        loop {
            scan.head = scan.head.max(self.store.known_head());
            match scan.step(limit, Instant::now(), scan_until, (deadline, self.waiters.told())) {
                Step::Answer => return Ok(scan),
                Step::ReadOn => self.read_window(&mut scan, filter, limit).await?,
                Step::Wait => {
                    let waiter = match &mut waiter {
                        Some(waiter) => waiter,
                        none => none.insert(self.waiters.enter()?),
                    };
                    let most = usize::from(limit) - scan.items.len();
                    let next = waiter.next(scan.read_up_to, filter, most);
                    let come = tokio::select! {
                        come = next => come,
                        () = tokio::time::sleep_until(deadline.unwrap_or(scan_until)) => return Ok(scan),
                        _ = closing.wait_for(|closing| *closing) => return Ok(scan),
                    };
                    match come {
                        Some((found, up_to)) => {
                            scan.items.extend(found);
                            scan.read_up_to = up_to;
                            scan.head = scan.head.max(up_to);
                            if !scan.items.is_empty() {
                                return Ok(scan);
                            }
                        }
                        None => self.read_window(&mut scan, filter, limit).await?,
                    }
                }
            }
        }
    }

    async fn read_window(&self, scan: &mut Scan, filter: &Filter, limit: Limit) -> Result<(), Error> {
        scan.head = scan.head.max(self.store.known_head());
        let wanted = i64::from(limit) - scan.items.len() as i64;
        let window = if *filter == Filter::default() { wanted } else { WINDOW };
        let up_to = scan.head.min(scan.read_up_to.saturating_add(window));
        let read_up_to = scan.read_up_to;
        let found = answered(|| self.store.read_log(read_up_to, up_to, filter, wanted)).await?;
        let is_full = read::is_full(&found, wanted);
        scan.read_up_to = found.last().filter(|_| is_full).map_or(up_to, |last| last.position);
        for event in found {
            scan.items.push(Arc::new(Item::try_from(event)?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_never_reads_longer_than_its_time_and_waits_only_at_the_head() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(20));
        let limit: Limit = serde_json::from_str("2").unwrap();
        let at = |read_up_to| Scan { read_up_to, head: 10, items: Vec::new() };
        assert_eq!(at(5).step(limit, now, later, (None, None)), Step::ReadOn);
        assert_eq!(at(5).step(limit, now, now, (Some(later), None)), Step::Answer, "its time is up, however long it would wait");
        assert_eq!(at(10).step(limit, now, now, (Some(later), None)), Step::Wait);
        assert_eq!(at(10).step(limit, later, now, (Some(later), None)), Step::Answer);
        assert_eq!(at(10).step(limit, now, later, (None, None)), Step::Answer);
    }

    #[test]
    fn who_may_wait_reads_no_further_than_others_who_wait_and_everybody_else_does() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(20));
        let limit: Limit = serde_json::from_str("2").unwrap();
        let at = |read_up_to| Scan { read_up_to, head: 10, items: Vec::new() };
        assert_eq!(at(8).step(limit, now, later, (Some(later), Some(8))), Step::Wait, "what is newer comes in the next round");
        assert_eq!(at(7).step(limit, now, later, (Some(later), Some(8))), Step::ReadOn);
        assert_eq!(at(8).step(limit, now, later, (None, Some(8))), Step::ReadOn);
        assert_eq!(at(8).step(limit, later, later, (Some(later), Some(8))), Step::Answer);
    }

    #[test]
    fn a_page_is_full_by_its_bytes_too() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(20));
        let limit: Limit = serde_json::from_str("200").unwrap();
        let with = |bytes| Scan { read_up_to: 5, head: 10, items: vec![Arc::new(waiting::tests::event(1, "cart-1", "CartOpened", bytes))] };
        assert_eq!(with(PAGE_BYTES - 1).step(limit, now, later, (None, None)), Step::ReadOn);
        assert_eq!(with(PAGE_BYTES).step(limit, now, later, (None, None)), Step::Answer);
    }

    #[test]
    fn a_cursor_is_a_position() {
        assert_eq!(parse_cursor("17"), Some(17));
        for text in ["", "AAAA", "-1", "+1", " 1", "99999999999999999999"] {
            assert_eq!(parse_cursor(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_hash_is_written_in_lower_case() {
        assert_eq!(hex(&[0x00, 0x9f, 0xff]), "009fff");
    }

    #[test]
    fn everything_wrong_with_a_listing_is_named() {
        let listing: Listing =
            serde_json::from_value(serde_json::json!({"after": 1, "cursor": "x", "category": "hat", "types": ["OrderEaten"]})).unwrap();
        let problem = listing.checked().unwrap_err();
        let pointers: Vec<_> = problem.errors().iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["?cursor", "?after", "?category", "?types"]);
    }
}
