//! What surrounds an event: its stream, its place in the log, who caused it and why.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use uuid::Uuid;

use crate::{
    Event, Timestamp,
    ids::{CartId, CategoryId, CommandId, FlashSaleId, OrderId, ProjectionName, ReviewId, Sku},
};

/// The name of a stream: a category, `-`, and the aggregate's id. A category has no `-` itself. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// The longest name: a category, and a code of 64 characters or a UUID.
    pub const MAX_LEN: usize = 80;
    /// Regular expression of a name.
    pub const PATTERN: &str = "^[a-z]+-[A-Za-z0-9._-]+$";

    fn new(category: &str, id: impl fmt::Display) -> Self {
        Self(format!("{category}-{id}").into())
    }

    /// The stream of a category of the catalogue.
    pub fn category_of(id: &CategoryId) -> Self {
        Self::new("category", id)
    }

    /// The stream of a product.
    pub fn product(sku: &Sku) -> Self {
        Self::new("product", sku)
    }

    /// The stream of a product's stock.
    pub fn stock(sku: &Sku) -> Self {
        Self::new("stock", sku)
    }

    /// The stream of a flash sale.
    pub fn flash_sale(id: FlashSaleId) -> Self {
        Self::new("flashsale", id)
    }

    /// The stream of a cart.
    pub fn cart(id: CartId) -> Self {
        Self::new("cart", id)
    }

    /// The stream of an order.
    pub fn order(id: OrderId) -> Self {
        Self::new("order", id)
    }

    /// The stream of an order's payment.
    pub fn payment(id: OrderId) -> Self {
        Self::new("payment", id)
    }

    /// The stream of a review.
    pub fn review(id: ReviewId) -> Self {
        Self::new("review", id)
    }

    /// The stream of a consumer of the log.
    pub fn projection(name: &ProjectionName) -> Self {
        Self::new("projection", name)
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `-`.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }

    /// The part after the first `-`: the aggregate's id.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, key)| key)
    }
}

/// A text that names no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stream, as in \"order-0192…\": a category of lower-case letters, '-' and an id")]
pub struct MalformedStream(String);

impl FromStr for StreamId {
    type Err = MalformedStream;

    fn from_str(text: &str) -> Result<Self, MalformedStream> {
        let malformed = || MalformedStream(text.chars().take(100).collect());
        let (category, key) = text.split_once('-').ok_or_else(malformed)?;
        let code = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let well_formed = !category.is_empty()
            && category.bytes().all(|b| b.is_ascii_lowercase())
            && !key.is_empty()
            && key.bytes().all(code)
            && text.len() <= Self::MAX_LEN;
        if well_formed { Ok(Self(text.into())) } else { Err(malformed()) }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Who caused an event, and in answer to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The command whose decision this event is.
    pub command_id: CommandId,
    /// The first command of the whole chain: what a client asked for.
    pub correlation_id: Uuid,
    /// The event that a process manager reacted to; none where a client asked directly.
    pub causation_id: Option<Uuid>,
    /// Who asked: `client`, `operator:ann`, `process:checkout`, `import:online-retail`, …
    pub actor: String,
}

/// An event as the log holds it, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its number in the whole log, from 1 without gaps, in commit order.
    pub position: i64,
    /// Its stream.
    pub stream: StreamId,
    /// Its number in its stream, from 1 without gaps.
    pub version: i64,
    /// Its id.
    pub event_id: Uuid,
    /// Who and why.
    pub metadata: Metadata,
    /// When it was recorded: the command's `now`.
    pub recorded_at: Timestamp,
    /// What happened.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use uuid::uuid;

    use super::*;

    #[test]
    fn a_stream_is_a_category_and_an_id() {
        let id = uuid!("019cae0e-03c0-7651-8317-1ff4a6a3a450");
        let sku: Sku = "A-1".parse().unwrap();
        let category: CategoryId = "mugs".parse().unwrap();
        let streams = [
            (StreamId::category_of(&category), "category", "mugs"),
            (StreamId::product(&sku), "product", "A-1"),
            (StreamId::stock(&sku), "stock", "A-1"),
            (StreamId::flash_sale(FlashSaleId(id)), "flashsale", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            (StreamId::cart(CartId(id)), "cart", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            (StreamId::order(OrderId(id)), "order", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            (StreamId::payment(OrderId(id)), "payment", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            (StreamId::review(ReviewId(id)), "review", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            (StreamId::projection(&"flash-sales".parse().unwrap()), "projection", "flash-sales"),
        ];
        assert!(streams.iter().map(|(_, category, _)| category).eq(crate::events::CATEGORIES));
        for (stream, category, key) in streams {
            assert_eq!((stream.category(), stream.key()), (category, key));
            assert_eq!(stream.as_str(), format!("{category}-{key}"));
            assert_eq!(stream.as_str().parse(), Ok(stream));
        }
    }

    #[test]
    fn the_longest_stream_is_of_the_longest_category_and_code() {
        let sku: Sku = "x".repeat(64).parse().unwrap();
        assert!(StreamId::product(&sku).as_str().parse::<StreamId>().is_ok());
        let longest = format!("order-{}", "x".repeat(StreamId::MAX_LEN - 6));
        assert!(longest.parse::<StreamId>().is_ok());
        assert!(format!("{longest}x").parse::<StreamId>().is_err());
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        for text in
            ["", "order", "-", "order-", "-1", "Order-1", "flash_sale-1", "order2-1", "order-a b", "order-a/b", "order-é", " order-1"]
        {
            assert_eq!(text.parse::<StreamId>(), Err(MalformedStream(text.to_owned())), "{text:?}");
            assert!(serde_json::from_value::<StreamId>(text.into()).is_err(), "{text:?}");
        }
        let MalformedStream(told) = "é".repeat(1_000).parse::<StreamId>().unwrap_err();
        assert_eq!(told.chars().count(), 100);
    }

    #[test]
    fn metadata_is_written_whole_and_in_order() {
        let id = uuid!("019cae0e-03c0-7651-8317-1ff4a6a3a450");
        let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "client".to_owned() };
        let text = format!(r#"{{"command_id":"{id}","correlation_id":"{id}","causation_id":null,"actor":"client"}}"#);
        assert_eq!(serde_json::to_string(&metadata).unwrap(), text);
        assert_eq!(serde_json::from_str::<Metadata>(&text).unwrap(), metadata);
    }
}
