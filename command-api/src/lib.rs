//! The writes of a shop: HTTP -> command -> handler -> log, and the process managers that react to events.
//!
//! - [`routes`]: what clients may ask, and how it is answered ([`write`], [`refusals`], [`idempotency`])
//! - [`handler`]: from a command to committed events; [`together`]: two of them in one transaction
//! - [`checkout`], [`pricing`]: from a cart to an order; [`category_tree`]: where a category may stand
//! - [`process`]: the process managers; [`payment_gateway`]: the payment worker and the gateways it asks

pub mod category_tree;
pub mod checkout;
pub mod handler;
pub mod idempotency;
pub mod payment_gateway;
pub mod pricing;
pub mod process;
pub mod refusals;
pub mod routes;
pub mod shop;
#[cfg(test)]
mod test_database;
pub mod together;
pub mod write;

pub use routes::routes;
pub use shop::{Settings, Shop};
