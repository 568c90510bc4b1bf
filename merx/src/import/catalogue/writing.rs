//! Writing products, and how many units of them are on hand.

use std::collections::BTreeMap;

use command_api::handler::Handler;
use domain::{
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
    Existing, SOURCE,
    categories::Categories,
    row::{Row, Said},
};
use crate::import::{
    Error, Rejection,
    run::{CACHED_STREAMS, Run, Written, decided},
};

/// Reference in the events of a row's units, which says where they come from.
const REFERENCE: &str = "import:catalogue";

/// Outcome of a row: of its product, and true where its units were not as many as it says; none where it says nothing of them.
pub type Outcome = Result<(Written, Option<bool>), Rejection>;

/// Writes rows.
pub struct Writer<'r> {
    run: &'r Run,
    existing: Existing,
    categories: Categories,
    products: Handler<Product>,
    stock: Handler<Stock>,
}

impl<'r> Writer<'r> {
    /// Into `store`, in these categories.
    pub fn new(store: &EventStore, run: &'r Run, existing: Existing, categories: Categories) -> Self {
        Self {
            run,
            existing,
            categories,
            products: Handler::new(store.clone(), CACHED_STREAMS),
            stock: Handler::new(store.clone(), CACHED_STREAMS),
        }
    }

    /// Makes or changes a product, and sees to its units.
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
        let Some(units) = units else { return Ok(Ok((written, None))) };
        match self.count(&sku, units).await? {
            Ok(is_new) => Ok(Ok((written, Some(is_new)))),
            Err(stock::Refusal::InsufficientStock { requested, available }) => {
                let least = i64::from(units) + requested - available;
                refused(format!(
                    "the product is imported, but not its stock {units}: {least} units are held by orders or set aside for sales"
                ))
            }
            Err(refusal) => refused(format!("the product is imported, but not its stock: {refusal}")),
        }
    }

    async fn create(&self, row: &Row) -> Result<Result<(), Refusal>, Error> {
        let attributes = row.attributes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        let description = Description {
            title: row.title.clone(),
            description: row.description.clone().given(),
            category: self.category(row)?,
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
        let category = self.category(&row)?;
        let mut change =
            Change { title: Some(row.title), attributes: Some(Some(row.attributes)), price: Some(row.price), ..Change::default() };
        if row.description != Said::Nothing {
            change.description = Some(row.description.given());
        }
        if row.category != Said::Nothing {
            change.category = Some(category);
        }
        if row.brand != Said::Nothing {
            change.brand = Some(row.brand.given());
        }
        let command = Command::Change(Box::new(change));
        let changed = decided(self.products.run(&stream, &command, &self.run.again(), |_, _| ()).await)?;
        Ok(changed.map(|accepted| if accepted.unchanged { Written::Already } else { Written::Changed }))
    }

    fn category(&self, row: &Row) -> Result<Option<CategoryId>, Error> {
        let Said::This(name) = &row.category else { return Ok(None) };
        // The first reading had every name.
        self.categories.of(name).map(Some).ok_or(Error::ChangedMeanwhile { file: SOURCE.into() })
    }

    /// Sees to it that so many units are on hand, and says whether there were not. What somebody may have sold since stays sold where existing
    /// products are kept: then the units are received once.
    async fn count(&self, sku: &Sku, units: u32) -> Result<Result<bool, stock::Refusal>, Error> {
        let (command, context) = match self.existing {
            Existing::Change => (stock::Command::Count { on_hand: units, reason: REFERENCE.into() }, self.run.again()),
            Existing::Keep => (
                stock::Command::Receive { quantity: units, reference: REFERENCE.into() },
                self.run.once(&["stock", sku.as_str(), &units.to_string()]),
            ),
        };
        let counted = decided(self.stock.run(&StreamId::stock(sku), &command, &context, |_, _| ()).await)?;
        Ok(counted.map(|accepted| !accepted.unchanged))
    }
}
