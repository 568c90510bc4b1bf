//! Event types, a module for each category of streams.
//!
//! A payload struct bears the name of its event type: the aggregate first, then the past tense. Payloads are never changed in
//! place once an event of them is in a log: a new form is a new schema version with an upcaster from the one before.

pub mod cart;
pub mod category;
pub mod flash_sale;
pub mod order;
pub mod payment;
pub mod product;
pub mod projection;
pub mod review;
pub mod stock;

use schemars::{Schema, SchemaGenerator};

use crate::upcasters;

/// Why stored bytes are no event that this program knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No such type in this version of the program.
    #[error("event type {0:?} is unknown to this version of merx")]
    UnknownType(String),
    /// Written by a newer version of the program, or a lift is missing.
    #[error("event type {event_type} has schema version {found}, this version of merx reads up to {newest}")]
    UnknownVersion {
        /// The event's type.
        event_type: String,
        /// The version it was stored with.
        found: i16,
        /// The newest that this program knows.
        newest: i16,
    },
    /// The payload does not fit the type.
    #[error("event type {event_type}: {detail}")]
    Malformed {
        /// The event's type.
        event_type: String,
        /// What serde says of it.
        detail: String,
    },
}

impl DecodeError {
    /// True where a newer version of the program may have written the event. If one has, the database says so: each registers what it writes.
    #[must_use]
    pub fn may_be_newer(&self) -> bool {
        match self {
            Self::UnknownType(_) => true,
            Self::UnknownVersion { found, newest, .. } => found > newest,
            Self::Malformed { .. } => false,
        }
    }
}

/// The schema version that is written of a type whose newest is `version`. A build with the feature `newer-events` writes every type in the version
/// to come, which looks as today's does: it is there to try what a newer program does to an older one.
#[must_use]
pub const fn written(version: i16) -> i16 {
    if cfg!(feature = "newer-events") { version + 1 } else { version }
}

/// One event type: what the registry, the schema files and the documentation say of it.
pub struct Descriptor {
    /// The category of the streams it stands in.
    pub category: &'static str,
    /// The type's name.
    pub event_type: &'static str,
    /// The version of its schema that is written today.
    pub schema_version: i16,
    /// The JSON Schema of its payload.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Declares a category's `Event`: an enum of payloads, each with the schema version that is written today.
macro_rules! events {
    ($category:literal, $( $(#[$doc:meta])* $variant:ident($payload:ident, $version:literal) ),+ $(,)?) => {
        /// What can happen in a stream of this category.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $( $(#[$doc])* $variant($payload), )+
        }

        impl Event {
            /// The category of the streams these events stand in.
            pub const CATEGORY: &'static str = $category;

            /// The types of this category.
            pub const DESCRIPTORS: &'static [$crate::events::Descriptor] = &[
                $( $crate::events::Descriptor {
                    category: $category,
                    event_type: stringify!($payload),
                    schema_version: $crate::events::written($version),
                    schema: |generator| <$payload as schemars::JsonSchema>::json_schema(generator),
                } ),+
            ];

            /// The event type's name.
            #[must_use]
            pub fn event_type(&self) -> &'static str {
                match self { $( Self::$variant(_) => stringify!($payload), )+ }
            }

            /// The version of the payload's schema.
            #[must_use]
            pub fn schema_version(&self) -> i16 {
                match self { $( Self::$variant(_) => $crate::events::written($version), )+ }
            }

            /// The payload as JSON text.
            ///
            /// # Errors
            /// Never for the types here: they are plain data.
            pub fn payload(&self) -> Result<String, serde_json::Error> {
                match self { $( Self::$variant(payload) => serde_json::to_string(payload), )+ }
            }

            /// Reads a stored payload of the newest schema version; `None` where the type is not of this category.
            pub(super) fn read(event_type: &str, payload: &str) -> Option<Result<Self, serde_json::Error>> {
                match event_type {
                    $( stringify!($payload) => Some(serde_json::from_str(payload).map(Self::$variant)), )+
                    _ => None,
                }
            }
        }

        $(
            impl From<$payload> for Event {
                fn from(payload: $payload) -> Self {
                    Self::$variant(payload)
                }
            }
        )+
    };
}
pub(crate) use events;

macro_rules! categories {
    ($( $(#[$doc:meta])* $variant:ident($module:ident) ),+ $(,)?) => {
        /// Any event of the log.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $( $(#[$doc])* $variant($module::Event), )+
        }

        impl Event {
            /// The category of the streams it stands in.
            #[must_use]
            pub fn category(&self) -> &'static str {
                match self { $( Self::$variant(_) => $module::Event::CATEGORY, )+ }
            }

            /// The event type's name.
            #[must_use]
            pub fn event_type(&self) -> &'static str {
                match self { $( Self::$variant(event) => event.event_type(), )+ }
            }

            /// The version of the payload's schema.
            #[must_use]
            pub fn schema_version(&self) -> i16 {
                match self { $( Self::$variant(event) => event.schema_version(), )+ }
            }

            /// The payload as JSON text.
            ///
            /// # Errors
            /// Never for the types here: they are plain data.
            pub fn payload(&self) -> Result<String, serde_json::Error> {
                match self { $( Self::$variant(event) => event.payload(), )+ }
            }

            fn read(event_type: &str, payload: &str) -> Option<Result<Self, serde_json::Error>> {
                $(
                    if let Some(read) = $module::Event::read(event_type, payload) {
                        return Some(read.map(Self::$variant));
                    }
                )+
                None
            }
        }

        $(
            impl From<$module::Event> for Event {
                fn from(event: $module::Event) -> Self {
                    Self::$variant(event)
                }
            }
        )+

        /// Every event type of every category.
        pub fn descriptors() -> impl Iterator<Item = &'static Descriptor> {
            [$( $module::Event::DESCRIPTORS ),+].into_iter().flatten()
        }

        /// Every category of streams.
        pub const CATEGORIES: &[&str] = &[$( $module::Event::CATEGORY ),+];
    };
}

categories! {
    /// Of a category of the catalogue.
    Category(category),
    /// Of a product.
    Product(product),
    /// Of a product's stock.
    Stock(stock),
    /// Of a flash sale.
    FlashSale(flash_sale),
    /// Of a cart.
    Cart(cart),
    /// Of an order.
    Order(order),
    /// Of a payment.
    Payment(payment),
    /// Of a review.
    Review(review),
    /// Of a consumer of the log, as operators tend it.
    Projection(projection),
}

impl Event {
    /// Decodes a stored event, lifting an old schema version to today's.
    ///
    /// # Errors
    /// The type, its version or its payload is unknown to this program.
    pub fn decode(event_type: &str, schema_version: i16, payload: &str) -> Result<Self, DecodeError> {
        let malformed = |error: serde_json::Error| DecodeError::Malformed { event_type: event_type.to_owned(), detail: error.to_string() };
        let newest = descriptors()
            .find(|d| d.event_type == event_type)
            .map(|d| d.schema_version)
            .ok_or_else(|| DecodeError::UnknownType(event_type.to_owned()))?;
        let read = if schema_version == newest {
            Self::read(event_type, payload)
        } else {
            let unknown = || DecodeError::UnknownVersion { event_type: event_type.to_owned(), found: schema_version, newest };
            if !(1..newest).contains(&schema_version) {
                return Err(unknown());
            }
            let old = serde_json::from_str(payload).map_err(malformed)?;
            let lifted = upcasters::lift(event_type, schema_version, newest, old).ok_or_else(unknown)?;
            Self::read(event_type, &lifted.to_string())
        };
        read.ok_or_else(|| DecodeError::UnknownType(event_type.to_owned()))?.map_err(malformed)
    }
}
