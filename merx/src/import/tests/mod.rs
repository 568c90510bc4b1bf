//! Imports into a real Postgres: each test has a database of its own on `MERX_TEST_DATABASE_URL`; without that they say so and pass.

mod catalogue;
mod database;
mod demo;
mod full;
mod online_retail;
