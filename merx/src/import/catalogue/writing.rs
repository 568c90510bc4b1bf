//! Writing categories, products and the units they come with.

use std::collections::BTreeMap;

use command_api::handler::Handler;
use domain::{
    category::{self, Category},
    product::{Change, Command, Product, Refusal},
    stock::{self, Stock},
};
use event_schemas::{
    StreamId,
    events::product::Description,
    ids::{CategoryId, Sku},
};
use event_store::EventStore;

use super::{
    Existing,
    row::{Row, Said},
};
use crate::import::{
    Error, Rejection,
    run::{CACHED_STREAMS, Run, Written, decided},
};

/// The client's name for the delivery of a row's units.
const REFERENCE: &str = "import:catalogue";

/// What became of a row: of its product, and whether its units were received now, rather than before; none where it has none.
pub type Outcome = Result<(Written, Option<bool>), Rejection>;

/// Writes rows.
pub struct Writer<'r> {
    run: &'r Run,
    existing: Existing,
    categories: Handler<Category>,
    products: Handler<Product>,
    stock: Handler<Stock>,
}

impl<'r> Writer<'r> {
    /// Into `store`.
    pub fn new(store: &EventStore, run: &'r Run, existing: Existing) -> Self {
        Self {
            run,
            existing,
            categories: Handler::new(store.clone(), CACHED_STREAMS),
            products: Handler::new(store.clone(), CACHED_STREAMS),
            stock: Handler::new(store.clone(), CACHED_STREAMS),
        }
    }

    /// Makes a category, and says whether it was not there.
    pub async fn write_category(&self, id: CategoryId, name: String) -> Result<bool, Error> {
        let stream = StreamId::category_of(&id);
        let command = category::Command::Create { id, name, parent: None, lineage: Vec::new() };
        match decided(self.categories.run(&stream, &command, &self.run.again(), |_, _| ()).await)? {
            Ok(_) => Ok(true),
            Err(category::Refusal::Taken { .. }) => Ok(false),
            Err(refusal) => Err(Error::Internal(refusal.to_string())),
        }
    }

    /// Makes or changes a product, and receives its units.
    pub async fn write(&self, row: Row) -> Result<Outcome, Error> {
        let (line, sku, units) = (row.line, row.sku.clone(), row.stock);
        let refused = |reason: String| Ok(Err(Rejection { line, rows: 1, reason, amount: None }));
        let written = match self.create(&row).await? {
            Ok(()) => Written::Created,
            Err(Refusal::Taken { .. }) if self.existing == Existing::Keep => Written::Already,
            Err(Refusal::Taken { .. }) => match self.change(row).await? {
                Ok(written) => written,
                Err(refusal) => return refused(refusal.to_string()),
            },
            Err(refusal) => return refused(refusal.to_string()),
        };
        match self.receive(&sku, units).await? {
            Ok(received) => Ok(Ok((written, received))),
            Err(refusal) => refused(format!("the product is imported, but not its stock: {refusal}")),
        }
    }

    async fn create(&self, row: &Row) -> Result<Result<(), Refusal>, Error> {
        let attributes = row.attributes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        let description = Description {
            title: row.title.clone(),
            description: row.description.clone().given(),
            category: row.category.clone().given().map(|category| category.id),
            brand: row.brand.clone().given(),
            images: Vec::new(),
            attributes,
            metadata: BTreeMap::new(),
        };
        let command = Command::Create { sku: row.sku.clone(), description, price: row.price };
        Ok(decided(self.products.run(&StreamId::product(&row.sku), &command, &self.run.again(), |_, _| ()).await)?.map(|_| ()))
    }

    async fn change(&self, row: Row) -> Result<Result<Written, Refusal>, Error> {
        let stream = StreamId::product(&row.sku);
        let mut change =
            Change { title: Some(row.title), attributes: Some(Some(row.attributes)), price: Some(row.price), ..Change::default() };
        if row.description != Said::Nothing {
            change.description = Some(row.description.given());
        }
        if row.category != Said::Nothing {
            change.category = Some(row.category.given().map(|category| category.id));
        }
        if row.brand != Said::Nothing {
            change.brand = Some(row.brand.given());
        }
        let command = Command::Change(Box::new(change));
        let changed = decided(self.products.run(&stream, &command, &self.run.again(), |_, _| ()).await)?;
        Ok(changed.map(|accepted| if accepted.unchanged { Written::Already } else { Written::Changed }))
    }

    async fn receive(&self, sku: &Sku, quantity: u32) -> Result<Result<Option<bool>, stock::Refusal>, Error> {
        if quantity == 0 {
            return Ok(Ok(None));
        }
        let command = stock::Command::Receive { quantity, reference: REFERENCE.into() };
        let context = self.run.once(&["stock", sku.as_str(), &quantity.to_string()]);
        let received = decided(self.stock.run(&StreamId::stock(sku), &command, &context, |_, _| ()).await)?;
        Ok(received.map(|accepted| Some(!accepted.unchanged)))
    }
}
