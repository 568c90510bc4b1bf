//! A batch, stream by stream.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use event_schemas::{Event, Recorded};
use event_store::bounded::{self, Taken};
use futures::stream::BoxStream;

use crate::Error;

/// The most rows that are loaded at once.
const MOST_LOADED: usize = 1_000;
/// About the most bytes of them: events of a few bytes may change documents of 260 KB each.
const LOADED_BYTES: usize = 2 << 20;

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

/// The streams of a batch, in parts that are loaded, folded and written one after the other.
///
/// A part has at most [`MOST_LOADED`] rows, and fewer where they are large: the rows that were loaded have some [`LOADED_BYTES`].
pub struct Parts<'a, K, E> {
    left: BTreeMap<K, Stream<'a, E>>,
    /// The most rows of the next part.
    most: usize,
}

/// Streams and the rows of them, by key.
pub type Part<'a, K, E, R> = (BTreeMap<K, Stream<'a, E>>, BTreeMap<K, R>);

impl<'a, K: Clone + Ord, E> Parts<'a, K, E> {
    /// All of `streams`.
    pub fn of(streams: BTreeMap<K, Stream<'a, E>>) -> Self {
        Self { left: streams, most: MOST_LOADED }
    }

    /// The first of those that are left; none where there are no more.
    pub fn next(&mut self) -> Option<BTreeMap<K, Stream<'a, E>>> {
        let mut continued = self.left.iter().filter(|(_, stream)| !stream.begins()).map(|(key, _)| key);
        let rest = match continued.nth(self.most).cloned() {
            Some(first_too_many) => self.left.split_off(&first_too_many),
            None => BTreeMap::new(),
        };
        let part = std::mem::replace(&mut self.left, rest);
        (!part.is_empty()).then_some(part)
    }

    /// `part` with what was `loaded` of it. Streams whose rows had no room any more are in the next one.
    pub fn with<R>(&mut self, part: BTreeMap<K, Stream<'a, E>>, loaded: Loaded<K, R>) -> Part<'a, K, E, R> {
        if !loaded.is_cut {
            return (part, loaded.rows);
        }
        self.most = loaded.rows.len().max(1);
        let (part, later) = part.into_iter().partition(|(key, stream)| stream.begins() || loaded.rows.contains_key(key));
        let rest = std::mem::replace(&mut self.left, later);
        self.left.extend(rest);
        (part, loaded.rows)
    }
}

/// The rows of several streams, by key.
pub struct Loaded<K, R> {
    rows: BTreeMap<K, R>,
    /// True where there may be more, for which there was no room.
    is_cut: bool,
}

impl<K: Ord, R> Loaded<K, R> {
    /// Of no stream.
    pub fn nothing() -> Self {
        Self { rows: BTreeMap::new(), is_cut: false }
    }

    /// The `rows` that have [`LOADED_BYTES`], each of which has about so many `bytes` and is `read`.
    ///
    /// # Errors
    /// The database can't be reached, or a row can't be read.
    pub async fn of<T>(
        rows: BoxStream<'_, Result<T, sqlx::Error>>,
        bytes: impl Fn(&T) -> usize,
        read: impl Fn(T) -> Result<(K, R), Error>,
    ) -> Result<Self, Error> {
        // What is not taken, the connection skips before it is used again.
        let Taken { rows, is_cut, .. } = bounded::take(rows, bytes, LOADED_BYTES).await?;
        Ok(Self { rows: rows.into_iter().map(read).collect::<Result<_, _>>()?, is_cut })
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::{
        Metadata, StreamId, Timestamp,
        events::product::{self, ProductArchived},
        ids::{CommandId, Sku},
    };
    use futures::stream;
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

    /// Rows of so many `bytes` each that are loaded for each part, and all SKUs in the order in which they come.
    async fn parts(events: &[Arc<Recorded>], bytes: usize) -> (Vec<usize>, Vec<String>) {
        let mut parts = Parts::of(by_key::<Sku, _>(events, own).unwrap());
        let (mut loaded, mut skus) = (Vec::new(), Vec::new());
        while let Some(part) = parts.next() {
            let rows = continued(&part).into_iter().map(Ok);
            let rows = Loaded::of(Box::pin(stream::iter(rows)), |_| bytes, |sku| Ok((sku, ()))).await.unwrap();
            let (part, rows) = parts.with(part, rows);
            assert!(part.iter().all(|(sku, stream)| stream.begins() != rows.contains_key(sku)));
            loaded.push(rows.len());
            skus.extend(part.keys().map(ToString::to_string));
        }
        (loaded, skus)
    }

    fn all(codes: &[String], version: i64) -> Vec<Arc<Recorded>> {
        codes.iter().map(|code| recorded(code, version)).collect()
    }

    #[tokio::test]
    async fn few_rows_are_loaded_at_a_time_and_every_stream_is_in_one_part() {
        assert_eq!(parts(&[], 1).await, (vec![], vec![]));
        let codes: Vec<String> = (0..2 * MOST_LOADED + 3).map(|nth| format!("S{nth:04}")).collect();
        assert_eq!(parts(&all(&codes, 2), 1).await, (vec![MOST_LOADED, MOST_LOADED, 3], codes.clone()));
        assert_eq!(parts(&all(&codes, 1), 1).await, (vec![0], codes), "of what begins nothing is loaded");
    }

    #[tokio::test]
    async fn large_rows_are_loaded_a_few_at_a_time() {
        let codes: Vec<String> = (0..10).map(|nth| format!("S{nth}")).collect();
        assert_eq!(parts(&all(&codes, 2), LOADED_BYTES / 4).await, (vec![4, 4, 2], codes.clone()));
        assert_eq!(parts(&all(&codes, 2), LOADED_BYTES).await, (vec![1; 10], codes.clone()));
        let mixed: Vec<_> = codes.iter().enumerate().map(|(nth, code)| recorded(code, 1 + nth as i64 % 2)).collect();
        let (loaded, mut skus) = parts(&mixed, LOADED_BYTES / 2).await;
        skus.sort();
        assert_eq!((loaded, skus), (vec![2, 2, 1], codes), "those that begin are not put off");
    }
}
