//! Why a cart can't be bought, told line by line.

use std::collections::HashMap;

use domain::stock;
use event_schemas::{
    Money,
    events::order::{Line, RejectionReason, Totals},
    ids::Sku,
    money,
};
use gateway::{FieldError, Problem};

use super::purchase::Contents;
use crate::{
    pricing::Offer,
    refusals::{Told as _, conflict},
};

fn pointer(sku: &Sku) -> String {
    format!("/items/{sku}")
}

/// 409 where a line is archived, priced in another currency, or no product at all.
pub(super) fn unless_for_sale(contents: &Contents, offers: &HashMap<Sku, Offer>) -> Result<(), Problem> {
    let mut errors = Vec::new();
    for item in &contents.items {
        let detail = match offers.get(&item.sku) {
            Some(offer) if offer.price_in(contents.currency).is_some() => continue,
            Some(offer) if !offer.is_active => "is archived: take it out of the cart".to_owned(),
            Some(_) => format!("is not priced in {}, the cart's currency: take it out of the cart", contents.currency),
            None => "is no product any more: take it out of the cart".to_owned(),
        };
        errors.push(FieldError::new(pointer(&item.sku), "not_for_sale", detail));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(errors.into_iter().fold(conflict("not_for_sale", "some of the cart can't be bought"), Problem::error))
}

/// 409: a line, or the cart with it, is more than can be charged.
pub(super) fn of_total((sku, error): (Sku, money::Error)) -> Problem {
    let detail = format!("{error}: put in fewer, or buy in several carts");
    conflict("total_too_large", error.to_string()).error(FieldError::new(pointer(&sku), "total_too_large", detail))
}

/// 409 where the total is not the one that the buyer was shown: with the total, and the lines whose price moved since they were put in.
pub(super) fn unless_expected(
    expected: Option<Money>,
    totals: &Totals,
    contents: &Contents,
    offers: &HashMap<Sku, Offer>,
) -> Result<(), Problem> {
    let Some(expected) = expected else { return Ok(()) };
    if expected.currency == totals.total.currency && expected.amount == totals.total.amount {
        return Ok(());
    }
    let detail = format!("the cart comes to {} now, not to {expected}: look at it again, then check out", totals.total);
    let moved = contents.items.iter().filter_map(|item| {
        let (old, new) = (contents.shown.get(&item.sku)?, offers.get(&item.sku)?.price);
        (*old != new).then(|| {
            FieldError::new(pointer(&item.sku), "price_changed", format!("costs {new} now, not {old}")).with("old", old).with("new", new)
        })
    });
    Err(moved.fold(conflict("price_changed", detail).with("total", totals.total), Problem::error))
}

/// The reason for which the order is rejected, and the answer to the client, where some lines can't be reserved.
pub(super) fn of_reservations(refusals: &[(&Line, stock::Refusal)]) -> (RejectionReason, Problem) {
    use stock::Refusal::{LimitPerCustomer, OutOfStock, SaleChanged};
    let rank = |refusal: &stock::Refusal| match refusal {
        OutOfStock { .. } => 1,
        LimitPerCustomer { .. } => 2,
        _ => 3,
    };
    let (reason, told) = match refusals.iter().map(|(_, refusal)| refusal).min_by_key(|refusal| rank(refusal)) {
        Some(OutOfStock { .. }) => {
            (RejectionReason::OutOfStock, conflict("out_of_stock", "some of the cart is out of stock: nothing was reserved"))
        }
        Some(LimitPerCustomer { .. }) => (
            RejectionReason::LimitPerCustomer,
            conflict("limit_per_customer", "a customer may buy only so many in this flash sale: nothing was reserved"),
        ),
        Some(SaleChanged { .. }) => (
            RejectionReason::PriceChanged,
            conflict("price_changed", "a flash sale began or ended while the cart was being checked out: look at it again, then check out"),
        ),
        Some(other) => (RejectionReason::Abandoned, other.told()),
        None => (RejectionReason::Abandoned, Problem::internal()),
    };
    let errors = refusals.iter().map(|(line, refusal)| line_error(line, refusal));
    (reason, errors.fold(told, Problem::error))
}

fn line_error(line: &Line, refusal: &stock::Refusal) -> FieldError {
    let error = FieldError::new(pointer(&line.sku), refusal.code(), refusal.to_string());
    match refusal {
        stock::Refusal::OutOfStock { requested, available } => error.with("requested", requested).with("available", available),
        stock::Refusal::LimitPerCustomer { limit, held } => error.with("requested", line.quantity).with("limit", limit).with("held", held),
        _ => error,
    }
}
