//! What a SKU's stock decides.

use event_schemas::{
    Timestamp,
    events::stock::{
        AllotmentEnd, Event, StockAdjusted, StockAllotmentClosed, StockAllotted, StockCommitted, StockExpired, StockReceived,
        StockReleased, StockReserved, StockReturned, StockWithheld,
    },
    ids::{FlashSaleId, OrderId},
};

use super::{Command, MAX_ON_HAND, MAX_SALE_DAYS, Refusal, Reservation, Sale, State};

/// The most holds that one command ends; the next one goes on.
const MAX_EXPIRED: usize = 500;

pub(super) fn decide(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Receive { quantity: 0, .. } | Command::Adjust { quantity: 0, .. } | Command::Return { quantity: 0, .. } => Ok(Vec::new()),
        Command::Receive { quantity, reference } => {
            refuse_overflow(state, i64::from(*quantity))?;
            Ok(vec![StockReceived { quantity: *quantity, reference: reference.clone() }.into()])
        }
        Command::Adjust { quantity, reason } => adjust(state, *quantity, reason, now),
        Command::Count { on_hand, reason } => match i64::from(*on_hand) - state.on_hand() {
            0 => Ok(Vec::new()),
            difference => adjust(state, difference, reason, now),
        },
        Command::Reserve { .. } => reserve(state, command, now),
        Command::Commit { order } => commit(state, *order).ok_or(Refusal::NoReservation { order: *order }),
        Command::Fulfil { .. } => fulfil(state, command, now),
        Command::Withhold { order } => Ok(vec![StockWithheld { order: *order }.into()]),
        Command::Release { order } => Ok(release(state, *order)),
        Command::Expire => Ok(expire(state, now)),
        Command::Return { order, quantity, return_id, sale, customer } => {
            let sale = sale.filter(|sale| takes_back(state, *sale, *quantity, customer, now));
            let (return_id, customer) = (*return_id, customer.clone());
            Ok(vec![StockReturned { order: *order, quantity: *quantity, return_id, sale, customer }.into()])
        }
        Command::Allot { .. } => allot(state, command, now),
        Command::CloseAllotment { sale, reason } => Ok(close(state, *sale, *reason, now)),
        Command::ImportCorrection(correction) => Ok(vec![correction.clone().into()]),
    }
}

fn adjust(state: &State, quantity: i64, reason: &str, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    refuse_overflow(state, quantity)?;
    let available = state.ordinary(now);
    if quantity < 0 && quantity.saturating_add(available) < 0 {
        return Err(Refusal::InsufficientStock { requested: quantity.saturating_neg(), available });
    }
    Ok(after_closing(state, now, StockAdjusted { quantity, reason: reason.to_owned() }))
}

fn reserve(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    let Command::Reserve { order, quantity, until, customer, sale } = command else { return Ok(Vec::new()) };
    let running = state.running_sale(now);
    let available = state.available(now);
    match running.map(|sale| sale.id) {
        _ if *quantity == 0 || state.reservation(*order).is_some() => return Ok(Vec::new()),
        running if running != *sale => return Err(Refusal::SaleChanged { priced: *sale, running }),
        _ if i64::from(*quantity) > available => return Err(Refusal::OutOfStock { requested: *quantity, available }),
        _ => {}
    }
    if let Some((sale, limit)) = running.and_then(|sale| Some((sale, sale.limit_per_customer?))) {
        let held = sale.held_by(customer);
        if held + i64::from(*quantity) > i64::from(limit) {
            return Err(Refusal::LimitPerCustomer { limit, held });
        }
    }
    let (customer, sale) = (customer.clone(), *sale);
    Ok(after_closing(state, now, StockReserved { order: *order, quantity: *quantity, until: *until, customer, sale }))
}

fn commit(state: &State, order: OrderId) -> Option<Vec<Event>> {
    let held = state.reservation(order)?;
    Some(vec![StockCommitted { order, quantity: held.quantity, sale: held.sale }.into()])
}

/// A paid order has no price to lose any more: where its sale can't give the units, those that nobody holds will do.
fn fulfil(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    let Command::Fulfil { order, quantity, customer, sale: bought_in } = command else { return Ok(Vec::new()) };
    if let Some(committed) = commit(state, *order) {
        return Ok(committed);
    }
    let (order, wanted) = (*order, i64::from(*quantity));
    let has_room = |sale: &&Sale| {
        let is_within_limit = sale.limit_per_customer.is_none_or(|limit| sale.held_by(customer) + wanted <= i64::from(limit));
        Some(sale.id) == *bought_in && wanted <= sale.remaining() && is_within_limit
    };
    let available = state.ordinary(now);
    let sale = state.running_sale(now).filter(has_room).map(|sale| sale.id);
    if sale.is_none() && wanted > available {
        return Err(Refusal::OutOfStock { requested: *quantity, available });
    }
    let reserved = StockReserved { order, quantity: *quantity, until: now, customer: customer.clone(), sale };
    let mut events = after_closing(state, now, reserved);
    events.push(StockCommitted { order, quantity: *quantity, sale }.into());
    Ok(events)
}

fn release(state: &State, order: OrderId) -> Vec<Event> {
    let released =
        |held: &Reservation| StockReleased { order, quantity: held.quantity, sale: held.sale, to_allotment: held.of_allotment }.into();
    state.reservation(order).map(released).into_iter().collect()
}

fn expire(state: &State, now: Timestamp) -> Vec<Event> {
    let due = state.count().into_iter().flat_map(|count| &count.expiries).take_while(|(until, _)| *until <= now);
    let expired = |(_, order): &(Timestamp, OrderId)| {
        let held = state.reservation(*order)?;
        Some(StockExpired { order: *order, quantity: held.quantity, sale: held.sale, to_allotment: held.of_allotment }.into())
    };
    due.take(MAX_EXPIRED).filter_map(expired).collect()
}

/// Whether a sale takes units back that it sold: while it is open, and as far as it and the customer have them.
fn takes_back(state: &State, sale: FlashSaleId, quantity: u32, customer: &str, now: Timestamp) -> bool {
    let quantity = i64::from(quantity);
    state.sale(sale).is_some_and(|sale| !sale.is_over(now) && sale.sold >= quantity && sale.held_by(customer) >= quantity)
}

fn allot(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    let Command::Allot { sale, quantity, starts_at, ends_at, price, limit_per_customer } = command else { return Ok(Vec::new()) };
    let (sale, quantity, starts_at, ends_at) = (*sale, *quantity, *starts_at, *ends_at);
    if state.sale(sale).is_some() {
        return Ok(Vec::new());
    }
    if ends_at <= starts_at || ends_at <= now {
        return Err(Refusal::InvalidWindow { starts_at, ends_at });
    }
    if ends_at.since(starts_at).num_microseconds().is_none_or(|length| length > MAX_SALE_DAYS * 86_400_000_000) {
        return Err(Refusal::SaleTooLong { starts_at, ends_at });
    }
    let overlaps = |other: &&Sale| !other.is_over(now) && other.starts_at < ends_at && starts_at < other.ends_at;
    if let Some(Sale { id, starts_at, ends_at, .. }) = state.sales().find(overlaps) {
        return Err(Refusal::OverlappingSale { sale: *id, starts_at: *starts_at, ends_at: *ends_at });
    }
    let (requested, available) = (i64::from(quantity), state.ordinary(now));
    if requested > available {
        return Err(Refusal::InsufficientStock { requested, available });
    }
    let allotted = StockAllotted { sale, quantity, starts_at, ends_at, price: *price, limit_per_customer: *limit_per_customer };
    Ok(after_closing(state, now, allotted))
}

fn close(state: &State, sale: FlashSaleId, reason: AllotmentEnd, now: Timestamp) -> Vec<Event> {
    let due = |sale: &&Sale| reason == AllotmentEnd::Cancelled || sale.is_over(now);
    state.sale(sale).filter(due).map(|sale| closed(sale, reason)).into_iter().collect()
}

/// The event, after the closing of every sale whose time is over: what they did not sell was counted as ordinary stock.
fn after_closing(state: &State, now: Timestamp, event: impl Into<Event>) -> Vec<Event> {
    let over = state.sales().filter(|sale| sale.is_over(now)).map(|sale| closed(sale, AllotmentEnd::Ended));
    over.chain([event.into()]).collect()
}

fn closed(sale: &Sale, reason: AllotmentEnd) -> Event {
    StockAllotmentClosed { sale: sale.id, unsold: u32::try_from(sale.remaining()).unwrap_or(0), reason }.into()
}

fn refuse_overflow(state: &State, quantity: i64) -> Result<(), Refusal> {
    let on_hand = state.on_hand();
    if on_hand.saturating_add(quantity) > MAX_ON_HAND { Err(Refusal::Overflow { on_hand, quantity }) } else { Ok(()) }
}
