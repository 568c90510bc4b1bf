//! The log on Kafka: on the broker that `MERX_TEST_KAFKA_BROKERS` names, otherwise on librdkafka's mock cluster, which is said. Each test has topics of its
//! own, and a database of its own on the server that `MERX_TEST_DATABASE_URL` names; without that they are skipped.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can not go on has failed")]

mod broker;
#[expect(dead_code, reason = "the tests of the log need more of it")]
#[path = "../log/database.rs"]
mod database;
mod feeding;
mod places;
mod publishing;
mod takeover;
mod troubles;
