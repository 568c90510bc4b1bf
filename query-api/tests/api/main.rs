//! Drives the routes against a Postgres whose read models are filled by hand.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod carts;
mod catalogue;
mod freshness;
mod history;
mod orders;
mod parked;
mod plans;
mod products;
mod sales;
mod shop;
mod snapshots;
