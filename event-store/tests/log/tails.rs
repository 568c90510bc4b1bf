//! What streams have got since a version.

use event_store::Unit;

use crate::database::{Database, appended, part, stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tails_of_many_streams_come_in_the_order_of_the_questions() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    for n in 0..40_u32 {
        appended(&store.append(Unit::of(part(&stream(&format!("s{n}")), 0, n + 1))).await);
    }
    // Backwards, some twice, some that do not exist, from different versions.
    let asked: Vec<_> = (0..80_u32).rev().flat_map(|n| [(n, 0), (n, i64::from(n) / 2)]).collect();
    let tails = store.tails(asked.iter().map(|(n, version)| (stream(&format!("s{n}")), *version)).collect()).await.unwrap();
    assert_eq!(tails.len(), asked.len());
    for ((n, version), tail) in asked.iter().zip(tails) {
        let last = if *n < 40 { i64::from(*n) + 1 } else { 0 };
        let versions: Vec<i64> = tail.iter().map(|event| event.version).collect();
        assert_eq!(versions, (version + 1..=last).collect::<Vec<_>>());
        assert!(tail.iter().all(|event| event.stream == stream(&format!("s{n}"))));
    }
    assert_eq!(store.tails(vec![]).await.unwrap(), Vec::<Vec<_>>::new());
    assert!(store.tail(&stream("s39"), 40).await.unwrap().is_empty());
    assert!(store.tail(&stream("s39"), 1_000).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_tails_come_whole() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let lengths = [("a63", 63_u32), ("b64", 64), ("c65", 65), ("d128", 128), ("e5064", 5_064), ("f5065", 5_065), ("g11000", 11_000)];
    for (code, length) in lengths {
        let mut version = 0;
        while version < length {
            let count = (length - version).min(1_000);
            appended(&store.append(Unit::of(part(&stream(code), i64::from(version), count))).await);
            version += count;
        }
    }
    let tails = store.tails(lengths.iter().map(|(code, _)| (stream(code), 0)).collect()).await.unwrap();
    for ((code, length), tail) in lengths.iter().zip(tails) {
        assert_eq!(tail.len(), *length as usize, "{code}");
        assert!((1..).zip(&tail).all(|(nth, event)| event.version == nth && event.stream == stream(code)), "{code}");
    }
    assert_eq!(store.tail(&stream("g11000"), 10_936).await.unwrap().len(), 64);
    assert_eq!(store.tail(&stream("g11000"), 10_937).await.unwrap().len(), 63);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_asks_at_once_and_each_gets_its_own() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    for n in 0..20_u32 {
        appended(&store.append(Unit::of(part(&stream(&format!("s{n}")), 0, n * 5 + 1))).await);
    }
    let crowd: Vec<_> = (0..2_000_u32)
        .map(|nth| {
            let store = store.clone();
            tokio::spawn(async move { (nth % 20, store.tail(&stream(&format!("s{}", nth % 20)), 0).await.unwrap()) })
        })
        .collect();
    for asker in crowd {
        let (n, tail) = asker.await.unwrap();
        assert_eq!(tail.len(), n as usize * 5 + 1);
        assert!(tail.iter().all(|event| event.stream == stream(&format!("s{n}"))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_can_not_be_read_spoils_no_other_answer() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    appended(&store.append(Unit::of(part(&stream("good"), 0, 2))).await);
    let insert = "with head as (update log_head set position = position + 1 returning position)
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         select position, 'stock-bad', 1, id, 'StockEaten', 1, '{}', '{}', now(),
                event_hash('stock-bad', 1, id, 'StockEaten', 1::smallint, now(), '{}', '{}')
         from head, (select gen_random_uuid() as id) i";
    sqlx::query(insert).execute(&database.pool).await.unwrap();
    let (bad, (good, nothing)) = (stream("bad"), (stream("good"), stream("nothing")));
    let (bad, good, nothing) = tokio::join!(store.tail(&bad, 0), store.tail(&good, 0), store.tail(&nothing, 0));
    assert!(matches!(&bad, Err(event_store::Error::Undecodable(event)) if event.position == 3), "{bad:?}");
    assert_eq!((good.unwrap().len(), nothing.unwrap().len()), (2, 0));
}
