//! Tests of the whole of Merx from outside: they start the binary, talk HTTP to it, kill it, and look at what it promised.
//!
//! They need `target/release/merx` (or another, named by `MERX_BIN`) and, for a database of each test's own, the URL of a Postgres
//! superuser in `MERX_TEST_DATABASE_URL`. Some need a Kafka (`MERX_TEST_KAFKA_BROKERS`) or a Python with the packages of `requirements.txt`
//! (`MERX_TEST_PYTHON`). `script/test` sees to all of them.

#[cfg(test)]
mod asyncapi;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod buying;
#[cfg(test)]
mod campaign;
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod consuming;
#[cfg(test)]
mod conventions;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod database;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod flash_sales;
#[cfg(test)]
mod fulfilment;
#[cfg(test)]
mod history;
#[cfg(test)]
mod importing;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod kafka_outages;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod memory_large;
#[cfg(test)]
mod old_events;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod parked;
#[cfg(test)]
mod payments;
#[cfg(test)]
mod prepared_queries;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod search;
#[cfg(test)]
mod server;
#[cfg(test)]
mod several_servers;
#[cfg(test)]
mod shop;
#[cfg(test)]
mod tending;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod went_back;
