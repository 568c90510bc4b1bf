//! Money: a decimal amount and its currency. Never a float.

use std::{borrow::Cow, fmt, str::FromStr};

use rust_decimal::{Decimal, RoundingStrategy};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What an amount looks like in JSON: up to twelve digits before the point, up to six after it, never negative.
pub const AMOUNT_PATTERN: &str = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$";

/// The greatest amount a client may send, and the greatest a total may reach: twelve digits before the point.
pub const MAX_AMOUNT: Decimal = Decimal::from_parts(0xD4A5_1000, 0xE8, 0, false, 0);

/// An ISO 4217 currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Digits after the point in the currency's minor unit: 2 for GBP, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn minor_digits(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }

    /// Returns true where a shop can sell in it: a currency of ISO 4217 that is in use and has minor units; not a metal, a fund's unit of
    /// account, a code for tests or for none, nor one that was withdrawn. Logs may hold such ones from before that was asked.
    #[must_use]
    pub fn is_in_use(self) -> bool {
        // ISO 4217 lists both codes of the bolívar: the second one is for the books of banks, and did not take the place of the first.
        let is_withdrawn = self.0.is_superseded().is_some() && self.0 != iso_currency::Currency::VES;
        self.0.exponent().is_some() && !self.0.is_special() && !self.0.is_fund() && !is_withdrawn
    }

    /// The currency of `code`, if a shop can sell in it.
    ///
    /// # Errors
    /// Not a code of ISO 4217, or of one that is not in use.
    pub fn in_use(code: &str) -> Result<Self, Error> {
        let currency: Self = code.parse()?;
        if currency.is_in_use() { Ok(currency) } else { Err(Error::NotInUse(currency.code())) }
    }

    /// The three-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }
}

/// Why a text is no money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a currency of ISO 4217.
    #[error("{0:?} is not a currency code of ISO 4217, as in \"GBP\"")]
    UnknownCurrency(String),
    /// A metal, a unit of account, a code for tests or for none, or a currency that was withdrawn.
    #[error("{0} is no currency in use: give one that people pay in, as \"GBP\"")]
    NotInUse(&'static str),
    /// Not an amount in the form of [`AMOUNT_PATTERN`].
    #[error("{0:?} is not an amount, as in \"12.50\": up to 12 digits, up to 6 decimals, not negative")]
    Malformed(String),
    /// Two currencies in one sum.
    #[error("{0} and {1} can't be added")]
    CurrencyMismatch(&'static str, &'static str),
    /// The result has more than twelve digits before the point.
    #[error("the amount is greater than {MAX_AMOUNT}")]
    TooLarge,
}

impl FromStr for Currency {
    type Err = Error;

    fn from_str(code: &str) -> Result<Self, Error> {
        iso_currency::Currency::from_code(code).map(Self).ok_or_else(|| Error::UnknownCurrency(code.to_owned()))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Z]{3}$", "format": "iso-4217", "description": "an ISO 4217 currency code", "examples": ["GBP"]})
    }
}

/// An amount in a currency. In JSON `{"amount": "12.50", "currency": "GBP"}`; the amount keeps the decimals it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// The amount, in whole units of the currency.
    #[serde(with = "amount")]
    #[schemars(with = "Amount")]
    pub amount: Decimal,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// `amount` of `currency`, as it is.
    #[must_use]
    pub fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Nothing, written with the currency's minor digits.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self::new(Decimal::ZERO, currency).rounded()
    }

    /// Rounded half-even to the currency's minor unit, and written with exactly its digits.
    #[must_use]
    pub fn rounded(self) -> Self {
        let digits = self.currency.minor_digits();
        let mut amount = self.amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven);
        amount.rescale(digits);
        Self::new(amount, self.currency)
    }

    /// The sum.
    ///
    /// # Errors
    /// Two currencies, or a sum past [`MAX_AMOUNT`].
    pub fn plus(self, other: Self) -> Result<Self, Error> {
        self.same_currency(other)?;
        let sum = self.amount.checked_add(other.amount).ok_or(Error::TooLarge)?;
        Self::new(sum, self.currency).within_limit()
    }

    /// The difference, which may be negative.
    ///
    /// # Errors
    /// Two currencies, or a difference that can't be held.
    pub fn minus(self, other: Self) -> Result<Self, Error> {
        self.same_currency(other)?;
        let difference = self.amount.checked_sub(other.amount).ok_or(Error::TooLarge)?;
        Ok(Self::new(difference, self.currency))
    }

    /// `quantity` times this, unrounded.
    ///
    /// # Errors
    /// A product past [`MAX_AMOUNT`].
    pub fn times(self, quantity: u32) -> Result<Self, Error> {
        let product = self.amount.checked_mul(Decimal::from(quantity)).ok_or(Error::TooLarge)?;
        Self::new(product, self.currency).within_limit()
    }

    /// Whether this is more than nothing.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.amount > Decimal::ZERO
    }

    fn same_currency(self, other: Self) -> Result<(), Error> {
        if self.currency == other.currency { Ok(()) } else { Err(Error::CurrencyMismatch(self.currency.code(), other.currency.code())) }
    }

    fn within_limit(self) -> Result<Self, Error> {
        if self.amount.abs() < MAX_AMOUNT { Ok(self) } else { Err(Error::TooLarge) }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

/// Stands for an amount in a JSON Schema.
pub struct Amount;

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": AMOUNT_PATTERN, "description": "a decimal with up to 6 decimals, not negative", "examples": ["12.50"]})
    }
}

/// Reads an amount in the form of [`AMOUNT_PATTERN`], keeping its decimals.
///
/// # Errors
/// Any other text.
pub fn parse_amount(text: &str) -> Result<Decimal, Error> {
    let malformed = || Error::Malformed(text.to_owned());
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 12) || (whole.len() > 1 && whole.starts_with('0')) || fraction.is_some_and(|part| !digits(part, 6)) {
        return Err(malformed());
    }
    text.parse().map_err(|_| malformed())
}

/// Serde for an amount: a string in the form of [`AMOUNT_PATTERN`].
pub mod amount {
    use super::{Cow, Decimal, Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    /// Writes the amount with the decimals it has.
    pub fn serialize<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    /// Reads an amount, keeping its decimals.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        super::parse_amount(&Cow::<str>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gbp(amount: &str) -> Money {
        Money::new(amount.parse().unwrap(), "GBP".parse().unwrap())
    }

    #[test]
    fn an_amount_keeps_the_decimals_it_was_written_with() {
        for text in ["0", "10", "2.50", "0.001", "999999999999.999999"] {
            assert_eq!(parse_amount(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", " 1", "1,5", "1e3", "NaN", "-1", "+1", "01", ".5", "5.", "1.1234567", "9999999999999"] {
            assert_eq!(parse_amount(text), Err(Error::Malformed(text.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn a_line_rounds_half_even_to_the_minor_unit() {
        let rounded: Vec<_> = ["0.125", "0.135", "0.1251", "10"].map(|a| gbp(a).rounded().amount.to_string()).into();
        assert_eq!(rounded, ["0.12", "0.14", "0.13", "10.00"]);
        let yen = Money::new("2.5".parse().unwrap(), "JPY".parse().unwrap());
        assert_eq!(yen.rounded().amount.to_string(), "2");
    }

    #[test]
    fn a_shop_sells_in_currencies_that_are_in_use() {
        for code in ["GBP", "EUR", "USD", "JPY", "KWD", "XAF", "XOF", "XPF", "XCD", "VES", "SLE", "ZWG", "CHF"] {
            assert_eq!(Currency::in_use(code).map(Currency::code), Ok(code));
        }
        let not_in_use = [
            "XXX", "XTS", "XAU", "XAG", "XPT", "XPD", "XDR", "XSU", "XUA", "XBA", "XAD", "BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN",
            "UYI", "UYW", "HRK", "CUC", "SLL", "ZWL",
        ];
        for code in not_in_use {
            assert_eq!(Currency::in_use(code), Err(Error::NotInUse(code)));
            assert_eq!(code.parse::<Currency>().map(Currency::code), Ok(code), "an old event may have it");
        }
        assert!(matches!(Currency::in_use("ABC"), Err(Error::UnknownCurrency(_))));
    }

    #[test]
    fn sums_stay_within_one_currency_and_the_limit() {
        let eur = Money::new(Decimal::ONE, "EUR".parse().unwrap());
        assert_eq!(gbp("1").plus(eur), Err(Error::CurrencyMismatch("GBP", "EUR")));
        assert_eq!(gbp("999999999999").plus(gbp("1")), Err(Error::TooLarge));
        assert_eq!(gbp("999999999999.99").times(1_000_000_000), Err(Error::TooLarge));
        assert_eq!(MAX_AMOUNT.to_string(), "1000000000000");
    }
}
