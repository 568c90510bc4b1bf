//! Units of an order: how many were bought, left and came back, and what may still leave or come back.

use std::collections::BTreeMap;

use event_schemas::{
    events::order::{Event, ItemQuantity, OrderDelivered, OrderReturned, OrderShipped},
    ids::{ReturnId, ShipmentId, Sku},
    resource::OrderStatus,
};

use super::{Excess, Purchase, Refusal};

/// Units by SKU.
type Units = BTreeMap<Sku, u64>;

impl Purchase {
    /// Units that were bought.
    #[must_use]
    pub fn ordered(&self) -> Units {
        summed(self.lines.iter().map(|line| (&line.sku, line.quantity)))
    }

    /// Units that left.
    #[must_use]
    pub fn shipped(&self) -> Units {
        summed(self.shipments.iter().flat_map(|shipment| pairs(&shipment.items)))
    }

    /// Units that came back.
    #[must_use]
    pub fn returned(&self) -> Units {
        summed(self.returns.iter().flat_map(|returned| pairs(&returned.items)))
    }

    /// Units that have not left yet, in the order of the lines; SKUs of which all have left are not among them.
    #[must_use]
    pub fn unshipped(&self) -> Vec<ItemQuantity> {
        let shipped = self.shipped();
        let mut left = minus(&self.ordered(), &shipped);
        let lines = self.lines.iter().filter_map(|line| left.remove(&line.sku).map(|quantity| (&line.sku, quantity)));
        lines.filter(|(_, quantity)| *quantity > 0).map(|(sku, quantity)| item(sku, quantity)).collect()
    }

    /// Whether any unit has left.
    #[must_use]
    pub fn has_shipped(&self) -> bool {
        !self.shipments.is_empty()
    }
}

pub(super) fn ship(
    purchase: &Purchase,
    shipment: ShipmentId,
    items: Option<&[ItemQuantity]>,
    carrier: Option<&String>,
    tracking_number: Option<&String>,
) -> Result<Vec<Event>, Refusal> {
    let status = purchase.status();
    if purchase.shipments.iter().any(|known| known.id == shipment) {
        return Ok(Vec::new());
    }
    if matches!(status, OrderStatus::Submitted | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Cancelled) {
        return Err(Refusal::NotConfirmed { status });
    }
    let left = minus(&purchase.ordered(), &purchase.shipped());
    let items = match items {
        Some(items) => within(items, &left)?,
        None => purchase.unshipped(),
    };
    if items.is_empty() {
        let requested = |(sku, requested)| Excess { sku, requested, left: 0 };
        return Err(Refusal::TooManyUnits { items: purchase.ordered().into_iter().map(requested).collect() });
    }
    Ok(vec![OrderShipped { shipment, items, carrier: carrier.cloned(), tracking_number: tracking_number.cloned() }.into()])
}

pub(super) fn deliver(purchase: &Purchase, shipment: ShipmentId) -> Result<Vec<Event>, Refusal> {
    match purchase.shipments.iter().find(|known| known.id == shipment) {
        None => Err(Refusal::UnknownShipment { shipment }),
        Some(known) if known.delivered_at.is_some() => Ok(Vec::new()),
        Some(_) => Ok(vec![OrderDelivered { shipment }.into()]),
    }
}

pub(super) fn take_back(
    purchase: &Purchase,
    return_id: ReturnId,
    items: &[ItemQuantity],
    reason: &str,
    restock: bool,
) -> Result<Vec<Event>, Refusal> {
    if purchase.returns.iter().any(|known| known.id == return_id) {
        return Ok(Vec::new());
    }
    let items = within(items, &minus(&purchase.shipped(), &purchase.returned()))?;
    if items.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![OrderReturned { return_id, items, reason: reason.to_owned(), restock }.into()])
}

/// The items, each SKU once, if there are no more of them than `left`.
fn within(items: &[ItemQuantity], left: &Units) -> Result<Vec<ItemQuantity>, Refusal> {
    let mut requested = summed(pairs(items));
    requested.retain(|_, quantity| *quantity > 0);
    let left = |sku| left.get(sku).copied().unwrap_or(0);
    let excess = requested.iter().filter(|(sku, requested)| **requested > left(sku));
    let excess: Vec<_> = excess.map(|(sku, requested)| Excess { sku: sku.clone(), requested: *requested, left: left(sku) }).collect();
    if !excess.is_empty() {
        return Err(Refusal::TooManyUnits { items: excess });
    }
    let once = items.iter().filter_map(|item| requested.remove(&item.sku).map(|quantity| (&item.sku, quantity)));
    Ok(once.map(|(sku, quantity)| item(sku, quantity)).collect())
}

fn pairs(items: &[ItemQuantity]) -> impl Iterator<Item = (&Sku, u32)> {
    items.iter().map(|item| (&item.sku, item.quantity))
}

fn summed<'a>(items: impl Iterator<Item = (&'a Sku, u32)>) -> Units {
    let mut units = Units::new();
    for (sku, quantity) in items {
        *units.entry(sku.clone()).or_default() += u64::from(quantity);
    }
    units
}

fn minus(all: &Units, gone: &Units) -> Units {
    all.iter().map(|(sku, quantity)| (sku.clone(), quantity.saturating_sub(gone.get(sku).copied().unwrap_or(0)))).collect()
}

fn item(sku: &Sku, quantity: u64) -> ItemQuantity {
    ItemQuantity { sku: sku.clone(), quantity: u32::try_from(quantity).unwrap_or(u32::MAX) }
}
