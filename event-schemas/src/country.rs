//! Countries.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A country that is in use in ISO 3166-1, by its alpha-2 code.
///
/// For what clients send: events keep the text, since a country may go out of use and its orders stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Country(&'static str);

/// A text that is no country's code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the alpha-2 code of a country in ISO 3166-1, as in \"GB\"")]
pub struct Unknown(String);

impl Country {
    /// The code, as in `GB`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0
    }
}

impl FromStr for Country {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        rust_iso3166::from_alpha2(text).map(|known| Self(known.alpha2)).ok_or_else(|| Unknown(text.to_owned()))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Country {
    fn schema_name() -> Cow<'static, str> {
        "Country".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut codes: Vec<_> = rust_iso3166::ALL.iter().map(|country| country.alpha2).collect();
        codes.sort_unstable();
        json_schema!({
            "type": "string",
            "enum": codes,
            "description": "the alpha-2 code of a country in use in ISO 3166-1",
            "examples": ["GB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_one_in_use_written_in_capitals() {
        for code in ["GB", "DE", "US", "AX", "SS", "BQ"] {
            assert_eq!(code.parse::<Country>().unwrap().code(), code);
        }
        // Not assigned, reserved, withdrawn, of another standard, in small letters, of three letters.
        for wrong in ["XX", "ZZ", "UK", "EU", "AN", "CS", "SU", "XK", "gb", "GBR", "", "G B", "ＧＢ"] {
            assert!(wrong.parse::<Country>().is_err(), "{wrong}");
        }
    }
}
