//! Writing the products of the history, and the units that are to be sold.
//!
//! A command's id is made from the title and price that the file gives. So importing the same file again changes nothing, not even
//! where somebody has edited a product since, and a file with a later price does change it.

use command_api::handler::Handler;
use domain::{
    product::{Change, Command, Listing as Known, Product, Refusal, State},
    stock::{self, Stock},
};
use event_schemas::{Currency, Money, StreamId, events::product::Description, ids::Sku};
use event_store::EventStore;
use rust_decimal::Decimal;

use super::reading::Listing;
use crate::import::{
    Error, Rejection,
    run::{CACHED_STREAMS, Run, Written, decided},
};

/// The client's name for the delivery of the units that are to be sold.
const REFERENCE: &str = "import:online-retail";

/// What became of a product.
pub struct Outcome {
    /// The product itself.
    pub written: Written,
    /// Whether its units were received now, rather than before; none where none were asked for.
    pub received: Option<bool>,
    /// Why it was left as it was, or got no units.
    pub refused: Option<Rejection>,
}

/// Writes products.
pub struct Writer<'r> {
    run: &'r Run,
    products: Handler<Product>,
    stock: Handler<Stock>,
    currency: Currency,
    units: Option<u32>,
}

impl<'r> Writer<'r> {
    /// Into `store`, with so many `units` each.
    pub fn new(store: &EventStore, run: &'r Run, currency: Currency, units: Option<u32>) -> Self {
        let (products, stock) = (Handler::new(store.clone(), CACHED_STREAMS), Handler::new(store.clone(), CACHED_STREAMS));
        Self { run, products, stock, currency, units }
    }

    /// Writes a product, and receives its units.
    pub async fn write(&self, sku: Sku, listing: Listing) -> Result<Outcome, Error> {
        let title = listing.title.unwrap_or_else(|| sku.to_string());
        let price = listing.price.map(|price| self.money(price));
        let (written, refusal) = match self.create(&sku, &title, price).await? {
            Ok(is_new) => (if is_new { Written::Created } else { Written::Already }, None),
            Err(Refusal::Taken { .. }) => match self.change(&sku, title, price).await? {
                Ok(written) => (written, None),
                Err(refusal) => (Written::Already, Some(refusal.to_string())),
            },
            Err(refusal) => (Written::Already, Some(refusal.to_string())),
        };
        self.archive_if_unpriced(&sku, price).await?;
        let (received, refusal) = match self.units {
            None => (None, refusal),
            Some(units) => match self.receive(&sku, units).await? {
                Ok(is_new) => (Some(is_new), refusal),
                Err(again) => (None, refusal.or(Some(again))),
            },
        };
        let refused = refusal.map(|reason| Rejection { line: 0, rows: 0, reason: format!("product {sku}: {reason}"), amount: None });
        Ok(Outcome { written, received, refused })
    }

    async fn create(&self, sku: &Sku, title: &str, price: Option<Money>) -> Result<Result<bool, Refusal>, Error> {
        let description = Description { title: title.to_owned(), ..Description::default() };
        let price = price.unwrap_or(Money::zero(self.currency));
        let context = self.run.once(&["product", sku.as_str(), title, &price.to_string()]);
        let command = Command::Create { sku: sku.clone(), description, price };
        let created = decided(self.products.run(&StreamId::product(sku), &command, &context, |_, _| ()).await)?;
        Ok(created.map(|accepted| !accepted.unchanged))
    }

    /// Gives a product that exists the file's title and price. One that was archived for want of a price is sold from its first one on.
    async fn change(&self, sku: &Sku, title: String, price: Option<Money>) -> Result<Result<Written, Refusal>, Error> {
        let stream = StreamId::product(sku);
        let context = self.run.once(&["product", sku.as_str(), &title, &price.unwrap_or(Money::zero(self.currency)).to_string()]);
        let (was_unpriced, _, _) = self.products.current(&stream, |state, _| is_archived_without_price(state)).await?;
        // A file that knows no price knows no title either.
        let title = price.map(|_| title);
        let archived = (was_unpriced && price.is_some()).then_some(false);
        let command = Command::Change(Box::new(Change { title, price, archived, ..Change::default() }));
        let changed = decided(self.products.run(&stream, &command, &context, |_, _| ()).await)?;
        Ok(changed.map(|accepted| if accepted.unchanged { Written::Already } else { Written::Changed }))
    }

    /// What never had a price must not be sold for nothing.
    async fn archive_if_unpriced(&self, sku: &Sku, price: Option<Money>) -> Result<(), Error> {
        let stream = StreamId::product(sku);
        if price.is_some() || !self.products.current(&stream, |state, _| state.listing().is_some_and(is_free)).await?.0 {
            return Ok(());
        }
        let command = Command::Change(Box::new(Change { archived: Some(true), ..Change::default() }));
        let context = self.run.once(&["unpriced product", sku.as_str()]);
        let archived = decided(self.products.run(&stream, &command, &context, |_, _| ()).await)?;
        archived.map(|_| ()).map_err(|refusal| Error::Internal(refusal.to_string()))
    }

    async fn receive(&self, sku: &Sku, units: u32) -> Result<Result<bool, String>, Error> {
        let command = stock::Command::Receive { quantity: units, reference: REFERENCE.into() };
        let received = self.stock.run(&StreamId::stock(sku), &command, &self.run.once(&["stock", sku.as_str()]), |_, _| ()).await;
        Ok(decided(received)?.map(|accepted| !accepted.unchanged).map_err(|refusal| refusal.to_string()))
    }

    /// A price in the catalogue has the currency's digits at least: 8.5 is 8.50.
    fn money(&self, mut price: Decimal) -> Money {
        price.rescale(price.scale().max(self.currency.minor_digits()));
        Money::new(price, self.currency)
    }
}

fn is_free(listing: &Known) -> bool {
    listing.price.amount.is_zero()
}

fn is_archived_without_price(state: &State) -> bool {
    matches!(state, State::Archived(listing) if is_free(listing))
}
