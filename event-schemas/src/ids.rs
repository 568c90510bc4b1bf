//! Names of things: SKUs and category ids are the client's, every other id is a UUIDv7 made by the server.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use uuid::Uuid;

/// Form of a code in events. Those of the first versions may be `.` and `..`.
pub const RECORDED_CODE_PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

/// Form of a code that a client chooses, of at most [`MAX_CODE_LENGTH`] characters: not `.` or `..`, which paths of URLs can't bear
/// (RFC 3986, 5.2.4).
pub const CODE_PATTERN: &str = r"^(\.{0,2}[A-Za-z0-9_-]|\.{3})[A-Za-z0-9._-]*$";

/// Length of the longest code.
pub const MAX_CODE_LENGTH: usize = 64;

/// A text that is no SKU or category id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a code of 1 to 64 letters, digits, '.', '_' or '-' other than '.' and '..'")]
pub struct MalformedCode(String);

/// Returns true where `text` matches [`RECORDED_CODE_PATTERN`].
fn is_recorded_code(text: &str) -> bool {
    (1..=MAX_CODE_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_code(text: &str) -> bool {
    is_recorded_code(text) && !matches!(text, "." | "..")
}

macro_rules! code {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The code itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = MalformedCode;

            fn from_str(text: &str) -> Result<Self, MalformedCode> {
                if is_code(text) { Ok(Self(text.to_owned())) } else { Err(MalformedCode(text.to_owned())) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                if is_recorded_code(&text) { Ok(Self(text.into_owned())) } else { Err(D::Error::custom(MalformedCode(text.into_owned()))) }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": RECORDED_CODE_PATTERN})
            }
        }
    };
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The UUID itself.
            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Reads the hyphenated form only, so that one id has one spelling.
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                let id = Uuid::parse_str(text)?;
                if id.to_string() == text { Ok(Self(id)) } else { Uuid::parse_str("").map(Self) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

code!(
    /// A stock keeping unit: the client's code for a product.
    Sku
);
code!(
    /// The client's code for a category.
    CategoryId
);
code!(
    /// The name of a consumer of the log: a projection, or one of the others.
    ProjectionName
);
id!(
    /// A cart.
    CartId
);
id!(
    /// An order, and its payment.
    OrderId
);
id!(
    /// A flash sale.
    FlashSaleId
);
id!(
    /// A review.
    ReviewId
);
id!(
    /// A shipment of an order.
    ShipmentId
);
id!(
    /// A return of an order.
    ReturnId
);
id!(
    /// A refund of a payment.
    RefundId
);
id!(
    /// A command; the first event it leads to has the same id.
    CommandId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_up_to_64_letters_digits_dots_underscores_and_hyphens() {
        for text in ["A", "85123A", "MUG-COBALT_350.v2", "-", &"x".repeat(64)] {
            assert_eq!(text.parse::<Sku>().unwrap().as_str(), text);
            assert_eq!(serde_json::from_value::<CategoryId>(text.into()).unwrap().to_string(), text);
        }
        for text in ["", " A", "A B", "A/B", "é", "A\n", &"x".repeat(65)] {
            assert_eq!(text.parse::<Sku>(), Err(MalformedCode(text.to_owned())));
            assert!(serde_json::from_value::<CategoryId>(text.into()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let text = "019cae0e-03c0-7651-8317-1ff4a6a3a450";
        let id: OrderId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::to_value(id).unwrap(), text);
        for other in [
            "019cae0e03c0765183171ff4a6a3a450",
            "019CAE0E-03C0-7651-8317-1FF4A6A3A450",
            "{019cae0e-03c0-7651-8317-1ff4a6a3a450}",
            "urn:uuid:019cae0e-03c0-7651-8317-1ff4a6a3a450",
            "019cae0e-03c0-7651-8317-1ff4a6a3a45",
            "",
        ] {
            assert!(other.parse::<OrderId>().is_err(), "{other:?}");
        }
    }
}
