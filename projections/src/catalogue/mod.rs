//! Categories and products.

pub(crate) mod categories;
pub(crate) mod products;

use std::sync::Arc;

use event_schemas::Recorded;
use futures::FutureExt as _;
use sqlx::PgConnection;

use crate::{Applied, Error, Projection};

pub(crate) struct Catalogue;

impl Projection for Catalogue {
    fn name(&self) -> &'static str {
        "catalogue"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["categories", "products"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["category", "product"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    categories::apply(&mut *connection, events).await?;
    products::apply(connection, events).await
}
