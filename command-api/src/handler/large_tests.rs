//! Streams with much data on a real log: they are folded a part at a time.

use domain::stock::{Command, Stock};
use event_schemas::StreamId;
use event_store::EventStore;

use super::{
    Context, Handler,
    tail::{self, Asked},
    tests::stream,
};
use crate::{shop::now, test_database::Database};

/// Of one event. Its quantity is 1.
const BYTES: usize = 200_000;

async fn grow(store: &EventStore, stream: &StreamId, count: usize) {
    let handler = Handler::<Stock>::new(store.clone(), 10);
    for _ in 0..count {
        let command = Command::Receive { quantity: 1, reference: "r".repeat(BYTES) };
        handler.run(stream, &command, &Context::new(now(), "another server"), |_, _| ()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_is_folded_from_more_data_than_is_read_at_a_time() {
    let Some(database) = Database::make().await else { return };
    let (store, [a, b, c]) = (&EventStore::open(database.pool.clone()).await.unwrap(), [stream("A"), stream("B"), stream("C")]);
    let handler = Handler::<Stock>::new(store.clone(), 10);
    grow(store, &a, 1).await;
    let seen = async |streams: &[StreamId]| -> Vec<(i64, i64)> {
        let seen = handler.current_all(streams, |state, _| state.available(now())).await.unwrap();
        seen.into_iter().map(|(available, version, _)| (available, version)).collect()
    };
    assert_eq!(seen(std::slice::from_ref(&a)).await, [(1, 1)]);
    // What is known is old by then, or nothing at all.
    for (stream, count) in [(&a, 59), (&b, 60), (&c, 3)] {
        grow(store, stream, count).await;
    }
    assert_eq!(seen(&[a.clone(), b.clone(), c.clone()]).await, [(60, 60), (60, 60), (3, 3)]);
    let tails = tail::load::<Stock>(store, vec![Asked { stream: b.clone(), version: 0, may_be_long: true }]).await.unwrap();
    let folded = tails[0].snapshot.as_ref().unwrap();
    assert_eq!((folded.version, folded.is_kept, tails[0].events.len()), (60, false, 0));
    assert_eq!(folded.position, store.read_stream(&b, 60, 60, 1).await.unwrap()[0].position);
    // A decision on it is one on the newest state.
    let command = Command::Receive { quantity: 40, reference: "here".into() };
    let accepted = handler.run(&b, &command, &Context::new(now(), "test"), |state, _| state.available(now())).await.unwrap();
    assert_eq!((accepted.seen, accepted.version), (100, 61));
}
