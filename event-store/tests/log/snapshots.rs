//! States of long streams, and when they are not to be trusted.

use event_schemas::StreamId;
use event_store::{EventStore, NewSnapshot, Tail, Unit, Wanted};

use crate::database::{Database, appended, part, stream};

/// A state that nothing here looks into.
const STATE: &str = r#"{"name":  "Größe ☃"}"#;

fn wanted(stream: &StreamId, version: i64, state_version: Option<i32>) -> Wanted {
    Wanted { stream: stream.clone(), version, state_version }
}

fn taken(stream: &StreamId, version: i64, state_version: i32) -> NewSnapshot {
    NewSnapshot { stream: stream.clone(), version, state_version, state: STATE.into() }
}

/// Appends up to `version`.
async fn grow(store: &EventStore, stream: &StreamId, version: u32) {
    let mut length = u32::try_from(store.stream_version(stream).await.unwrap()).unwrap();
    while length < version {
        let count = (version - length).min(1_000);
        appended(&store.append(Unit::of(part(stream, length.into(), count))).await);
        length += count;
    }
}

async fn load(store: &EventStore, wanted: Wanted) -> Tail {
    store.load(vec![wanted]).await.unwrap().pop().unwrap()
}

/// The version of the snapshot, and the versions of the first and the last event after it.
fn extent(tail: &Tail) -> (Option<i64>, Option<(i64, i64)>) {
    let versions: Vec<i64> = tail.events.iter().map(|event| event.version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{versions:?}");
    (tail.snapshot.as_ref().map(|snapshot| snapshot.version), versions.first().copied().zip(versions.last().copied()))
}

/// The versions of the snapshot that is kept.
async fn kept(database: &Database, stream: &StreamId) -> Option<(i64, i32)> {
    let row = sqlx::query_as("select version, state_version from snapshots where stream_id = $1").bind(stream.as_str());
    row.fetch_optional(&database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_comes_with_what_followed_among_the_tails_of_other_streams() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let (long, longest, short, new) = (stream("long"), stream("longest"), stream("short"), stream("new"));
    for (stream, length) in [(&long, 1_010), (&longest, 1_200), (&short, 3)] {
        grow(&store, stream, length).await;
    }
    store.keep_snapshot(&taken(&long, 1_000, 2)).await.unwrap();
    store.keep_snapshot(&taken(&longest, 1_200, 2)).await.unwrap();
    let asked = vec![
        wanted(&short, 0, Some(2)),
        wanted(&long, 0, Some(2)),
        wanted(&new, 0, Some(2)),
        wanted(&longest, 0, Some(2)),
        wanted(&longest, 0, None),
        wanted(&long, 935, Some(2)),
        wanted(&long, 936, Some(2)),
        wanted(&long, 1_010, Some(2)),
        wanted(&short, 1, None),
    ];
    let tails = store.load(asked).await.unwrap();
    let extents: Vec<_> = tails.iter().map(extent).collect();
    assert_eq!(
        extents,
        [
            (None, Some((1, 3))),
            (Some(1_000), Some((1_001, 1_010))),
            (None, None),
            (Some(1_200), None),
            (None, Some((1, 1_200))),
            (Some(1_000), Some((1_001, 1_010))),
            (None, Some((937, 1_010))),
            (None, None),
            (None, Some((2, 3))),
        ],
        "a snapshot that spares 64 events or fewer is not worth reading"
    );
    let snapshot = tails[1].snapshot.as_ref().unwrap();
    let last = &store.read_stream(&long, 1_000, 1_000, 1).await.unwrap()[0];
    assert_eq!((snapshot.state.as_str(), snapshot.position, snapshot.recorded_at), (STATE, last.position, last.recorded_at));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_after_a_snapshot_come_whole_however_many_there_are() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let long = stream("long");
    grow(&store, &long, 6_000).await;
    store.keep_snapshot(&taken(&long, 500, 1)).await.unwrap();
    assert_eq!(extent(&load(&store, wanted(&long, 0, Some(1))).await), (Some(500), Some((501, 6_000))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_can_not_be_trusted_is_as_if_there_were_none() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let hurts = [
        ("older state", "update snapshots set state_version = 1"),
        ("newer state", "update snapshots set state_version = 3"),
        ("beyond the end", "update snapshots set version = 301"),
        ("another version", "update snapshots set version = 199"),
        ("another history", "update snapshots set event_hash = sha256('x')"),
        ("another state", "update snapshots set state = '{\"name\": \"Mallory\"}'"),
        ("another spelling", "update snapshots set state = (state::jsonb)::json"),
        ("another seal", "update snapshots set seal = sha256('x')"),
        (
            "of another stream",
            "update snapshots s set state = o.state, seal = o.seal, version = o.version from snapshots o where o.stream_id = 'stock-other'",
        ),
        ("deleted", "delete from snapshots"),
    ];
    for (nth, (name, hurt)) in hurts.into_iter().enumerate() {
        let (long, other) = (stream(&format!("long-{nth}")), stream("other"));
        for stream in [&long, &other] {
            grow(&store, stream, 300).await;
            store.keep_snapshot(&NewSnapshot { state: format!("{{\"of\":\"{stream}\"}}"), ..taken(stream, 200, 2) }).await.unwrap();
        }
        assert_eq!(load(&store, wanted(&long, 0, Some(2))).await.snapshot.unwrap().version, 200, "{name}");
        assert_eq!(store.snapshot(&long, 2, 300).await.unwrap().unwrap().version, 200, "{name}");
        sqlx::query(hurt).execute(&database.pool).await.unwrap();
        assert_eq!(extent(&load(&store, wanted(&long, 0, Some(2))).await), (None, Some((1, 300))), "{name}");
        assert_eq!(store.snapshot(&long, 2, 300).await.unwrap(), None, "{name}");
        sqlx::query("delete from snapshots").execute(&database.pool).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_is_given_only_where_it_is_not_too_new() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let long = stream("long");
    grow(&store, &long, 300).await;
    store.keep_snapshot(&taken(&long, 200, 2)).await.unwrap();
    for (up_to, found) in [(199, None), (200, Some(200)), (300, Some(200)), (i64::MAX, Some(200))] {
        assert_eq!(store.snapshot(&long, 2, up_to).await.unwrap().map(|snapshot| snapshot.version), found, "{up_to}");
    }
    assert_eq!(store.snapshot(&stream("unknown"), 2, 300).await.unwrap(), None);
}

#[tokio::test]
async fn snapshots_only_go_forward_unless_the_one_that_is_kept_is_of_no_use() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let long = stream("long");
    grow(&store, &long, 300).await;
    let keep = async |version, state_version| {
        store.keep_snapshot(&taken(&long, version, state_version)).await.unwrap();
        kept(&database, &long).await
    };
    let hurt = async |sql: &'static str| {
        sqlx::query(sql).execute(&database.pool).await.unwrap();
    };
    assert_eq!(keep(400, 1).await, None, "there is no such version");
    assert_eq!(keep(200, 1).await, Some((200, 1)));
    assert_eq!(keep(100, 1).await, Some((200, 1)));
    assert_eq!(keep(300, 1).await, Some((300, 1)));
    assert_eq!(keep(100, 2).await, Some((100, 2)), "one of other rules is of no use to these");
    hurt("update snapshots set version = 1000000").await;
    assert_eq!(keep(200, 2).await, Some((200, 2)), "one from beyond the end of the stream");
    hurt("update snapshots set event_hash = sha256('x')").await;
    assert_eq!(keep(100, 2).await, Some((100, 2)), "one of another history");
    hurt("update snapshots set state = '{}'").await;
    assert_eq!(keep(100, 2).await, Some((100, 2)));
    assert_eq!(store.snapshot(&long, 2, 300).await.unwrap().unwrap().state, STATE, "what was damaged is mended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_waits_in_a_short_queue_and_nobody_waits_for_it() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let long = stream("long");
    grow(&store, &long, 300).await;
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    assert!(store.offer_snapshot(move || blocked.recv().ok().and(None)));
    let offers = (1..=300).filter(|version| {
        let snapshot = taken(&long, *version, 1);
        store.offer_snapshot(move || Some(snapshot))
    });
    let accepted = offers.collect::<Vec<_>>();
    assert!((63..=64).contains(&accepted.len()), "{}", accepted.len());
    grow(&store, &long, 310).await;
    assert_eq!(kept(&database, &long).await, None);
    assert_eq!(extent(&load(&store, wanted(&long, 0, Some(1))).await), (None, Some((1, 310))));
    go_on.send(()).unwrap();
    let last = *accepted.last().unwrap();
    database.until("select exists (select from snapshots where version >= 63)").await;
    assert!(kept(&database, &long).await.unwrap().0 <= last);
    assert!(store.offer_snapshot(|| None), "there is room again");
}
