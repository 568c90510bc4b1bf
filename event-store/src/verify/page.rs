//! What can be said of a page of the log by itself: hashes, ids, and whether its events can be read.

use std::sync::Arc;

use event_schemas::Metadata;
use uuid::Uuid;

use super::finding::{Finding, Place, Stored};
use crate::{append::MAX_EVENTS_OF_COMMAND, hash};

/// Events that follow each other.
pub(super) struct Page {
    /// The event before the first; none at the beginning of the log.
    pub before: Option<Before>,
    /// The events, in order of position.
    pub rows: Vec<Stored>,
    /// What the reader has found in this page: nothing before that place is wrong with positions and versions.
    pub finding: Option<(i64, Finding)>,
}

/// What must be known of the event before.
#[derive(Clone)]
pub(super) struct Before {
    pub stream: Arc<str>,
    pub event_id: Uuid,
}

/// The first thing that is wrong in `page`.
pub(super) fn check(page: Page) -> Option<Finding> {
    let Page { mut before, rows, finding } = page;
    for stored in rows {
        // Of one event, its place in the log and its stream is told before what it says.
        if let Some((position, finding)) = &finding
            && stored.event.position >= *position
        {
            return Some(finding.clone());
        }
        let next = Before { stream: stored.event.stream_id.as_str().into(), event_id: stored.event.event_id };
        if let Err(finding) = check_event(stored, before.as_ref()) {
            return Some(finding);
        }
        before = Some(next);
    }
    finding.map(|(_, finding)| finding)
}

fn check_event(stored: Stored, before: Option<&Before>) -> Result<(), Finding> {
    let place = stored.place();
    let Stored { event, odd_time } = stored;
    if let Some(found) = odd_time {
        return Err(Finding::Time { place, found });
    }
    let stream = match event.stream_id.parse() {
        Ok(stream) => stream,
        Err(error) => return Err(undecodable(place, &error)),
    };
    let expected = hash::leaf(&hash::Leaf {
        stream: &stream,
        version: event.version,
        event_id: event.event_id,
        event_type: &event.event_type,
        schema_version: event.schema_version,
        recorded_at: event.recorded_at,
        metadata: &event.metadata,
        payload: &event.payload,
    });
    if event.hash != expected {
        return Err(Finding::Hash { place, expected, found: event.hash });
    }
    check_metadata(&event.metadata, event.event_id, &place, before)?;
    match event_schemas::Event::decode(&event.event_type, event.schema_version, &event.payload) {
        Ok(_) => Ok(()),
        Err(error) => Err(undecodable(place, &error)),
    }
}

/// The first event of a command has the command's id, and each next one, right after it in the log, one more.
fn check_metadata(metadata: &str, found: Uuid, place: &Place, before: Option<&Before>) -> Result<(), Finding> {
    let command = match serde_json::from_str::<Metadata>(metadata) {
        Ok(metadata) => metadata.command_id.uuid(),
        Err(error) => return Err(undecodable(place.clone(), &format_args!("metadata: {error}"))),
    };
    if found == command {
        return Ok(());
    }
    // The event before may be of the same command: then this one is its next.
    let next = before
        .filter(|before| *before.stream == *place.stream && before.event_id >= command)
        .map(|before| Uuid::from_u128(before.event_id.as_u128().wrapping_add(1)))
        .filter(|next| next.as_u128() - command.as_u128() < MAX_EVENTS_OF_COMMAND as u128);
    if next == Some(found) { Ok(()) } else { Err(Finding::EventId { place: place.clone(), expected: next.unwrap_or(command), found }) }
}

fn undecodable(place: Place, why: &dyn std::fmt::Display) -> Finding {
    Finding::Undecodable { place, found: why.to_string() }
}
