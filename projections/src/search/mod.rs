//! What search finds: a row for each product, out of four kinds of streams.
//!
//! Each source writes columns of its own, so that two processes may fold two of them at once. `changed_position` grows with every event that
//! changes what an index holds of the product, and only then: an order that leaves some of its stock changes nothing that is searched, nor does a
//! flash sale that starts or ends by its time, since an index knows both.

mod categories;
mod products;
mod ratings;
mod stock;

use std::sync::Arc;

use event_schemas::Recorded;
use futures::FutureExt as _;
use sqlx::PgConnection;

use crate::{Applied, Error, Projection};

pub(crate) struct Search;

impl Projection for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    fn version(&self) -> i32 {
        2 // since it knows the flash sales of a product
    }

    fn tables(&self) -> &'static [&'static str] {
        &["search_products", "search_reviews", "search_categories"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["category", "product", "review", "stock"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    products::apply(&mut *connection, events).await?;
    stock::apply(&mut *connection, events).await?;
    ratings::apply(&mut *connection, events).await?;
    // Last, since a category marks the products that are in it now.
    categories::apply(connection, events).await
}
