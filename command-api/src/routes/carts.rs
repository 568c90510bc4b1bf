//! Carts: filled with what is for sale, shown at the prices of now.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::extract::State;
use domain::cart;
use event_schemas::{
    Currency, StreamId, Timestamp,
    events::order::ItemQuantity,
    ids::{CartId, Sku},
    resource,
};
use gateway::{FieldError, Json, Path2, Problem, Route, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Notes, notes};
use crate::{
    pricing::{self, Offer, cart_resource},
    refusals::{conflict, unstored},
    shop::Shop,
    write::{Answer, Draft, Write},
};

/// A cart to be created.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewCart {
    currency: Currency,
    #[serde(default)]
    #[schemars(length(max = 200))]
    items: Vec<NewItem>,
    #[serde(default)]
    #[schemars(schema_with = "notes")]
    metadata: Notes,
}

/// A line to be put into a cart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewItem {
    sku: Sku,
    #[schemars(range(min = 1, max = 10_000))]
    quantity: u32,
}

/// How many of a product a cart is to hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Quantity {
    #[schemars(range(min = 1, max = 10_000))]
    quantity: u32,
}

pub(super) fn routes() -> Routes<Shop> {
    const CHECKED_OUT: &str = "The cart was bought; `order` is the order it became. Start a new cart.";
    Routes::new()
        .add(
            Route::post("/v1/carts", create)
                .summary("Create a cart")
                .tag("Carts")
                .body::<NewCart>()
                .example(json!({"currency": "GBP", "items": [{"sku": "85123A", "quantity": 2}]}))
                .answers::<resource::Cart>(201)
                .leads_to("/v1/carts/{id}", "$response.body#/id")
                .leads_to("/v1/streams/{stream}", "cart-{$response.body#/id}")
                .problem(409, "not_for_sale", "A product is archived, or priced in another currency than the cart."),
        )
        .add(
            Route::put("/v1/carts/{id}/items/{sku}", set_item)
                .summary("Put a product into a cart, or change how many")
                .tag("Carts")
                .path_param::<CartId>("id", "The cart's id.")
                .path_param::<Sku>("sku", "The product's SKU.")
                .body::<Quantity>()
                .example(json!({"quantity": 3}))
                .answers::<resource::Cart>(200)
                .problem(409, "not_for_sale", "The product is archived, or priced in another currency than the cart.")
                .problem(409, "cart_checked_out", CHECKED_OUT)
                .problem(409, "cart_full", "The cart has as many lines as a cart may have."),
        )
        .add(
            Route::delete("/v1/carts/{id}/items/{sku}", remove_item)
                .summary("Take a product out of a cart")
                .tag("Carts")
                .path_param::<CartId>("id", "The cart's id.")
                .path_param::<Sku>("sku", "The product's SKU.")
                .answers::<resource::Cart>(200)
                .problem(409, "cart_checked_out", CHECKED_OUT),
        )
}

async fn create(State(shop): State<Shop>, write: Write, Json(new): Json<NewCart>) -> Result<Answer, Problem> {
    let skus: Vec<Sku> = new.items.iter().map(|item| item.sku.clone()).collect();
    let offers = look_up(&shop, &skus, write.context.now).await?;
    refuse_unknown_or_repeated(&new.items, &offers)?;
    for sku in &skus {
        require_for_sale(&offers, sku, new.currency)?;
    }
    let id = CartId(Uuid::now_v7());
    let stream = StreamId::cart(id);
    shop.carts.begin(&stream);
    let items = new.items.into_iter().map(|NewItem { sku, quantity }| ItemQuantity { sku, quantity }).collect();
    let shown = offers.iter().map(|(sku, offer)| (sku.clone(), offer.price)).collect::<BTreeMap<_, _>>();
    let command = cart::Command::Create { currency: new.currency, metadata: new.metadata, items, shown };
    let location = format!("/v1/carts/{id}");
    let render = |state: &cart::State, version| Draft::created(location.clone(), version, &cart_resource(id, state, version, &offers)?);
    write.run(&shop.carts, &stream, &command, render).await
}

fn refuse_unknown_or_repeated(items: &[NewItem], offers: &HashMap<Sku, Offer>) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("/items/{index}/sku");
        if !offers.contains_key(&item.sku) {
            errors.push(FieldError::new(pointer, "unknown_product", "names no product: create it first"));
        } else if !seen.insert(&item.sku) {
            errors.push(FieldError::new(pointer, "repeated", "stands in the list already: add the quantities up"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

async fn set_item(
    State(shop): State<Shop>,
    Path2(id, sku): Path2<CartId, Sku>,
    write: Write,
    Json(wanted): Json<Quantity>,
) -> Result<Answer, Problem> {
    let (offers, currency) = offers_of_cart(&shop, id, Some(&sku), write.context.now).await?;
    if let Some(currency) = currency {
        require_for_sale(&offers, &sku, currency)?;
    }
    let unit_price = offers.get(&sku).map(|offer| offer.price);
    let command = cart::Command::SetItem { sku, quantity: wanted.quantity, unit_price };
    change(&shop, id, &write, &command, &offers).await
}

async fn remove_item(State(shop): State<Shop>, Path2(id, sku): Path2<CartId, Sku>, write: Write) -> Result<Answer, Problem> {
    let (offers, _) = offers_of_cart(&shop, id, None, write.context.now).await?;
    change(&shop, id, &write, &cart::Command::RemoveItem { sku }, &offers).await
}

async fn change(shop: &Shop, id: CartId, write: &Write, command: &cart::Command, offers: &HashMap<Sku, Offer>) -> Result<Answer, Problem> {
    let render = |state: &cart::State, version| Draft::changed(version, &cart_resource(id, state, version, offers)?);
    write.run(&shop.carts, &StreamId::cart(id), command, render).await
}

/// The offers of what a cart holds and of `sku`, which must exist; and the cart's currency, if there is such a cart.
async fn offers_of_cart(
    shop: &Shop,
    id: CartId,
    sku: Option<&Sku>,
    now: Timestamp,
) -> Result<(HashMap<Sku, Offer>, Option<Currency>), Problem> {
    let held = |state: &cart::State, _: i64| (state.items().iter().map(|item| item.sku.clone()).collect::<Vec<_>>(), state.currency());
    let ((mut skus, currency), ..) = shop.carts.current(&StreamId::cart(id), held).await.map_err(|error| unstored(&error))?;
    if let Some(sku) = sku.filter(|sku| !skus.contains(sku)) {
        skus.push(sku.clone());
    }
    let offers = look_up(shop, &skus, now).await?;
    match sku {
        Some(sku) if currency.is_some() && !offers.contains_key(sku) => Err(Problem::not_found(format!("There is no product {sku}."))),
        _ => Ok((offers, currency)),
    }
}

async fn look_up(shop: &Shop, skus: &[Sku], now: Timestamp) -> Result<HashMap<Sku, Offer>, Problem> {
    pricing::offers(shop, skus, now).await.map_err(|error| unstored(&error))
}

fn require_for_sale(offers: &HashMap<Sku, Offer>, sku: &Sku, currency: Currency) -> Result<(), Problem> {
    match offers.get(sku) {
        Some(offer) if offer.price_in(currency).is_some() => Ok(()),
        Some(offer) if !offer.is_active => Err(conflict("not_for_sale", format!("product {sku} is archived"))),
        _ => Err(conflict("not_for_sale", format!("product {sku} is not priced in {currency}, the cart's currency"))),
    }
}
