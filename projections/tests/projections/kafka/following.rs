use event_store::kafka::publisher;
use projections::Source;

use super::{Cluster, Running, assert_rows, caught_up, names, open, owned, parts, seated};
use crate::{database::Database, story};

/// A database with a publisher and all projections on Kafka.
async fn begin(cluster: &Cluster) -> Option<(Database, event_store::EventStore, Running, Running)> {
    let database = Database::create().await?;
    let store = open(&database).await;
    let publisher = Running::publisher(&store, cluster);
    let projector = Running::projector(&store, projections::all(), &cluster.source());
    seated(&database.pool, &names()).await;
    owned(&database.pool, &names()).await;
    Some((database, store, publisher, projector))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_those_of_the_log_and_what_comes_again_is_dropped() {
    let cluster = Cluster::start();
    let Some((database, store, publisher, projector)) = begin(&cluster).await else { return };
    let log = story::shop(90);
    let [first, second] = &parts(&log, 2)[..] else { panic!("two parts") };
    first.append_to(&store).await;
    caught_up(&database.pool, &names()).await;
    let from_kafka = "select count(*) from kafka_places where consumer = 'orders' and next_offset > 0";
    let read: i64 = sqlx::query_scalar(from_kafka).fetch_one(&database.pool).await.expect("an answer");
    assert!(read > 0, "it came by way of Kafka");
    // Everything once more, amid what is new.
    let again = publisher::send_again(&database.pool, 1).await.expect("sent again");
    assert_eq!(again, first.events.len() as i64);
    second.append_to(&store).await;
    caught_up(&database.pool, &names()).await;
    projector.stop().await;
    publisher.stop().await;
    assert_rows(&database, &log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_does_not_bring_is_read_from_the_log() {
    let cluster = Cluster::start();
    let Some((database, store, publisher, projector)) = begin(&cluster).await else { return };
    let log = story::shop(90);
    let [first, second, third] = &parts(&log, 3)[..] else { panic!("three parts") };
    first.append_to(&store).await;
    caught_up(&database.pool, &names()).await;
    projector.stop().await;
    second.append_to(&store).await;
    let all_of_it = "select count(*) from checkpoints c join log_head h on c.position = h.position where c.name = any($1)";
    super::until(&database.pool, all_of_it, &["publisher".into()], 1).await;
    // As if the second part had gone from the topics: some partitions get more later, and some nothing at all.
    let lost = "update kafka_places p set next_offset = k.next_offset from kafka_published k where k.topic = p.topic and k.partition = p.partition";
    sqlx::query(lost).execute(&database.pool).await.expect("lost");
    let projector = Running::projector(&store, projections::all(), &cluster.source());
    third.append_to(&store).await;
    caught_up(&database.pool, &names()).await;
    projector.stop().await;
    publisher.stop().await;
    assert_rows(&database, &log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_log_to_kafka_and_back_and_again_nothing_is_applied_twice() {
    let cluster = Cluster::start();
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let publisher = Running::publisher(&store, &cluster);
    let log = story::shop(120);
    for (nth, part) in parts(&log, 4).iter().enumerate() {
        let is_on_kafka = nth % 2 == 1;
        let source = if is_on_kafka { cluster.source() } else { Source::Log };
        let projector = Running::projector(&store, projections::all(), &source);
        if is_on_kafka {
            seated(&database.pool, &names()).await;
        }
        part.append_to(&store).await;
        // Kafka is left in the middle, with partitions at different places.
        if !is_on_kafka {
            caught_up(&database.pool, &names()).await;
            let places: i64 = sqlx::query_scalar("select count(*) from kafka_places").fetch_one(&database.pool).await.expect("known");
            assert_eq!(places, 0, "it is kept from the log");
        }
        projector.stop().await;
    }
    let projector = Running::projector(&store, projections::all(), &Source::Log);
    caught_up(&database.pool, &names()).await;
    projector.stop().await;
    publisher.stop().await;
    assert_rows(&database, &log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_away_make_rows_old_and_nothing_else() {
    let cluster = Cluster::mock();
    cluster.set_up(false);
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let log = story::shop(60);
    let [first, second, third] = &parts(&log, 3)[..] else { panic!("three parts") };
    // At the start there is the log.
    let publisher = Running::publisher(&store, &cluster);
    let projector = Running::projector(&store, projections::all(), &cluster.source());
    first.append_to(&store).await;
    caught_up(&database.pool, &names()).await;
    cluster.set_up(true);
    seated(&database.pool, &names()).await;
    owned(&database.pool, &names()).await;
    // In the middle.
    cluster.set_up(false);
    let failing = "select count(*) from checkpoints where name = any($1) and failure like 'Kafka can''t be reached%'";
    super::until(&database.pool, failing, &names(), names().len()).await;
    second.append_to(&store).await;
    let (stale, head): (i64, i64) =
        sqlx::query_as("select (select max(position) from checkpoints where name <> 'publisher'), (select position from log_head)")
            .fetch_one(&database.pool)
            .await
            .expect("positions");
    assert!(stale < head, "nothing is promised that is not there");
    // A projector that starts meanwhile waits, too.
    projector.stop().await;
    let projector = Running::projector(&store, projections::all(), &cluster.source());
    super::until(&database.pool, failing, &names(), names().len()).await;
    cluster.set_up(true);
    third.append_to(&store).await;
    caught_up(&database.pool, &names()).await;
    super::until(&database.pool, "select count(*) from checkpoints where name = any($1) and failure is not null", &names(), 0).await;
    projector.stop().await;
    publisher.stop().await;
    assert_rows(&database, &log).await;
}
