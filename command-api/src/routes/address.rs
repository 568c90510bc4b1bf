//! Addresses that clients send.

use event_schemas::{Country, events::order::Address, text};
use schemars::JsonSchema;
use serde::Deserialize;

/// A postal address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAddress {
    /// Name of the person or company.
    #[schemars(length(min = 1, max = 200), regex(pattern = text::LINE))]
    name: String,
    /// Street and number.
    #[schemars(length(min = 1, max = 200), regex(pattern = text::LINE))]
    line1: String,
    /// Flat, floor, building.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = text::OPTIONAL_LINE))]
    line2: Option<String>,
    /// Town.
    #[schemars(length(min = 1, max = 200), regex(pattern = text::LINE))]
    city: String,
    /// County, state, province.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = text::OPTIONAL_LINE))]
    region: Option<String>,
    /// Post code.
    #[serde(default)]
    #[schemars(length(max = 20), regex(pattern = text::OPTIONAL_LINE))]
    postal_code: Option<String>,
    country: Country,
}

impl From<NewAddress> for Address {
    fn from(new: NewAddress) -> Self {
        let NewAddress { name, line1, line2, city, region, postal_code, country } = new;
        Self { name, line1, line2, city, region, postal_code, country: country.code().into() }
    }
}
