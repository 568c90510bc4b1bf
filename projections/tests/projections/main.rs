//! Projections against a real Postgres: what rows come of what events. Each test has a database of its own, made where
//! `MERX_TEST_DATABASE_URL` says; without that they are skipped. Those on Kafka use the one that `MERX_TEST_KAFKA_BROKERS` names; without that,
//! librdkafka's mock cluster.

#![expect(clippy::expect_used, reason = "a test that can not be set up has failed")]

mod batches;
mod cart_rows;
mod catalogue_rows;
mod comparing;
mod database;
mod flash_sale_rows;
mod kafka;
mod log;
mod newer;
mod order_rows;
mod parking;
mod rebuilds;
mod review_rows;
mod sales_rows;
mod stock_rows;
mod story;
mod workers;
