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

#[cfg(test)]
mod tests {
    use event_schemas::{
        Metadata, StreamId, Timestamp,
        events::product::{self, ProductArchived},
        ids::{CommandId, Sku},
    };
    use uuid::Uuid;

    use super::*;

    fn recorded(sku: &str, version: i64) -> Arc<Recorded> {
        let metadata =
            Metadata { command_id: CommandId(Uuid::nil()), correlation_id: Uuid::nil(), causation_id: None, actor: "test".into() };
        let stream = StreamId::product(&sku.parse().unwrap());
        let (event, recorded_at) = (Event::Product(product::Event::from(ProductArchived {})), Timestamp::from_micros(0));
        Arc::new(Recorded { position: 1, stream, version, event_id: Uuid::nil(), metadata, recorded_at, event })
    }

    fn own(event: &Event) -> Option<&product::Event> {
        match event {
            Event::Product(event) => Some(event),
            _ => None,
        }
    }

    /// Rows loaded for each part, and all SKUs in the order in which they come.
    fn parts(events: &[Arc<Recorded>]) -> (Vec<usize>, Vec<String>) {
        let parts = in_parts(by_key::<Sku, _>(events, own).unwrap());
        let skus = parts.iter().flat_map(|part| part.keys().map(ToString::to_string)).collect();
        (parts.iter().map(|part| continued(part).len()).collect(), skus)
    }

    #[test]
    fn few_rows_are_loaded_at_a_time_and_every_stream_is_in_one_part() {
        assert_eq!(parts(&[]), (vec![], vec![]));
        let codes: Vec<String> = (0..2 * MOST_LOADED + 3).map(|nth| format!("S{nth:04}")).collect();
        let changed: Vec<_> = codes.iter().map(|code| recorded(code, 2)).collect();
        assert_eq!(parts(&changed), (vec![MOST_LOADED, MOST_LOADED, 3], codes.clone()));
        let begun: Vec<_> = codes.iter().map(|code| recorded(code, 1)).collect();
        assert_eq!(parts(&begun), (vec![0], codes), "of what begins nothing is loaded");
    }
}
