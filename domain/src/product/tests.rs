use std::collections::BTreeMap;

use event_schemas::{
    Money,
    events::product::{Description, Event, Image, ProductActivated, ProductArchived, ProductCreated, ProductDescribed, ProductRepriced},
    resource::{ProductStatus, ProductStock, Rating},
};

use super::{Change, Command, MAX_ATTRIBUTES, MAX_METADATA, Product, Refusal};
use crate::harness::{after, eur, gbp, given, sku, t};

fn entries(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn patch(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
}

fn mug() -> Description {
    Description {
        title: "Mug".to_owned(),
        description: Some("Holds tea".to_owned()),
        category: Some("home".parse().unwrap()),
        brand: Some("Potter".to_owned()),
        images: vec![Image { url: "https://shop.example/mug.png".to_owned(), alt: String::new() }],
        attributes: entries(&[("colour", "white"), ("size", "large")]),
        metadata: entries(&[("shelf", "7")]),
    }
}

fn created() -> Event {
    ProductCreated { sku: sku("A"), description: mug(), price: gbp("2.50") }.into()
}

fn described(description: Description) -> Event {
    ProductDescribed { description }.into()
}

fn archived() -> Event {
    ProductArchived {}.into()
}

fn activated() -> Event {
    ProductActivated {}.into()
}

fn create(description: Description) -> Command {
    Command::Create { sku: sku("A"), description, price: gbp("2.50") }
}

fn change(change: Change) -> Command {
    Command::Change(Box::new(change))
}

fn reprice(price: Money) -> Command {
    change(Change { price: Some(price), ..Change::default() })
}

fn numbered(count: usize) -> BTreeMap<String, String> {
    (0..count).map(|n| (format!("k{n}"), String::new())).collect()
}

#[test]
fn a_product_is_created_once() {
    given::<Product>([]).when(create(mug())).then([created()]);
    given::<Product>([created()]).when(create(mug())).then_refused(Refusal::Taken { sku: sku("A") });
    given::<Product>([created(), archived()]).when(create(mug())).then_refused(Refusal::Taken { sku: sku("A") });
}

#[test]
fn a_product_that_is_not_there_can_t_be_changed() {
    given::<Product>([]).when(change(Change::default())).then_refused(Refusal::Unknown);
}

#[test]
fn a_change_that_changes_nothing_is_nothing() {
    let same = Change {
        title: Some("Mug".to_owned()),
        description: Some(mug().description),
        category: Some(mug().category),
        brand: Some(mug().brand),
        images: Some(mug().images),
        attributes: Some(Some(patch(&[("colour", Some("white")), ("height", None)]))),
        metadata: Some(Some(patch(&[]))),
        price: Some(gbp("2.50")),
        archived: Some(false),
    };
    given::<Product>([created()]).when(change(same)).then_nothing();
    given::<Product>([created()]).when(change(Change::default())).then_nothing();
}

#[test]
fn what_a_patch_leaves_out_stays() {
    let title = Change { title: Some("Cup".to_owned()), ..Change::default() };
    given::<Product>([created()]).when(change(title)).then([described(Description { title: "Cup".to_owned(), ..mug() })]);
}

#[test]
fn what_a_patch_sets_to_null_is_removed() {
    let removing = Change { description: Some(None), category: Some(None), brand: Some(None), images: Some(vec![]), ..Change::default() };
    let bare = Description { description: None, category: None, brand: None, images: vec![], ..mug() };
    given::<Product>([created()]).when(change(removing)).then([described(bare)]);
}

#[test]
fn maps_are_merged_entry_by_entry() {
    let attributes = Some(Some(patch(&[("colour", None), ("size", Some("small")), ("handle", Some("left"))])));
    let merged = Description { attributes: entries(&[("handle", "left"), ("size", "small")]), ..mug() };
    given::<Product>([created()]).when(change(Change { attributes, ..Change::default() })).then([described(merged)]);
    let emptying = Change { attributes: Some(None), metadata: Some(None), ..Change::default() };
    let emptied = Description { attributes: entries(&[]), metadata: entries(&[]), ..mug() };
    given::<Product>([created()]).when(change(emptying)).then([described(emptied)]);
}

#[test]
fn a_price_changes_in_value_currency_or_written_form() {
    for to in [gbp("3"), eur("2.50"), gbp("2.5"), gbp("2.500")] {
        given::<Product>([created()]).when(reprice(to)).then([ProductRepriced { from: gbp("2.50"), to }.into()]);
    }
    let shown = after::<Product>([(0, created()), (1, ProductRepriced { from: gbp("2.50"), to: gbp("2.5") }.into())]);
    assert_eq!(shown.listing().unwrap().price.amount.to_string(), "2.5");
}

#[test]
fn a_product_is_archived_and_activated() {
    let archive = |archived| change(Change { archived: Some(archived), ..Change::default() });
    given::<Product>([created()]).when(archive(true)).then([archived()]);
    given::<Product>([created()]).when(archive(false)).then_nothing();
    given::<Product>([created(), archived()]).when(archive(true)).then_nothing();
    given::<Product>([created(), archived()]).when(archive(false)).then([activated()]);
}

#[test]
fn one_patch_may_change_everything() {
    let everything = Change { title: Some("Cup".to_owned()), price: Some(gbp("3")), archived: Some(true), ..Change::default() };
    given::<Product>([created()]).when(change(everything)).then([
        described(Description { title: "Cup".to_owned(), ..mug() }),
        ProductRepriced { from: gbp("2.50"), to: gbp("3") }.into(),
        archived(),
    ]);
}

#[test]
fn a_product_has_at_most_50_attributes_and_20_notes() {
    let count = MAX_ATTRIBUTES + 1;
    let with = |attributes, metadata| Description { attributes, metadata, ..mug() };
    given::<Product>([]).when(create(with(numbered(count), entries(&[])))).then_refused(Refusal::TooManyAttributes { count });
    given::<Product>([])
        .when(create(with(entries(&[]), numbered(MAX_METADATA + 1))))
        .then_refused(Refusal::TooManyMetadata { count: MAX_METADATA + 1 });
    let full =
        || ProductCreated { sku: sku("A"), description: with(numbered(MAX_ATTRIBUTES), numbered(MAX_METADATA)), price: gbp("1") }.into();
    let one_more = Change { attributes: Some(Some(patch(&[("more", Some(""))]))), ..Change::default() };
    given::<Product>([full()]).when(change(one_more)).then_refused(Refusal::TooManyAttributes { count });
    let one_more = Change { metadata: Some(Some(patch(&[("more", Some(""))]))), ..Change::default() };
    given::<Product>([full()]).when(change(one_more)).then_refused(Refusal::TooManyMetadata { count: MAX_METADATA + 1 });
    let swapped = Change { attributes: Some(Some(patch(&[("more", Some("")), ("k0", None)]))), ..Change::default() };
    assert!(<Product as crate::Aggregate>::decide(&after::<Product>([(0, full())]), &change(swapped), t(0)).is_ok());
}

#[test]
fn clients_see_the_product_with_its_stock_and_rating() {
    let state = after::<Product>([(1, created()), (2, archived())]);
    let product = state.resource(2, ProductStock::of(3), Rating::of(9, 2), None).unwrap();
    assert_eq!((product.title.as_str(), product.status, product.stock.available), ("Mug", ProductStatus::Archived, 3));
    assert_eq!((product.created_at, product.updated_at, product.version), (t(1), t(2), 2));
}
