//! Carts, without titles and prices, which are those of the moment they are read.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{
    Event as LogEvent, Money, Recorded, Timestamp,
    events::cart::{CartCheckedOut, CartCreated, CartItemRemoved, CartItemSet, Event},
    ids::{CartId, Sku},
    resource::{Cart, CartItem, CartStatus},
};
use futures::FutureExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Applied, Error, Projection, from_document,
    streams::{self, Stream},
    to_document,
};

pub(crate) struct Carts;

impl Projection for Carts {
    fn name(&self) -> &'static str {
        "carts"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["carts"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["cart"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

fn created(id: CartId, event: &CartCreated, at: Timestamp) -> Cart {
    let nothing = Some(Money::zero(event.currency));
    Cart {
        id,
        currency: event.currency,
        items: Vec::new(),
        subtotal: nothing,
        discount: nothing,
        shipping: nothing,
        tax: nothing,
        total: nothing,
        status: CartStatus::Open,
        order: None,
        metadata: event.metadata.clone(),
        created_at: at,
        updated_at: at,
        version: 0,
    }
}

/// Changes an open cart; one that was bought stays as it is.
fn change(cart: &mut Cart, event: &Event, at: Timestamp) {
    if cart.status == CartStatus::CheckedOut {
        return;
    }
    match event {
        Event::Created(_) => return,
        Event::ItemSet(CartItemSet { sku, quantity, .. }) => set(&mut cart.items, sku, *quantity),
        Event::ItemRemoved(CartItemRemoved { sku }) => cart.items.retain(|item| item.sku != *sku),
        Event::CheckedOut(CartCheckedOut { order }) => {
            cart.status = CartStatus::CheckedOut;
            cart.order = Some(*order);
        }
    }
    cart.updated_at = at;
}

fn set(items: &mut Vec<CartItem>, sku: &Sku, quantity: u32) {
    match items.iter_mut().find(|item| item.sku == *sku) {
        Some(item) => item.quantity = quantity,
        None => items.push(CartItem::unpriced(sku.clone(), quantity)),
    }
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let touched = streams::by_key::<CartId, Event>(events, |event| match event {
        LogEvent::Cart(event) => Some(event),
        _ => None,
    })?;
    let mut parts = streams::Parts::of(touched);
    while let Some(touched) = parts.next() {
        let loaded = load(&mut *connection, &streams::continued(&touched)).await?;
        let (touched, mut carts) = parts.with(touched, loaded);
        fold(&mut carts, &touched);
        write(&mut *connection, &carts).await?;
    }
    Ok(())
}

/// Folds `touched` into `carts`, which has those that are there already.
fn fold(carts: &mut BTreeMap<CartId, Cart>, touched: &BTreeMap<CartId, Stream<'_, Event>>) {
    for (id, stream) in touched {
        for (recorded, event) in &stream.events {
            let at = recorded.recorded_at;
            match (carts.get_mut(id), event) {
                (None, Event::Created(event)) => drop(carts.insert(*id, created(*id, event, at))),
                (Some(cart), event) if cart.version < recorded.version => change(cart, event, at),
                _ => {}
            }
        }
        if let Some(cart) = carts.get_mut(id) {
            cart.version = stream.version().max(cart.version);
        }
    }
}

async fn load(connection: &mut PgConnection, ids: &[CartId]) -> Result<streams::Loaded<CartId, Cart>, Error> {
    if ids.is_empty() {
        return Ok(streams::Loaded::nothing());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(r#"select id, document::text as "document!" from carts where id = any($1)"#, &ids).fetch(connection);
    streams::Loaded::of(rows, |row| row.document.len(), |row| Ok((CartId(row.id), from_document(row.id, &row.document)?))).await
}

async fn write(connection: &mut PgConnection, carts: &BTreeMap<CartId, Cart>) -> Result<(), Error> {
    let ids: Vec<Uuid> = carts.keys().map(|id| id.uuid()).collect();
    let versions: Vec<i64> = carts.values().map(|cart| cart.version).collect();
    let documents = carts.iter().map(|(id, cart)| to_document(id, cart)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        insert into carts as c (id, version, document)
        select r.id, r.version, r.document::json
        from unnest($1::uuid[], $2::bigint[], $3::text[]) as r (id, version, document)
        on conflict (id) do update set version = excluded.version, document = excluded.document where c.version < excluded.version
        "#,
        &ids,
        &versions,
        &documents,
    )
    .execute(connection)
    .await?;
    Ok(())
}
