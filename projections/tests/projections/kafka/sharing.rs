//! Several servers.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Cluster, Running, assert_rows, caught_up, names, open, owned, parts, seated, server::Server};
use crate::{
    database::Database,
    story::{self, Dice},
};

/// Asks all the time whether a checkpoint promises what is not applied: reviews are never changed, so each that there is up to it must be a row.
async fn watch(pool: PgPool, stop: CancellationToken) -> u32 {
    let question = "
        with promised as (select position from checkpoints where name = 'reviews')
        select (select count(*) from events, promised p where events.position <= p.position and stream_id like 'review-%')
             - (select count(*) from read_model.reviews r, promised p where r.position <= p.position)";
    let mut asked = 0;
    while !stop.is_cancelled() {
        let lacking: i64 = sqlx::query_scalar(question).fetch_one(&pool).await.expect("an answer");
        assert_eq!(lacking, 0, "reviews are promised that are not applied");
        asked += 1;
        sleep(Duration::from_millis(5)).await;
    }
    asked
}

/// Three servers, two of which are frozen for longer than their group and Postgres wait for them, killed and started again, by turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_frozen_or_killed_apply_nothing_twice_and_lose_nothing() {
    let cluster = Cluster::start();
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let publisher = Running::publisher(&store, &cluster);
    let projector = Running::projector(&store, projections::all(), &cluster.source());
    let mut others = [Server::start(&database, &cluster), Server::start(&database, &cluster)];
    seated(&database.pool, &names()).await;
    owned(&database.pool, &names()).await;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch(database.pool.clone(), stop.clone()));
    let seed = std::env::var("MERX_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    println!("MERX_TEST_SEED={seed}");
    let log = story::shop(300);
    let until = Instant::now() + Duration::from_mins(1);
    let troubling = async {
        let mut dice = Dice(seed);
        while Instant::now() < until {
            let other = &mut others[dice.below(2)];
            sleep(Duration::from_millis(dice.below(4_000) as u64)).await;
            if dice.below(3) == 0 {
                other.signal("KILL");
                sleep(Duration::from_millis(dice.below(3_000) as u64)).await;
                *other = Server::start(&database, &cluster);
            } else {
                other.signal("STOP");
                sleep(Duration::from_millis(9_000 + dice.below(5_000) as u64)).await;
                other.signal("CONT");
            }
        }
    };
    let appending = async {
        for part in parts(&log, 200) {
            part.append_to(&store).await;
            sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::join!(troubling, appending);
    caught_up(&database.pool, &names()).await;
    stop.cancel();
    assert!(watching.await.expect("never broken") > 100);
    let fence: i64 = sqlx::query_scalar("select max(fence) from kafka_places").fetch_one(&database.pool).await.expect("fences");
    assert!(fence > 2, "partitions changed hands");
    drop(others);
    projector.stop().await;
    publisher.stop().await;
    assert_rows(&database, &log).await;
}
