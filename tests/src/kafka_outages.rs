//! What clients and operators see while Kafka is away, and of a Kafka that does not let everybody in.

use std::time::{Duration, Instant};

use crate::{
    broker::Kafka,
    client::{Answer, Client},
    database::Database,
    server::{Launch, Server},
    shop::{buy, confirmed, product, room_for, settled},
    topics,
};

const LIMIT: Duration = Duration::from_mins(1);
const PREFIX: &str = "outages";

async fn becomes_ready(client: &Client) -> Answer {
    client.until("/readyz", |answer| answer["status"] == "ready").await
}

/// The answer of `/readyz` once the publisher says `why`: a server that takes writes stays ready meanwhile.
async fn becomes_degraded(client: &Client, why: &str) -> Answer {
    let limit = Instant::now() + LIMIT;
    loop {
        let answer = client.get("/readyz").await.expect(200);
        if answer["status"] == "degraded" && detail(&answer).to_lowercase().contains(why) {
            return answer;
        }
        assert!(Instant::now() < limit, "the server does not say «{why}»: {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Detail that a failing publisher gives of itself; empty where it does not fail.
fn detail(answer: &Answer) -> &str {
    let roles = answer["roles"].as_array().expect("roles");
    let publisher = roles.iter().find(|role| role["name"] == "publisher" && role["state"] == "failing");
    publisher.and_then(|publisher| publisher["detail"].as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_kafka_is_away_commands_are_accepted_and_reads_say_that_they_are_old() {
    let Some(database) = Database::create().await else { return };
    let Some(kafka) = Kafka::start().await else { return };
    let _room = room_for(1).await;
    // From the start on.
    kafka.kill().await;
    let launch = Launch::on_database(&database.url).set("KAFKA_BROKERS", &kafka.brokers).set("KAFKA_TOPIC_PREFIX", PREFIX);
    let server = Server::start(launch).await;
    let client = server.client();
    let away = becomes_degraded(&client, "kafka can't be reached").await;
    assert!(detail(&away).contains(&kafka.brokers), "{away}");
    let sku = product(&client, "2", 10).await;
    let early = buy(&client, &[(&sku, 1)], "tok_ok").await.expect(201);
    // Read models follow the log until it is on Kafka; payments wait for that.
    let fresh = client.get_at(&format!("/v1/orders/{}", early.id()), early.position()).await.expect(200);
    assert_eq!(fresh.state(), "placed");
    kafka.start_again().await;
    becomes_ready(&client).await;
    assert_eq!(settled(&client, &early.id()).await.state(), "confirmed");
    confirmed(&client, &[(&sku, 1)]).await;
    until_on_kafka(&server).await;

    // In the middle.
    kafka.kill().await;
    let placed = buy(&client, &[(&sku, 2)], "tok_ok").await.expect(201);
    let path = format!("/v1/orders/{}", placed.id());
    let stale = client.get_once_at(&path, placed.position()).await.refused(503, "not_yet_visible");
    assert!(stale.header("retry-after").is_some(), "{stale}");
    becomes_degraded(&client, "kafka").await;
    client.until("/v1/projections", |all| all.items().iter().any(|one| one["name"] == "publisher" && one["state"] == "failing")).await;
    kafka.start_again().await;
    becomes_ready(&client).await;
    assert_eq!(settled(&client, &placed.id()).await.state(), "confirmed");
    let mut connection = database.connect().await;
    topics::compare(&kafka.brokers, PREFIX, &mut connection).await.pass();
}

/// Read models are handed over to Kafka once that has caught up with the log.
async fn until_on_kafka(server: &Server) {
    let limit = Instant::now() + LIMIT;
    while server.log().matches("is kept from Kafka from now on").count() < 7 {
        assert!(Instant::now() < limit, "the read models are not handed over to Kafka");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_with_passwords_and_certificates_lets_in_who_has_them_and_one_line_says_who_has_not() {
    let (Some(database), Some(other)) = (Database::create().await, Database::create().await) else { return };
    let Some(kafka) = Kafka::start().await else { return };
    let _room = room_for(2).await;
    for (file, prefix) in [("sasl.env", "passwords"), ("tls.env", "certificates")] {
        let shop = if file == "sasl.env" { &database } else { &other };
        let mut launch = Launch::on_database(&shop.url).set("KAFKA_TOPIC_PREFIX", prefix);
        for (name, value) in kafka.variables(file) {
            launch = launch.set(&name, &value);
        }
        let server = Server::start(launch).await;
        let client = server.client();
        confirmed(&client, &[(&product(&client, "2", 10).await, 1)]).await;
        topics::compare(&kafka.brokers, prefix, &mut shop.connect().await).await.pass();
    }
    let Some(third) = Database::create().await else { return };
    let mut launch = Launch::on_database(&third.url).set("KAFKA_TOPIC_PREFIX", "nobody");
    for (name, value) in kafka.variables("sasl.env") {
        launch = launch.set(&name, if name == "KAFKA_SASL_PASSWORD" { "wrong" } else { &value });
    }
    let server = Server::start(launch).await;
    becomes_degraded(&server.client(), "authentication").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let lines = server.log().lines().filter(|line| line.contains("events are not published")).count();
    assert_eq!(lines, 1, "{}", server.log());
}
