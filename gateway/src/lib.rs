//! The edge that both HTTP APIs share: what a request may look like, how a refusal is told, and how routes describe themselves.
//!
//! A handler takes the extractors of [`body`], [`query`], [`path`], [`conditional`], [`position`] and [`idempotency`], and answers with a
//! `Result<_, Problem>`. Routes are declared in an [`openapi::Routes`] table, which becomes both the router and its OpenAPI document; [`listener`]
//! serves it.

pub mod body;
pub mod conditional;
pub mod fallback;
pub mod idempotency;
mod json;
pub mod listener;
pub mod metrics;
pub mod openapi;
pub mod page;
pub mod path;
pub mod position;
pub mod problem;
pub mod query;
mod refusal;
pub mod request;
mod shape;
#[cfg(test)]
mod tests;

pub use body::{Json, JsonBytes};
pub use conditional::{ETag, IfMatch, IfNoneMatch};
pub use idempotency::{Credential, IdempotencyKey};
pub use openapi::{Route, Routes};
pub use page::{Cursor, CursorText, Limit, Page};
pub use path::{Path, Path2};
pub use position::{MinPosition, Position};
pub use problem::{FieldError, Problem};
pub use query::Query;
pub use request::RequestId;
