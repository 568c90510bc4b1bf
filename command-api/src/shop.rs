//! All that commands need: the log, a handler for each kind of aggregate, and the settings.

use std::{ops::Deref, sync::Arc};

use chrono::{Duration, Utc};
use domain::{
    cart::Cart, category::Category, flash_sale::FlashSale, order::Order, payment::Payment, product::Product, projection::Projection,
    review::Review, stock::Stock,
};
use event_schemas::Timestamp;
use event_store::EventStore;

use crate::handler::Handler;

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a payment may take before its order is cancelled (`MERX_PAYMENT_DEADLINE_S`).
    pub payment_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { payment_deadline: Duration::seconds(900) }
    }
}

/// The write side of a shop. Cheap to clone; all clones share the handlers and what these have cached.
#[derive(Clone)]
pub struct Shop(Arc<Inner>);

/// What a [`Shop`] holds.
pub struct Inner {
    /// The log.
    pub store: EventStore,
    /// The categories of the catalogue.
    pub categories: Handler<Category>,
    /// The products.
    pub products: Handler<Product>,
    /// Their stock.
    pub stock: Handler<Stock>,
    /// Flash sales.
    pub flash_sales: Handler<FlashSale>,
    /// Carts.
    pub carts: Handler<Cart>,
    /// Orders.
    pub orders: Handler<Order>,
    /// Their payments.
    pub payments: Handler<Payment>,
    /// Reviews.
    pub reviews: Handler<Review>,
    /// The requests that operators make of the consumers of the log.
    pub projections: Handler<Projection>,
    /// The settings.
    pub settings: Settings,
}

impl Shop {
    /// A shop on `store`.
    #[must_use]
    pub fn new(store: EventStore, settings: Settings) -> Self {
        // About how many streams of each kind stay in memory: these bound the server's size, whatever the log's.
        Self(Arc::new(Inner {
            categories: Handler::new(store.clone(), 2_000),
            products: Handler::new(store.clone(), 10_000),
            stock: Handler::new(store.clone(), 10_000),
            flash_sales: Handler::new(store.clone(), 1_000),
            carts: Handler::new(store.clone(), 5_000),
            orders: Handler::new(store.clone(), 5_000),
            payments: Handler::new(store.clone(), 5_000),
            reviews: Handler::new(store.clone(), 1_000),
            projections: Handler::new(store.clone(), 100),
            store,
            settings,
        }))
    }
}

impl Deref for Shop {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The time of a command that begins now.
#[must_use]
pub fn now() -> Timestamp {
    Utc::now().into()
}
