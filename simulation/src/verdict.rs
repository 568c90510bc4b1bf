//! What must hold, and how it is told that it did not.

use std::fmt;

/// What must hold in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// Positions and versions count up by one, and no event id is there twice.
    Sequence,
    /// No unit is sold twice: what is held and set aside is on hand, and no flash sale sells past its allotment.
    NotOversold,
    /// On hand = received + adjusted - committed + returned, and the aggregate says the same.
    OnHand,
    /// A reservation ends once, and only one that was made.
    ReservationsEndOnce,
    /// In the end nothing is reserved or set aside.
    NothingHeld,
    /// No customer gets past a flash sale's limit.
    LimitPerCustomer,
    /// In the end no order is on its way to be placed, paid or rejected.
    OrderFinal,
    /// A paid order with free stock is fulfilled: its reservation does not expire once its payment was to be seen, and it is cancelled for lost stock
    /// only where there is too little.
    PaidIsFulfilled,
    /// Units that are free are sold to somebody who wants them.
    FreeIsSold,
    /// What left stock for an order and came back to it is what became of the order.
    StockFollowsOrder,
    /// A cart is bought once, and if it is, its order was placed.
    CartBoughtOnce,
    /// Captured = kept + refunded, and a cancelled order keeps nothing.
    Money,
    /// The gateway's book agrees with the log, and charges nobody twice.
    GatewayAgrees,
    /// In the end every consumer has come to the head, with nothing left to do.
    ConsumersAtHead,
    /// The run comes to an end.
    Settles,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sequence => "positions and versions are gap-free and ids unique",
            Self::NotOversold => "no unit is oversold",
            Self::OnHand => "on hand = received + adjusted - committed + returned",
            Self::ReservationsEndOnce => "a reservation ends once",
            Self::NothingHeld => "nothing is left reserved",
            Self::LimitPerCustomer => "no customer gets past a flash sale's limit",
            Self::OrderFinal => "every order is in a final state",
            Self::PaidIsFulfilled => "a paid order with free stock is fulfilled",
            Self::FreeIsSold => "units that are free are sold to somebody who wants them",
            Self::StockFollowsOrder => "stock follows the order",
            Self::CartBoughtOnce => "a cart is bought once",
            Self::Money => "captured = kept + refunded",
            Self::GatewayAgrees => "the gateway's book agrees with the log",
            Self::ConsumersAtHead => "every consumer is at the head with nothing left to do",
            Self::Settles => "the run settles",
        })
    }
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What should have.
    pub invariant: Invariant,
    /// What was instead.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}
