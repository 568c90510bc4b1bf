//! What auditors read.

use chrono::Duration;
use event_schemas::{Event, Metadata, StreamId, Timestamp, events::stock, ids::CommandId};
use event_store::{EventStore, Lineage, Part, Unit, read::Filter};
use uuid::Uuid;

use crate::database::{Database, appended, part, received, stream};

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(0).plus(Duration::seconds(second))
}

async fn append_at(store: &EventStore, stream: &StreamId, version: i64, at: Timestamp, event: Event) {
    let id = Uuid::now_v7();
    let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "test".into() };
    let part = Part::new(stream.clone(), version, vec![event], metadata, at, Lineage::new(version, 0)).unwrap();
    appended(&store.append(Unit::of(part)).await);
}

#[tokio::test]
async fn a_stream_is_read_in_pages_and_decoded_as_it_was_written() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    appended(&store.append(Unit::of(part(&stream("other"), 0, 3))).await);
    appended(&store.append(Unit::of(part(&stream("A"), 0, 10))).await);
    let page = async |from, to, limit| {
        let page = store.read_stream(&stream("A"), from, to, limit).await.unwrap();
        page.iter().map(|event| event.version).collect::<Vec<_>>()
    };
    assert_eq!(page(1, i64::MAX, 4).await, [1, 2, 3, 4]);
    assert_eq!(page(5, 6, 100).await, [5, 6]);
    assert_eq!(page(9, i64::MAX, 100).await, [9, 10]);
    assert!(page(11, i64::MAX, 100).await.is_empty());
    assert!(store.read_stream(&stream("unknown"), 1, 10, 10).await.unwrap().is_empty());
    let stored = store.read_stream(&stream("A"), 1, 10, 10).await.unwrap();
    for (nth, stored) in (1_u32..).zip(stored) {
        let recorded = stored.decode().unwrap();
        assert_eq!((recorded.position, recorded.version, recorded.event), (i64::from(nth) + 3, i64::from(nth), received(nth)));
    }
}

#[tokio::test]
async fn a_stream_has_had_a_version_at_every_time() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let a = stream("A");
    // The clock jumped back before the third one.
    for (version, at) in [(0, 10), (1, 20), (2, 15), (3, 30)] {
        append_at(&store, &a, version, second(at), received(1)).await;
    }
    let at = async |time| store.stream_version_at(&a, time).await.unwrap();
    assert_eq!(at(second(9)).await, 0);
    assert_eq!(at(second(10)).await, 1);
    assert_eq!(at(Timestamp::from_micros(second(10).micros() - 1)).await, 0);
    assert_eq!(at(second(15)).await, 3);
    assert_eq!(at(second(29)).await, 3);
    assert_eq!(at(second(30)).await, 4);
    assert_eq!(store.stream_version(&a).await.unwrap(), 4);
    assert_eq!(store.stream_version(&stream("unknown")).await.unwrap(), 0);
    assert_eq!(store.stream_version_at(&stream("unknown"), second(99)).await.unwrap(), 0);
}

#[tokio::test]
async fn the_log_is_read_by_category_and_by_type() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let adjusted = || Event::Stock(stock::StockAdjusted { quantity: -1, reason: "broken".into() }.into());
    let streams = [stream("A"), "product-A".parse().unwrap(), "stocktake-A".parse().unwrap(), stream("B")];
    for (nth, stream) in streams.iter().enumerate() {
        append_at(&store, stream, 0, second(nth as i64), received(1)).await;
        append_at(&store, stream, 1, second(nth as i64), adjusted()).await;
    }
    let read = async |after, up_to, category: Option<&str>, types: &[&str], limit| {
        let filter = Filter { category: category.map(Into::into), types: types.iter().map(|t| (*t).into()).collect() };
        let read = store.read_log(after, up_to, &filter, limit).await.unwrap();
        read.iter().map(|event| event.position).collect::<Vec<_>>()
    };
    assert_eq!(read(0, i64::MAX, None, &[], 100).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(read(2, 6, None, &[], 3).await, [3, 4, 5]);
    assert_eq!(read(0, i64::MAX, Some("stock"), &[], 100).await, [1, 2, 7, 8], "no other category that begins so");
    assert_eq!(read(0, i64::MAX, None, &["StockAdjusted"], 100).await, [2, 4, 6, 8]);
    assert_eq!(read(1, 7, Some("stock"), &["StockReceived"], 100).await, [7]);
    assert_eq!(read(0, i64::MAX, None, &["StockReceived", "StockAdjusted"], 2).await, [1, 2]);
    assert!(read(0, i64::MAX, Some("st%"), &[], 100).await.is_empty());
    assert!(read(8, i64::MAX, None, &[], 100).await.is_empty());
}
