//! Ahead of the feed: what must be done before a client's request may go on, whether or not the process managers have come that far.

use event_schemas::{Event, StreamId, events::order::Event as OrderEvent, ids::OrderId};
use futures::TryStreamExt as _;

use super::{Changes, plan, runner::handle};
use crate::shop::Shop;

/// Sees to it that the units of a confirmed order have left stock, as they must before a parcel does: as long as they have not, the reservation
/// may still end, and they may be sold to somebody else. Where it had ended, the order is cancelled by this.
///
/// It does what the process managers do about the confirmation, under the same command ids, so that whoever comes second changes nothing.
///
/// # Errors
/// The log can't be reached.
pub async fn let_units_go(shop: &Shop, order: OrderId) -> Result<(), event_store::Error> {
    let stream = StreamId::order(order);
    let (is_confirmed, version, _) = shop.orders.current(&stream, |state, _| plan::must_have_left_stock(state)).await?;
    if !is_confirmed {
        return Ok(());
    }
    let mut events = shop.store.stream_up_to(&stream, version);
    while let Some(stored) = events.try_next().await? {
        let event = match stored.decode() {
            Ok(event) => event,
            Err(undecodable) => return Err(event_store::newer::told(shop.store.pool(), undecodable).await),
        };
        if !matches!(&event.event, Event::Order(OrderEvent::Confirmed(_))) {
            continue;
        }
        let commands = |state: &domain::order::State, _| plan::commit_commands(&event, state);
        for (_, command) in shop.orders.at_least(&stream, version, commands).await? {
            if shop.store.position_of(command).await?.is_none() {
                return handle(shop, &event, &mut Changes::default()).await;
            }
        }
    }
    Ok(())
}
