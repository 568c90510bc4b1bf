//! Every GET of Merx: read models, live streams, and history for auditors.
//!
//! - [`catalogue`], [`product`], [`review`], [`stock`], [`flash_sale`], [`cart`], [`order`], [`sales`]: from the tables that projections
//!   keep, each in one statement that also tells how new its rows are
//! - [`search`]: what an index finds, shown from the same tables
//! - [`stream`], [`log`]: from the log itself
//! - [`progress`]: how far the consumers of the log have come
//! - [`freshness`]: waiting until a read model is as new as a client needs it
//!
//! Nothing here writes, but for states of long streams that are kept so that they are cheap to show again.

mod answer;
mod cart;
mod catalogue;
mod error;
mod flash_sale;
mod freshness;
mod log;
mod order;
mod product;
mod progress;
mod review;
mod sales;
mod search;
mod stock;
mod stream;

use std::{sync::Arc, time::Duration};

use event_store::EventStore;
use gateway::Routes;
use sqlx::PgPool;
use tokio::sync::watch;

use ::search::Index;
use event_schemas::Currency;
use freshness::Checkpoints;
pub use freshness::answered;

/// Connections that history is read over.
const SCAN_CONNECTIONS: u32 = 4;
/// The longest that a request waits for one of them.
const SCAN_PATIENCE: Duration = Duration::from_secs(2);
/// The longest that one statement may take there, in milliseconds.
const SCAN_LIMIT_MS: &str = "5000";

/// What the handlers read from. Cheap to clone.
#[derive(Clone)]
pub struct Queries {
    store: EventStore,
    reads: PgPool,
    checkpoints: Arc<Checkpoints>,
    closing: Arc<watch::Sender<bool>>,
    waiters: Arc<log::Waiters>,
    search: Option<Arc<dyn Index>>,
    currency: Option<Currency>,
}

impl Queries {
    /// Reads history from `store` over a few connections of its own, and read models through `reads` (the store's own pool, or one apart, so
    /// that slow reads never keep appends waiting).
    #[must_use]
    pub fn new(store: &EventStore, reads: PgPool, search: Option<Arc<dyn Index>>) -> Self {
        let checkpoints = Arc::new(Checkpoints::new(reads.clone()));
        let store = store.reading_over(scans(&reads));
        let waiters = Arc::new(log::Waiters::new(store.clone()));
        Self { store, reads, checkpoints, closing: Arc::new(watch::Sender::new(false)), waiters, search, currency: None }
    }

    /// The same of a shop whose prices are compared in `currency` where nobody says in which.
    #[must_use]
    pub fn in_currency(self, currency: Option<Currency>) -> Self {
        Self { currency, ..self }
    }

    /// Answers every long poll at once, now and from now on: call it when the server begins to stop.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// The connections that history is read over: few, and none of those that anything else needs. They are made when they are needed.
fn scans(reads: &PgPool) -> PgPool {
    let options = reads.connect_options().as_ref().clone().options([("statement_timeout", SCAN_LIMIT_MS)]);
    let pool = reads.options().clone().min_connections(0).max_connections(SCAN_CONNECTIONS).acquire_timeout(SCAN_PATIENCE);
    pool.connect_lazy_with(options)
}

/// A stored event as clients see it, on one line of JSON.
///
/// # Errors
/// Its payload or metadata is no JSON, which the database rules out.
pub fn event_json(event: event_store::StoredEvent) -> Result<String, serde_json::Error> {
    serde_json::to_string(&log::StoredEvent::try_from(event)?)
}

/// The routes of all of it.
pub fn routes(state: Queries) -> Routes<()> {
    [
        catalogue::routes(),
        product::routes(),
        review::routes(),
        stock::routes(),
        flash_sale::routes(),
        cart::routes(),
        order::routes(),
        stream::routes(),
        log::routes(),
        sales::routes(),
        search::routes(),
        progress::routes(),
    ]
    .into_iter()
    .fold(Routes::new(), Routes::merge)
    .with_state(state)
}
