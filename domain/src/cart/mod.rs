//! Carts: what somebody means to buy, until it is bought.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use event_schemas::{
    Currency, Event as LogEvent, Money, Timestamp,
    events::{
        cart::{CartCheckedOut, CartCreated, CartItemRemoved, CartItemSet, Event},
        order::ItemQuantity,
    },
    ids::{OrderId, Sku},
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;

/// The most lines a cart has.
pub const MAX_LINES: usize = 200;

/// A cart.
#[derive(Debug, Clone, Copy)]
pub struct Cart;

/// What is known of a cart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet.
    #[default]
    Nothing,
    /// It can be filled and bought.
    Open(Contents),
    /// It was bought.
    CheckedOut(Bought),
}

/// What a cart holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// What its prices are in.
    pub currency: Currency,
    /// Its lines, in the order they were put in; one for each SKU.
    pub items: Vec<ItemQuantity>,
    /// What one of each cost when it was put in: what the buyer was shown.
    pub shown: BTreeMap<Sku, Money>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A cart that was bought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bought {
    /// The order it became.
    pub order: OrderId,
    /// What it held.
    #[serde(flatten)]
    pub contents: Contents,
}

/// What may be asked of a cart.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Make it. Once: the same again changes nothing.
    Create {
        /// What its prices are in.
        currency: Currency,
        /// The client's own notes.
        metadata: BTreeMap<String, String>,
        /// What it holds at first, each SKU once.
        items: Vec<ItemQuantity>,
        /// What one of each costs now.
        shown: BTreeMap<Sku, Money>,
    },
    /// Put a line in, or change its quantity.
    SetItem {
        /// The product.
        sku: Sku,
        /// How many from now on.
        quantity: u32,
        /// What one costs now.
        unit_price: Option<Money>,
    },
    /// Take a line out.
    RemoveItem {
        /// The product.
        sku: Sku,
    },
    /// Buy it.
    CheckOut {
        /// The order it becomes.
        order: OrderId,
        /// What the buyer was priced for, in any order.
        items: Vec<ItemQuantity>,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It was never created.
    #[error("there is no such cart: create one first")]
    Unknown,
    /// It was bought.
    #[error("the cart was checked out as order {order}: start a new cart")]
    CheckedOut {
        /// The order it became.
        order: OrderId,
    },
    /// It holds nothing.
    #[error("the cart is empty: put something in before checking out")]
    Empty,
    /// It holds something else than the buyer was priced for.
    #[error("the cart changed while it was being checked out: look at it again, then check out")]
    Changed,
    /// It would have too many lines.
    #[error("the cart would have {lines} lines, the most is {MAX_LINES}: take some out, or use another cart")]
    Full {
        /// How many lines it would have.
        lines: usize,
    },
}

impl Refusal {
    /// The code that clients match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "not_found",
            Self::CheckedOut { .. } => "cart_checked_out",
            Self::Empty => "cart_empty",
            Self::Changed => "cart_changed",
            Self::Full { .. } => "cart_full",
        }
    }
}

impl State {
    /// What it holds, or held when it was bought.
    #[must_use]
    pub fn contents(&self) -> Option<&Contents> {
        match self {
            Self::Nothing => None,
            Self::Open(contents) | Self::CheckedOut(Bought { contents, .. }) => Some(contents),
        }
    }

    /// Its lines, in the order they were put in.
    #[must_use]
    pub fn items(&self) -> &[ItemQuantity] {
        self.contents().map_or(&[], |contents| &contents.items)
    }

    /// What its prices are in.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.contents().map(|contents| contents.currency)
    }

    /// The order it became.
    #[must_use]
    pub fn order(&self) -> Option<OrderId> {
        match self {
            Self::CheckedOut(bought) => Some(bought.order),
            Self::Nothing | Self::Open(_) => None,
        }
    }
}

impl Contents {
    fn quantity(&self, sku: &Sku) -> Option<u32> {
        self.items.iter().find(|item| item.sku == *sku).map(|item| item.quantity)
    }

    fn set(&mut self, sku: &Sku, quantity: u32, unit_price: Option<Money>) {
        self.shown.extend(unit_price.map(|price| (sku.clone(), price)));
        match self.items.iter_mut().find(|item| item.sku == *sku) {
            Some(item) => item.quantity = quantity,
            None => self.items.push(ItemQuantity { sku: sku.clone(), quantity }),
        }
    }

    /// Whether these are its lines; their order tells nothing.
    fn holds(&self, items: &[ItemQuantity]) -> bool {
        let by_sku = |items: &[ItemQuantity]| items.iter().map(|item| (item.sku.clone(), item.quantity)).collect::<BTreeMap<_, _>>();
        self.items.len() == items.len() && by_sku(&self.items) == by_sku(items)
    }
}

impl Aggregate for Cart {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (state, command) {
            (State::Nothing, Command::Create { currency, metadata, items, shown }) => create(*currency, metadata, items, shown),
            (_, Command::Create { .. }) => Ok(Vec::new()),
            (State::Nothing, _) => Err(Refusal::Unknown),
            (State::CheckedOut(bought), Command::CheckOut { order, .. }) if bought.order == *order => Ok(Vec::new()),
            (State::CheckedOut(bought), _) => Err(Refusal::CheckedOut { order: bought.order }),
            (State::Open(contents), command) => decide_open(contents, command),
        }
    }

    fn evolve(state: State, event: &Event, at: Timestamp) -> State {
        match (state, event) {
            (State::Nothing, Event::Created(CartCreated { currency, metadata })) => {
                let (items, shown) = (Vec::new(), BTreeMap::new());
                State::Open(Contents { currency: *currency, items, shown, metadata: metadata.clone(), created_at: at, updated_at: at })
            }
            (State::Open(mut contents), Event::ItemSet(CartItemSet { sku, quantity, unit_price })) => {
                contents.set(sku, *quantity, *unit_price);
                State::Open(Contents { updated_at: at, ..contents })
            }
            (State::Open(mut contents), Event::ItemRemoved(CartItemRemoved { sku })) => {
                contents.items.retain(|item| item.sku != *sku);
                contents.shown.remove(sku);
                State::Open(Contents { updated_at: at, ..contents })
            }
            (State::Open(contents), Event::CheckedOut(CartCheckedOut { order })) => {
                State::CheckedOut(Bought { order: *order, contents: Contents { updated_at: at, ..contents } })
            }
            (state, _) => state,
        }
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Cart(event) => Some(event),
            _ => None,
        }
    }
}

fn create(
    currency: Currency,
    metadata: &BTreeMap<String, String>,
    items: &[ItemQuantity],
    shown: &BTreeMap<Sku, Money>,
) -> Result<Vec<Event>, Refusal> {
    refuse_full(items.len())?;
    let created = Event::Created(CartCreated { currency, metadata: metadata.clone() });
    let set = |item: &ItemQuantity| {
        let (sku, unit_price) = (item.sku.clone(), shown.get(&item.sku).copied());
        Event::ItemSet(CartItemSet { sku, quantity: item.quantity, unit_price })
    };
    Ok(std::iter::once(created).chain(items.iter().map(set)).collect())
}

fn decide_open(contents: &Contents, command: &Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Create { .. } => Ok(Vec::new()),
        Command::SetItem { sku, quantity, unit_price } => {
            match contents.quantity(sku) {
                Some(present) if present == *quantity => return Ok(Vec::new()),
                Some(_) => {}
                None => refuse_full(contents.items.len() + 1)?,
            }
            Ok(vec![CartItemSet { sku: sku.clone(), quantity: *quantity, unit_price: *unit_price }.into()])
        }
        Command::RemoveItem { sku } => {
            Ok(contents.quantity(sku).map(|_| CartItemRemoved { sku: sku.clone() }.into()).into_iter().collect())
        }
        Command::CheckOut { .. } if contents.items.is_empty() => Err(Refusal::Empty),
        Command::CheckOut { items, .. } if !contents.holds(items) => Err(Refusal::Changed),
        Command::CheckOut { order, .. } => Ok(vec![CartCheckedOut { order: *order }.into()]),
    }
}

fn refuse_full(lines: usize) -> Result<(), Refusal> {
    if lines > MAX_LINES { Err(Refusal::Full { lines }) } else { Ok(()) }
}
