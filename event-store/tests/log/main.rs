//! The log against a real Postgres. Each test has a database of its own, made where `MERX_TEST_DATABASE_URL` says; without that they are
//! skipped.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can not go on has failed")]

mod append;
mod consumers;
mod crash;
mod database;
mod feed;
mod group;
mod hammer;
mod large;
mod law;
mod program;
mod read;
mod snapshots;
mod tails;
mod timeline;
mod verify;
