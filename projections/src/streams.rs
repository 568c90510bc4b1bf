//! A batch, stream by stream.

use std::{collections::BTreeMap, mem::take, str::FromStr, sync::Arc};

use event_schemas::{Event, Recorded};

use crate::Error;

/// The most rows that are loaded at once: events of a few bytes may change documents of 260 KB each.
const MOST_LOADED: usize = 64;

/// The events of one stream in a batch, in order; at least one.
pub struct Stream<'a, E> {
    pub events: Vec<(&'a Recorded, &'a E)>,
}

impl<E> Stream<'_, E> {
    /// Whether it begins in this batch: then there is no row of it yet.
    pub fn begins(&self) -> bool {
        self.events.first().is_some_and(|(recorded, _)| recorded.version == 1)
    }

    /// The version it has come to.
    pub fn version(&self) -> i64 {
        self.events.last().map_or(0, |(recorded, _)| recorded.version)
    }
}

/// The events that `own` picks, by the aggregate's id. Sorted, since neighbours in an index are cheaper to write one after the other.
pub fn by_key<'a, K, E>(events: &'a [Arc<Recorded>], own: fn(&Event) -> Option<&E>) -> Result<BTreeMap<K, Stream<'a, E>>, Error>
where
    K: Ord + FromStr<Err: std::fmt::Display>,
{
    let mut streams: BTreeMap<K, Stream<'a, E>> = BTreeMap::new();
    for recorded in events {
        let Some(event) = own(&recorded.event) else { continue };
        let stream = streams.entry(key_of(recorded)?).or_insert_with(|| Stream { events: Vec::new() });
        stream.events.push((recorded, event));
    }
    Ok(streams)
}

/// The id of the aggregate whose stream the event stands in.
pub fn key_of<K: FromStr<Err: std::fmt::Display>>(recorded: &Recorded) -> Result<K, Error> {
    recorded
        .stream
        .key()
        .parse()
        .map_err(|error| Error::Event { position: recorded.position, detail: format!("its stream is {}: {error}", recorded.stream) })
}

/// The keys of those streams of which there may be a row.
pub fn continued<K: Clone + Ord, E>(streams: &BTreeMap<K, Stream<'_, E>>) -> Vec<K> {
    streams.iter().filter(|(_, stream)| !stream.begins()).map(|(key, _)| key.clone()).collect()
}

/// `streams` in parts that are loaded, folded and written one after the other: of each there are at most [`MOST_LOADED`] rows.
pub fn in_parts<K: Ord, E>(streams: BTreeMap<K, Stream<'_, E>>) -> Vec<BTreeMap<K, Stream<'_, E>>> {
    let (mut parts, mut part, mut loaded) = (Vec::new(), BTreeMap::new(), 0);
    for (key, stream) in streams {
        if !stream.begins() {
            if loaded == MOST_LOADED {
                parts.push(take(&mut part));
                loaded = 0;
            }
            loaded += 1;
        }
        part.insert(key, stream);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}
