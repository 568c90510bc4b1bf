//! A backlog of events to Kafka, beside a producer that waits for each event's acknowledgement.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event_schemas::events::CATEGORIES;
use event_store::{
    EventStore,
    kafka::{
        Settings,
        publisher::{self, Health},
        topics,
    },
};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Extent, append,
    error::Error,
    kafka::Kafka,
    report::{Report, Run},
    server::Server,
    shop_log,
};

/// A million events.
const ORDERS: u128 = 200_000;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_mins(5);
/// About what an event weighs.
const BASELINE_BYTES: usize = 300;

/// Publishes the same log in each run, to topics of its own.
pub async fn run(server: &Server, extent: Extent) -> Result<Report, Error> {
    let kafka = Kafka::start()?;
    let options = server.database("merx").await?;
    let store = append::open(options.clone()).await?;
    shop_log::fill(&store, ORDERS).await?;
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        server.checkpoint().await?;
        let settings = Settings::plaintext(&kafka.brokers).with_prefix(format!("run-{nth}"));
        let rate = publish(&store, &options, &settings).await?;
        let baseline = one_by_one(&settings, extent.turn).await?;
        eprintln!("run {nth}: {rate:.0} events/s; one by one: {baseline:.0}");
        runs.push(Run::from([("per_second", Some(rate)), ("baseline_per_second", Some(baseline))]));
    }
    Ok(Report::of("publish", runs))
}

/// The rate at which the whole log is published, once the topics are there.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
async fn publish(store: &EventStore, options: &PgConnectOptions, settings: &Settings) -> Result<f64, Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::raw_sql("delete from kafka_published; delete from checkpoints where name = 'publisher'").execute(&mut connection).await?;
    let (head, stop) = (store.head().await?, CancellationToken::new());
    let (health, _) = watch::channel(Health::Ready);
    let publisher = publisher::run(store.clone(), Arc::new(settings.clone()), Uuid::now_v7(), stop.clone(), health);
    let publisher = tokio::spawn(publisher);
    let mut began = None;
    let started = Instant::now();
    loop {
        let position: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from checkpoints where name = 'publisher'")
            .fetch_one(&mut connection)
            .await?;
        if position > 0 && began.is_none() {
            began = Some((Instant::now(), position));
        }
        if position >= head {
            break;
        }
        if started.elapsed() > LIMIT {
            return Err(Error::Wrong(format!("only {position} of {head} events were published")));
        }
        sleep(LOOK_INTERVAL).await;
    }
    let rate = began.map_or(0.0, |(at, from)| (head - from) as f64 / at.elapsed().as_secs_f64());
    stop.cancel();
    let _ = publisher.await;
    Ok(rate)
}

/// What a producer manages that sends the next event when the one before has been acknowledged.
async fn one_by_one(settings: &Settings, time: Duration) -> Result<f64, Error> {
    let failed = |error: rdkafka::error::KafkaError| Error::Program { program: "Kafka".into(), why: error.to_string() };
    let mut config = settings.client_config();
    let producer: FutureProducer =
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0").create().map_err(failed)?;
    let topic = topics::of_category(&settings.prefix, CATEGORIES.first().unwrap_or(&"order"));
    let (value, began, mut sent) = ("x".repeat(BASELINE_BYTES), Instant::now(), 0_u32);
    while began.elapsed() < time {
        producer.send(FutureRecord::to(&topic).key("baseline").payload(&value), LIMIT).await.map_err(|(error, _)| failed(error))?;
        sent += 1;
    }
    Ok(f64::from(sent) / began.elapsed().as_secs_f64())
}
