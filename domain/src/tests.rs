//! What holds of every aggregate: `evolve` takes any event in any order, and leaves alone what can't be.

use std::{collections::BTreeMap, fmt::Debug};

use event_schemas::{
    Event as LogEvent,
    events::{
        cart::{CartCheckedOut, CartCreated, CartItemRemoved, CartItemSet},
        category::{CategoryCreated, CategoryMoved, CategoryRenamed},
        flash_sale::{FlashSaleAnnounced, FlashSaleCancelled, FlashSaleEnded, FlashSaleStarted},
        product::{Description, ProductActivated, ProductArchived, ProductCreated, ProductDescribed, ProductRepriced},
        stock::AllotmentEnd,
    },
    ids::OrderId,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    Aggregate,
    cart::Cart,
    category::Category,
    flash_sale::FlashSale,
    harness::{after, gbp, id, sku, t},
    order::{self, Order},
    payment::{self, Payment},
    product::Product,
    projection::{self, Projection},
    review::{self, Review},
    stock::{self, Stock},
};

/// One event of each type, those that begin a stream first.
fn category_events() -> Vec<<Category as Aggregate>::Event> {
    vec![
        CategoryCreated { id: "a".parse().unwrap(), name: "A".to_owned(), parent: None }.into(),
        CategoryRenamed { name: "B".to_owned() }.into(),
        CategoryMoved { parent: Some("b".parse().unwrap()) }.into(),
    ]
}

fn product_events() -> Vec<<Product as Aggregate>::Event> {
    let description = Description { title: "A".to_owned(), ..Description::default() };
    vec![
        ProductCreated { sku: sku("A"), description: description.clone(), price: gbp("1") }.into(),
        ProductDescribed { description }.into(),
        ProductRepriced { from: gbp("1"), to: gbp("2") }.into(),
        ProductArchived {}.into(),
        ProductActivated {}.into(),
    ]
}

fn flash_sale_events() -> Vec<<FlashSale as Aggregate>::Event> {
    let (starts_at, ends_at) = (t(10), t(20));
    vec![
        FlashSaleAnnounced { sku: sku("A"), starts_at, ends_at, allotment: 5, price: gbp("1"), limit_per_customer: None }.into(),
        FlashSaleStarted {}.into(),
        FlashSaleEnded {}.into(),
        FlashSaleCancelled {}.into(),
    ]
}

fn cart_events() -> Vec<<Cart as Aggregate>::Event> {
    vec![
        CartCreated { currency: "GBP".parse().unwrap(), metadata: BTreeMap::new() }.into(),
        CartItemSet { sku: sku("A"), quantity: 1, unit_price: None }.into(),
        CartItemRemoved { sku: sku("A") }.into(),
        CartCheckedOut { order: OrderId(id(1)) }.into(),
    ]
}

fn stock_events() -> Vec<<Stock as Aggregate>::Event> {
    use stock::tests::{adjusted, allotted, closed, committed, expired, received, released, reserved, returned, sale};
    vec![
        received(u32::MAX),
        adjusted(i64::MAX),
        adjusted(i64::MIN),
        reserved(1, u32::MAX, Some(sale(1))),
        reserved(2, 3, Some(sale(1))),
        committed(1, 3, Some(sale(1))),
        released(2, 7, Some(sale(1)), true),
        expired(1, 1, None, false),
        returned(1, u32::MAX, Some(sale(1))),
        allotted(1, 5, 10, 20),
        allotted(1, u32::MAX, 10, 20),
        closed(1, 5, AllotmentEnd::Ended),
    ]
}

/// Folds events in random orders; every state is shown to auditors as a JSON object that says what it is, and read from it it is the same.
fn takes_anything<A: Aggregate<State: PartialEq, Event: Debug>>(events: &[A::Event]) {
    let orders = vec((0..events.len(), 0..30_i64), 0..40);
    let mut runner = proptest::test_runner::TestRunner::default();
    let result = runner.run(&orders, |order| {
        let state = after::<A>(order.into_iter().map(|(index, second)| (second, events[index].clone())));
        let shown = serde_json::to_value(&state).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(shown.get("status").or_else(|| shown.get("kind")).is_some_and(serde_json::Value::is_string), "{shown}");
        let read: A::State = serde_json::from_str(&shown.to_string()).map_err(|error| TestCaseError::fail(format!("{error}: {shown}")))?;
        prop_assert_eq!(read, state);
        Ok(())
    });
    result.unwrap();
}

/// Nothing but the first `begin` events begins anything.
fn begins_with<A: Aggregate<State: PartialEq, Event: Debug>>(begin: usize, events: &[A::Event]) {
    for event in &events[begin..] {
        assert_eq!(after::<A>([(0, event.clone())]), A::State::default(), "{event:?}");
    }
}

/// The events are the aggregate's own, and nobody else's.
fn owns<A: Aggregate>(events: &[A::Event], foreign: &[LogEvent]) {
    assert!(events.iter().all(|event| A::own(&event.clone().into()).is_some()), "{}", A::CATEGORY);
    assert!(foreign.iter().all(|event| (event.category() == A::CATEGORY) == A::own(event).is_some()), "{}", A::CATEGORY);
}

#[test]
fn evolve_takes_any_event_in_any_order() {
    takes_anything::<Category>(&category_events());
    takes_anything::<Product>(&product_events());
    takes_anything::<FlashSale>(&flash_sale_events());
    takes_anything::<Cart>(&cart_events());
    takes_anything::<Stock>(&stock_events());
    takes_anything::<Order>(&order::tests::events());
    takes_anything::<Payment>(&payment::tests::events());
    takes_anything::<Review>(&review::tests::events());
    takes_anything::<Projection>(&projection::tests::events());
}

#[test]
fn what_can_t_be_is_ignored() {
    begins_with::<Category>(1, &category_events());
    begins_with::<Product>(1, &product_events());
    begins_with::<FlashSale>(1, &flash_sale_events());
    begins_with::<Cart>(1, &cart_events());
    begins_with::<Order>(3, &order::tests::events());
    begins_with::<Payment>(1, &payment::tests::events());
    begins_with::<Review>(1, &review::tests::events());
}

#[test]
fn an_event_belongs_to_one_aggregate() {
    let all: Vec<LogEvent> = [
        category_events().remove(0).into(),
        product_events().remove(0).into(),
        flash_sale_events().remove(0).into(),
        cart_events().remove(0).into(),
        stock_events().remove(0).into(),
        order::tests::events().remove(0).into(),
        payment::tests::events().remove(0).into(),
        review::tests::events().remove(0).into(),
        projection::tests::events().remove(0).into(),
    ]
    .into();
    owns::<Category>(&category_events(), &all);
    owns::<Product>(&product_events(), &all);
    owns::<FlashSale>(&flash_sale_events(), &all);
    owns::<Cart>(&cart_events(), &all);
    owns::<Stock>(&stock_events(), &all);
    owns::<Order>(&order::tests::events(), &all);
    owns::<Payment>(&payment::tests::events(), &all);
    owns::<Review>(&review::tests::events(), &all);
    owns::<Projection>(&projection::tests::events(), &all);
}
