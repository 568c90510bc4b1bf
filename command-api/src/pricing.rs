//! What things cost now: looked up from the newest committed state of products and their stock.

use std::collections::HashMap;

use domain::{cart, product, stock};
use event_schemas::{
    Currency, Money, StreamId, Timestamp,
    events::order::{Line, Totals},
    ids::{CartId, CategoryId, FlashSaleId, Sku},
    money,
    resource::{self, CartStatus},
};

use crate::shop::Shop;

/// What is known of a product at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Its title.
    pub title: String,
    /// Its category.
    pub category: Option<CategoryId>,
    /// Whether it is sold at all.
    pub is_active: bool,
    /// What one costs, a running flash sale's price included.
    pub price: Money,
    /// The flash sale that runs.
    pub sale: Option<FlashSaleId>,
}

impl Offer {
    /// What one costs, if it can be bought in `currency`.
    #[must_use]
    pub fn price_in(&self, currency: Currency) -> Option<Money> {
        Some(self.price).filter(|price| self.is_active && price.currency == currency)
    }

    /// The same while `sale` runs, if one does.
    #[must_use]
    pub fn during(self, sale: Option<(FlashSaleId, Money)>) -> Self {
        match sale {
            Some((sale, price)) => Self { sale: Some(sale), price, ..self },
            None => self,
        }
    }
}

/// The offers of `skus` at `now`; those that there are.
///
/// # Errors
/// The log can't be read.
pub async fn offers(shop: &Shop, skus: &[Sku], now: Timestamp) -> Result<HashMap<Sku, Offer>, event_store::Error> {
    let products: Vec<StreamId> = skus.iter().map(StreamId::product).collect();
    let stocks: Vec<StreamId> = skus.iter().map(StreamId::stock).collect();
    let listings = shop.products.current_all(&products, |state, _| listed(state));
    let sales = shop.stock.current_all(&stocks, |state, _| running(state, now));
    let (listings, sales) = futures::try_join!(listings, sales)?;
    let offers =
        skus.iter().zip(listings).zip(sales).filter_map(|((sku, (offer, ..)), (sale, ..))| Some((sku.clone(), offer?.during(sale))));
    Ok(offers.collect())
}

/// What a product costs while no sale runs; none where there is no such product.
#[must_use]
pub fn listed(state: &product::State) -> Option<Offer> {
    state.listing().map(|listing| Offer {
        title: listing.description.title.clone(),
        category: listing.description.category.clone(),
        is_active: state.is_active(),
        price: listing.price,
        sale: None,
    })
}

/// The sale that runs at `now`, and its price.
#[must_use]
pub fn running(state: &stock::State, now: Timestamp) -> Option<(FlashSaleId, Money)> {
    state.running_sale(now).map(|sale| (sale.id, sale.price))
}

/// The lines of an order for `items`, every one of which has an offer in one currency, and what they come to.
///
/// # Errors
/// A line, or the sum with it, is more than can be charged: its SKU and why.
#[expect(clippy::implicit_hasher, reason = "the map is the one that `offers` gives")]
pub fn order_lines(
    items: &[(Sku, u32)],
    offers: &HashMap<Sku, Offer>,
    currency: Currency,
) -> Result<(Vec<Line>, Totals), (Sku, money::Error)> {
    let mut lines = Vec::with_capacity(items.len());
    let mut subtotal = Money::zero(currency);
    for (sku, quantity) in items {
        let Some(offer) = offers.get(sku) else { continue };
        let of_line = |error| (sku.clone(), error);
        let line_total = offer.price.times(*quantity).map_err(of_line)?.rounded();
        subtotal = subtotal.plus(line_total).map_err(of_line)?;
        lines.push(Line {
            sku: sku.clone(),
            title: offer.title.clone(),
            category: offer.category.clone(),
            quantity: *quantity,
            unit_price: offer.price,
            line_total,
            sale: offer.sale,
        });
    }
    let nothing = Money::zero(currency);
    Ok((lines, Totals { subtotal, discount: nothing, shipping: nothing, tax: nothing, total: subtotal }))
}

/// A cart as clients see it, at the prices of `offers`; `None` where there is no such cart.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "the map is the one that `offers` gives")]
pub fn cart_resource(id: CartId, state: &cart::State, version: i64, offers: &HashMap<Sku, Offer>) -> Option<resource::Cart> {
    let contents = state.contents()?;
    let mut cart = resource::Cart {
        id,
        currency: contents.currency,
        items: contents.items.iter().map(|item| resource::CartItem::unpriced(item.sku.clone(), item.quantity)).collect(),
        subtotal: None,
        discount: None,
        shipping: None,
        tax: None,
        total: None,
        status: if state.order().is_some() { CartStatus::CheckedOut } else { CartStatus::Open },
        order: state.order(),
        metadata: contents.metadata.clone(),
        created_at: contents.created_at,
        updated_at: contents.updated_at,
        version,
    };
    cart.price(|sku| {
        let offer = offers.get(sku)?;
        Some(resource::PricedProduct { title: offer.title.clone(), price: offer.price_in(contents.currency) })
    });
    Some(cart)
}
