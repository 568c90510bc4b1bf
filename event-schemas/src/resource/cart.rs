//! Carts as clients see them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Currency, Money, Timestamp,
    ids::{CartId, OrderId, Sku},
};

/// Whether a cart can still be bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CartStatus {
    /// It can.
    Open,
    /// It was.
    CheckedOut,
}

/// A cart, at the prices of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cart {
    /// Its id.
    pub id: CartId,
    /// What its prices are in.
    pub currency: Currency,
    /// Its lines, in the order they were put in.
    pub items: Vec<CartItem>,
    /// The sum of the lines; null, as the other sums are, while a line has a `problem`.
    pub subtotal: Option<Money>,
    /// What is taken off.
    pub discount: Option<Money>,
    /// What the parcel costs.
    pub shipping: Option<Money>,
    /// What the state takes.
    pub tax: Option<Money>,
    /// What checkout would charge now.
    pub total: Option<Money>,
    /// Whether it can still be bought.
    pub status: CartStatus,
    /// The order it became.
    pub order: Option<OrderId>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The version of its stream.
    pub version: i64,
}

/// Why a line can't be bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineProblem {
    /// Its product is archived, or has no price in the cart's currency.
    NotForSale,
    /// The line, or the cart with it, comes to more than can be charged.
    TotalTooLarge,
}

/// A line of a cart, at the price of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CartItem {
    /// The product.
    pub sku: Sku,
    /// Its title.
    pub title: String,
    /// How many.
    pub quantity: u32,
    /// What one costs now; none where it is not for sale.
    pub unit_price: Option<Money>,
    /// What the line costs now, rounded half-even to the minor unit; none where it can't be bought.
    pub line_total: Option<Money>,
    /// Why it can't be bought; null where it can.
    #[serde(default)]
    pub problem: Option<LineProblem>,
}

impl CartItem {
    /// A line that was not priced yet.
    #[must_use]
    pub fn unpriced(sku: Sku, quantity: u32) -> Self {
        Self { sku, title: String::new(), quantity, unit_price: None, line_total: None, problem: None }
    }
}

/// What a product is called and costs at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedProduct {
    /// Its title.
    pub title: String,
    /// What one costs, a running flash sale's price included; none where it is not for sale.
    pub price: Option<Money>,
}

impl Cart {
    /// Gives each line the title and price that `look_up` knows, and sums up.
    ///
    /// A line whose product is unknown, not for sale or priced in another currency has no price. One that is too great to be charged, or that
    /// takes the sum past [`crate::money::MAX_AMOUNT`], keeps its price and has no total. Either says so in `problem`, and then there are no
    /// sums: the part that can be bought is not what the cart comes to.
    pub fn price(&mut self, look_up: impl Fn(&Sku) -> Option<PricedProduct>) {
        let mut sum = Money::zero(self.currency);
        for item in &mut self.items {
            let product = look_up(&item.sku);
            item.unit_price = product.as_ref().and_then(|product| product.price).filter(|price| price.currency == self.currency);
            if let Some(product) = product {
                item.title = product.title;
            }
            let line_total = item.unit_price.and_then(|price| price.times(item.quantity).ok()).map(Money::rounded);
            let counted = line_total.and_then(|line_total| Some((line_total, sum.plus(line_total).ok()?)));
            (item.line_total, item.problem) = match (item.unit_price, counted) {
                (None, _) => (None, Some(LineProblem::NotForSale)),
                (Some(_), None) => (None, Some(LineProblem::TotalTooLarge)),
                (Some(_), Some((line_total, with_it))) => {
                    sum = with_it;
                    (Some(line_total), None)
                }
            };
        }
        let nothing = Money::zero(self.currency);
        self.sum_up(if self.items.iter().any(|item| item.problem.is_some()) { None } else { Some([sum, nothing, nothing, nothing, sum]) });
    }

    /// Takes over subtotal, discount, shipping, tax and total, or that there are none.
    pub fn sum_up(&mut self, sums: Option<[Money; 5]>) {
        [self.subtotal, self.discount, self.shipping, self.tax, self.total] = sums.map_or([None; 5], |sums| sums.map(Some));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: &str, currency: &str) -> Money {
        Money::new(amount.parse().unwrap(), currency.parse().unwrap())
    }

    fn cart(items: &[(&str, u32)]) -> Cart {
        let at = Timestamp::from_micros(0);
        let item = |&(sku, quantity): &(&str, u32)| CartItem::unpriced(sku.parse().unwrap(), quantity);
        Cart {
            id: CartId(uuid::Uuid::nil()),
            currency: "GBP".parse().unwrap(),
            items: items.iter().map(item).collect(),
            subtotal: None,
            discount: None,
            shipping: None,
            tax: None,
            total: None,
            status: CartStatus::Open,
            order: None,
            metadata: BTreeMap::new(),
            created_at: at,
            updated_at: at,
            version: 1,
        }
    }

    fn priced(items: &[(&str, u32)]) -> Cart {
        let mut cart = cart(items);
        cart.price(|sku| {
            let (title, price) = match sku.as_str() {
                "lantern" => ("Lantern", Some(money("2.55", "GBP"))),
                "half" => ("Half a penny", Some(money("0.005", "GBP"))),
                "euro" => ("Euro", Some(money("1", "EUR"))),
                "palace" => ("Palace", Some(money("999999999999", "GBP"))),
                "archived" => ("Archived", None),
                _ => return None,
            };
            Some(PricedProduct { title: title.to_owned(), price })
        });
        cart
    }

    fn totals(cart: &Cart) -> Vec<Option<String>> {
        cart.items.iter().map(|item| item.line_total.map(|total| total.amount.to_string())).collect()
    }

    #[test]
    fn lines_round_half_even_and_add_up() {
        let cart = priced(&[("lantern", 3), ("half", 1), ("half", 3)]);
        assert_eq!(totals(&cart), [Some("7.65".into()), Some("0.00".into()), Some("0.02".into())]);
        assert_eq!(cart.total, Some(money("7.67", "GBP")));
        assert_eq!((cart.subtotal, cart.tax), (cart.total, Some(money("0.00", "GBP"))));
        assert!(cart.items.iter().all(|item| item.problem.is_none()));
        assert_eq!(cart.items[1].unit_price, Some(money("0.005", "GBP")));
        assert_eq!(cart.items[0].title, "Lantern");
    }

    fn sums(cart: &Cart) -> [Option<Money>; 5] {
        [cart.subtotal, cart.discount, cart.shipping, cart.tax, cart.total]
    }

    #[test]
    fn what_is_not_for_sale_says_so_and_then_there_is_no_total() {
        let cart = priced(&[("archived", 1), ("euro", 1), ("unknown", 1), ("lantern", 1)]);
        assert_eq!(totals(&cart), [None, None, None, Some("2.55".into())]);
        assert!(cart.items[..3].iter().all(|item| item.unit_price.is_none() && item.problem == Some(LineProblem::NotForSale)));
        assert_eq!((cart.items[1].title.as_str(), cart.items[3].problem), ("Euro", None));
        assert_eq!(sums(&cart), [None; 5]);
    }

    #[test]
    fn a_line_past_the_limit_says_so_and_then_there_is_no_total() {
        let cart = priced(&[("palace", 1), ("palace", 2), ("lantern", 1), ("half", 2)]);
        assert_eq!(totals(&cart), [Some("999999999999.00".into()), None, None, Some("0.01".into())]);
        let too_large = Some(LineProblem::TotalTooLarge);
        assert_eq!(cart.items.iter().map(|item| item.problem).collect::<Vec<_>>(), [None, too_large, too_large, None]);
        assert_eq!(sums(&cart), [None; 5]);
        assert_eq!(cart.items[1].unit_price, Some(money("999999999999", "GBP")));
    }

    #[test]
    fn an_empty_cart_comes_to_nothing() {
        assert_eq!(priced(&[]).total, Some(money("0.00", "GBP")));
    }
}
