//! An older state of the database restored under servers that run, as `docs/operating.md` tells how to: on the log, and over Kafka.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::NamedTempFile;

use crate::{
    client::Client,
    database::{Database, skipped},
    kafka::{Message, brokers, everything},
    server::merx,
    shop::{Shop, confirmed, product, stock_becomes, unique},
};

fn tool(name: &str) -> Command {
    let directory = std::env::var_os("MERX_POSTGRES_BIN");
    Command::new(directory.map_or_else(|| name.into(), |directory| Path::new(&directory).join(name)))
}

/// A dump of the database; none, and a line that says so, without `pg_dump`.
fn dump(database: &Database) -> Option<NamedTempFile> {
    let file = NamedTempFile::new().expect("a file");
    let dumped = tool("pg_dump").arg("--no-owner").arg("--file").arg(file.path()).arg(&database.url).status();
    let Ok(status) = dumped else {
        skipped("pg_dump");
        return None;
    };
    assert!(status.success(), "pg_dump: {status}");
    Some(file)
}

/// Puts the dump in the place of the database, whoever is connected to it.
async fn restore(database: &Database, dump: &NamedTempFile) {
    let name = database.url.rsplit_once('/').expect("a name").1;
    let mut server = PgConnection::connect_with(&database.options.clone().database("postgres")).await.expect("the server");
    for statement in [format!("drop database {name} with (force)"), format!("create database {name}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await.expect("the database is replaced");
    }
    let mut psql = tool("psql");
    psql.args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--output", "/dev/null", "--file"]);
    let status = psql.arg(dump.path()).arg(&database.url).status().expect("psql");
    assert!(status.success(), "psql: {status}");
}

/// Waits until every consumer of the log has all of it, and says so.
async fn settled(client: &Client) -> Value {
    let is_settled = |projections: &crate::client::Answer| {
        let head = projections["head"].as_i64().unwrap_or(-1);
        let consumers = projections["items"].as_array().expect("consumers");
        consumers.len() >= 8 && consumers.iter().all(|one| one["position"].as_i64() == Some(head) && one["state"] == "live")
    };
    client.until("/v1/projections", is_settled).await.body
}

/// Waits until a write is accepted: the connection that appends learns by the first one that its database is gone, and answers 503.
async fn until_written(client: &Client) {
    for _ in 0..100 {
        let answer = client.post("/v1/carts", json!({"currency": "GBP"})).await;
        if answer.status != 503 {
            answer.expect(201);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("nothing is written any more");
}

async fn found(client: &Client, sku: &str) -> bool {
    let answer = client.get(&format!("/v1/search?q={sku}")).await.expect(200);
    answer.items().iter().any(|item| item["sku"] == *sku)
}

/// Waits until search finds `wanted`.
async fn until_found(client: &Client, wanted: &str) {
    let has = |answer: &crate::client::Answer| answer.items().iter().any(|item| item["sku"] == *wanted);
    client.until(&format!("/v1/search?q={wanted}"), has).await;
}

#[tokio::test]
async fn a_server_whose_database_was_put_back_goes_on_with_what_is_there() {
    let Some(mut shop) = Shop::open().await else { return };
    let kept = product(&shop, "2", 10).await;
    until_found(&shop, &kept).await;
    let before = settled(&shop).await;
    let Some(backup) = dump(&shop.database) else { return };
    let (lost, late) = (product(&shop, "3", 5).await, confirmed(&shop, &[(&kept, 4)]).await);
    until_found(&shop, &lost).await;
    let timeline = shop.get("/v1/projections").await.expect(200)["timeline"]["id"].clone();
    restore(&shop.database, &backup).await;
    // What was lost is nowhere, and what was acknowledged before is there.
    shop.until("/v1/projections", |projections| projections["head"] == before["head"] && projections["timeline"]["id"] != timeline).await;
    let now = settled(&shop).await;
    assert!(now["timeline"]["since"].as_i64() <= before["head"].as_i64(), "{now}");
    // Whatever is asked for first does not meet the connections that broke.
    for path in ["/v1/events".to_owned(), format!("/v1/streams/product-{kept}"), format!("/v1/streams/product-{kept}/state")] {
        shop.get(&path).await.expect(200);
    }
    let readiness = shop.get("/readyz").await.expect(200);
    assert_eq!(
        (&readiness["status"], &readiness["went_back"]["since"]),
        (&json!("degraded"), &now["timeline"]["since"]),
        "{}",
        readiness.body
    );
    shop.get(&format!("/v1/products/{lost}")).await.expect(404);
    shop.get(&format!("/v1/orders/{late}")).await.expect(404);
    stock_becomes(&shop, &kept, 10, 0).await;
    // Nothing is decided on it, and nothing that comes instead is left out.
    until_written(&shop).await;
    let next = product(&shop, "4", 7).await;
    confirmed(&shop, &[(&kept, 8), (&next, 7)]).await;
    stock_becomes(&shop, &kept, 2, 0).await;
    until_found(&shop, &next).await;
    assert!(!found(&shop, &lost).await, "search finds what was lost");
    settled(&shop).await;
    let metrics = String::from_utf8(shop.get("/metrics").await.expect(200).bytes.to_vec()).expect("text");
    assert!(metrics.lines().any(|line| line.starts_with("merx_log_went_back_total ") && !line.ends_with(" 0")), "no metric tells of it");
    assert!(shop.server().log().contains("the log has gone back"), "the log does not tell of it");
    let output = merx(&["verify"]).env("DATABASE_URL", &shop.database.url).output().expect("merx verify");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_index_of_lost_events_is_filled_anew_where_the_log_has_outgrown_it_meanwhile() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let Some(mut shop) = Shop::open_with(1, &[("MERX_DATA_DIR", &directory.path().display().to_string())]).await else { return };
    let kept = product(&shop, "2", 10).await;
    settled(&shop).await;
    let Some(backup) = dump(&shop.database) else { return };
    let lost = product(&shop, "3", 5).await;
    until_found(&shop, &lost).await;
    assert!(shop.server().stop().success());
    restore(&shop.database, &backup).await;
    // By way of a server with an index of its own.
    let elsewhere = tempfile::TempDir::new().expect("a directory");
    let launch = shop.server().launch().clone().set("MERX_DATA_DIR", &elsewhere.path().display().to_string());
    let other = crate::server::Server::start(launch).await;
    let client = other.client();
    for _ in 0..5 {
        product(&client, "4", 5).await;
    }
    settled(&client).await;
    drop(other);
    shop.server().start_again().await;
    until_found(&shop, &kept).await;
    let next = product(&shop, "5", 1).await;
    until_found(&shop, &next).await;
    assert!(!found(&shop, &lost).await, "search finds what was lost");
}

#[tokio::test]
async fn lost_events_on_kafka_are_applied_by_nobody() {
    let Some(brokers) = brokers() else { return };
    let prefix = unique("back");
    let settings = [("KAFKA_BROKERS", brokers.as_str()), ("KAFKA_TOPIC_PREFIX", prefix.as_str()), ("KAFKA_PARTITIONS", "2")];
    let Some(mut shop) = Shop::open_with(1, &settings).await else { return };
    let kept = product(&shop, "2", 10).await;
    confirmed(&shop, &[(&kept, 1)]).await;
    let before = settled(&shop).await;
    let Some(backup) = dump(&shop.database) else { return };
    for round in ["under it", "while it was stopped"] {
        let lost = product(&shop, "3", 5).await;
        confirmed(&shop, &[(&lost, 4)]).await;
        settled(&shop).await;
        if round == "under it" {
            restore(&shop.database, &backup).await;
        } else {
            // Nobody but the topics remembers what was lost then.
            assert!(shop.server().stop().success());
            restore(&shop.database, &backup).await;
            shop.server().start_again().await;
        }
        shop.until("/v1/projections", |projections| projections["timeline"]["since"].as_i64() > Some(0)).await;
        // As many events as before at least, and others: they fit by their positions.
        until_written(&shop).await;
        let next = product(&shop, "4", 6).await;
        confirmed(&shop, &[(&kept, 9)]).await;
        let now = settled(&shop).await;
        shop.get(&format!("/v1/products/{lost}")).await.expect(404);
        shop.get(&format!("/v1/products/{next}")).await.expect(200);
        stock_becomes(&shop, &kept, 0, 0).await;
        assert!(now["head"].as_i64() > before["head"].as_i64());
        let id = now["timeline"]["id"].as_str().expect("an id").to_owned();
        let since = now["timeline"]["since"].as_i64().expect("a position");
        // Who follows the rule of docs/consuming.md has the log, event for event.
        let messages = everything(&brokers, &prefix).await;
        let of_now: Vec<i64> = messages.iter().filter(|message| message.header("ce_timeline") == id).map(Message::position).collect();
        let all: Vec<i64> = (since + 1..=now["head"].as_i64().expect("a position")).collect();
        let mut sorted = of_now;
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted, all, "{round}: everything after the common event is published again");
    }
}
