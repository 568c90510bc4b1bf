//! Products of the catalogue: a description, a price, and whether they are sold.

mod change;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use event_schemas::{
    Event as LogEvent, Money, Timestamp,
    events::product::{Description, Event, Image, ProductCreated},
    ids::{CategoryId, Sku},
    resource,
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;

/// The most attributes a product has.
pub const MAX_ATTRIBUTES: usize = 50;
/// The most notes a client keeps on a product.
pub const MAX_METADATA: usize = 20;

/// A product of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Product;

/// What is known of a product.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet.
    #[default]
    Nothing,
    /// It is sold.
    Active(Box<Listing>),
    /// It is no longer sold.
    Archived(Box<Listing>),
}

/// What the catalogue says of a product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The client's code.
    pub sku: Sku,
    /// What it is.
    #[serde(flatten)]
    pub description: Description,
    /// What one unit costs, as it was sent.
    pub price: Money,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What may be asked of a product.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a command is built once and read in place, so its size costs nothing")]
pub enum Command {
    /// Make it, active.
    Create {
        /// The client's code.
        sku: Sku,
        /// What it is.
        description: Description,
        /// What one unit costs.
        price: Money,
    },
    /// Change some of it.
    Change(Box<Change>),
}

/// Entries of a map by RFC 7396: a null removes one; no map at all empties it.
pub type MapPatch = Option<BTreeMap<String, Option<String>>>;

/// A merge patch (RFC 7396): what is absent stays, what is `Some(None)` is removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Another name.
    pub title: Option<String>,
    /// Another text.
    pub description: Option<Option<String>>,
    /// Another category.
    pub category: Option<Option<CategoryId>>,
    /// Another maker.
    pub brand: Option<Option<String>>,
    /// Other pictures, all of them.
    pub images: Option<Vec<Image>>,
    /// Other properties.
    pub attributes: Option<MapPatch>,
    /// Other notes.
    pub metadata: Option<MapPatch>,
    /// Another price.
    pub price: Option<Money>,
    /// Whether it is no longer sold.
    pub archived: Option<bool>,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It was never created.
    #[error("there is no such product: create it first")]
    Unknown,
    /// It exists already.
    #[error("a product with the SKU {sku} exists already: choose another SKU, or change the product that exists")]
    Taken {
        /// The SKU.
        sku: Sku,
    },
    /// It would have too many attributes.
    #[error("the product would have {count} attributes, the most is {MAX_ATTRIBUTES}: set some to null")]
    TooManyAttributes {
        /// How many it would have.
        count: usize,
    },
    /// It would have too many notes.
    #[error("the product would have {count} metadata entries, the most is {MAX_METADATA}: set some to null")]
    TooManyMetadata {
        /// How many it would have.
        count: usize,
    },
}

impl Refusal {
    /// The code that clients match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "not_found",
            Self::Taken { .. } => "sku_taken",
            Self::TooManyAttributes { .. } => "too_many_attributes",
            Self::TooManyMetadata { .. } => "too_many_metadata",
        }
    }
}

impl State {
    /// What the catalogue says of it, once it exists.
    #[must_use]
    pub fn listing(&self) -> Option<&Listing> {
        match self {
            Self::Nothing => None,
            Self::Active(listing) | Self::Archived(listing) => Some(listing),
        }
    }

    /// Whether it is sold.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active(_))
    }

    /// What clients see of it, with what others know: its stock, its reviews, and the sale that runs.
    #[must_use]
    pub fn resource(
        &self,
        version: i64,
        stock: resource::ProductStock,
        rating: resource::Rating,
        flash_sale: Option<resource::ProductFlashSale>,
    ) -> Option<resource::Product> {
        let Listing { sku, description, price, created_at, updated_at } = self.listing()?.clone();
        Some(resource::Product {
            id: sku.clone(),
            sku,
            title: description.title,
            description: description.description,
            category: description.category,
            brand: description.brand,
            images: description.images,
            price,
            attributes: description.attributes,
            metadata: description.metadata,
            status: if self.is_active() { resource::ProductStatus::Active } else { resource::ProductStatus::Archived },
            stock,
            rating,
            flash_sale,
            created_at,
            updated_at,
            version,
        })
    }
}

impl Aggregate for Product {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (state, command) {
            (State::Nothing, Command::Create { sku, description, price }) => {
                change::refuse_too_many(description)?;
                Ok(vec![ProductCreated { sku: sku.clone(), description: description.clone(), price: *price }.into()])
            }
            (State::Active(listing) | State::Archived(listing), Command::Create { .. }) => Err(Refusal::Taken { sku: listing.sku.clone() }),
            (State::Nothing, Command::Change(_)) => Err(Refusal::Unknown),
            (State::Active(listing), Command::Change(change)) => change::decide(listing, false, change),
            (State::Archived(listing), Command::Change(change)) => change::decide(listing, true, change),
        }
    }

    fn evolve(state: State, event: &Event, at: Timestamp) -> State {
        match (state, event) {
            (State::Nothing, Event::Created(ProductCreated { sku, description, price })) => State::Active(Box::new(Listing {
                sku: sku.clone(),
                description: description.clone(),
                price: *price,
                created_at: at,
                updated_at: at,
            })),
            (State::Nothing, _) => State::Nothing,
            (State::Active(listing), Event::Archived(_)) => State::Archived(listing.touched(at)),
            (State::Archived(listing), Event::Activated(_)) => State::Active(listing.touched(at)),
            (State::Active(listing), event) => State::Active(listing.changed(event, at)),
            (State::Archived(listing), event) => State::Archived(listing.changed(event, at)),
        }
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Product(event) => Some(event),
            _ => None,
        }
    }
}

impl Listing {
    fn changed(mut self: Box<Self>, event: &Event, at: Timestamp) -> Box<Self> {
        match event {
            Event::Described(described) => self.description = described.description.clone(),
            Event::Repriced(repriced) => self.price = repriced.to,
            Event::Created(_) | Event::Archived(_) | Event::Activated(_) => return self,
        }
        self.touched(at)
    }

    fn touched(mut self: Box<Self>, at: Timestamp) -> Box<Self> {
        self.updated_at = at;
        self
    }
}
