//! What happened in runs, counted, so that the simulator can't quietly stop simulating.

use std::{fmt, ops::AddAssign};

macro_rules! sights {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)+) => {
        /// Something worth seeing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Sight {
            $($(#[doc = $doc])* $variant,)+
        }

        impl Sight {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// What a summary calls it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

sights! {
    /// An order was submitted.
    Order = "orders",
    /// An order was rejected since its cart had changed, or been bought by another one.
    Rejected = "orders rejected for their cart",
    /// An order was given up after a crash.
    Abandoned = "orders abandoned",
    /// An order was confirmed.
    Confirmed = "orders confirmed",
    /// An order was cancelled by its buyer.
    CancelledOnRequest = "orders cancelled on request",
    /// An order was cancelled after it was confirmed.
    CancelledConfirmed = "orders cancelled after confirmation",
    /// A payment was declined.
    Declined = "payments declined",
    /// A payment did not succeed in time.
    PaymentExpired = "payments expired",
    /// A charge was captured after its order was cancelled.
    CapturedLate = "captures after cancellation",
    /// An order was cancelled since its reservation had ended.
    StockLost = "orders cancelled for lost stock",
    /// A reservation ran out.
    Expired = "reservations expired",
    /// A reservation ran out before its confirmed order's units could leave, and none were free.
    ExpiryWon = "expiry before confirmation",
    /// Units were withheld from a cancelled order, for which somebody late might have let them go.
    Withheld = "units withheld from a cancelled order",
    /// A paid order whose reservation had run out got free units.
    ReservedAgain = "paid orders reserved again",
    /// A cart was out of stock.
    OutOfStock = "checkouts out of stock",
    /// A customer would have got past a flash sale's limit.
    LimitReached = "checkouts past a customer's limit",
    /// Prices moved during a checkout.
    PriceChanged = "checkouts whose price moved",
    /// A flash sale was announced.
    SaleAnnounced = "flash sales",
    /// Units were bought in one.
    SoldInSale = "reservations in flash sales",
    /// A flash sale was called off.
    SaleCancelled = "flash sales cancelled",
    /// A flash sale ended.
    SaleEnded = "flash sales ended",
    /// Units left.
    Shipped = "shipments",
    /// A parcel had to wait for its units to leave stock.
    LetGoAhead = "shipments ahead of the process managers",
    /// Units arrived.
    Delivered = "deliveries",
    /// Units came back and can be sold again.
    Restocked = "returns with restock",
    /// Units came back and can't be sold again.
    NotRestocked = "returns without restock",
    /// Money went back.
    Refunded = "refunds",
    /// Money could not go back.
    RefundFailed = "refunds refused by the gateway",
    /// A command was decided again: its stream had moved.
    Conflict = "conflicts decided again",
    /// A command was in the log already.
    Repeated = "commands repeated",
    /// A request was answered from its idempotency key.
    Replayed = "answers replayed",
    /// An idempotency key was taken by the same request at another server.
    KeyTaken = "idempotency keys taken meanwhile",
    /// A client got no answer and asked again.
    AskedAgain = "requests repeated after no answer",
    /// A server did not learn whether an append was committed.
    Unknown = "appends of unknown outcome",
    /// An append was committed after its server gave it up.
    LandedLate = "appends committed late",
    /// A gateway gave no answer in time.
    NoAnswer = "gateway calls without answer",
    /// A gateway was asked for what it had done already.
    GatewayRepeated = "gateway calls repeated",
    /// A charge was voided at the gateway.
    Voided = "charges voided",
    /// A charge arrived after it was voided.
    ChargedAfterVoid = "charges refused after a void",
    /// Process managers took an event again.
    EventRepeated = "events taken again",
    /// A reminder came due.
    Reminded = "reminders come due",
    /// A runner or worker that had been replaced tried to write.
    FencedOff = "writes of replaced workers refused",
    /// A server crashed.
    Crash = "crashes",
    /// A role was away past every deadline.
    Absence = "long absences of a role",
    /// A server stood still and went on.
    Pause = "pauses",
    /// Another server took over.
    Takeover = "takeovers",
    /// A clock jumped.
    ClockJump = "clock jumps",
    /// A message was dropped.
    Dropped = "messages dropped",
    /// A message was delivered twice.
    Doubled = "messages repeated",
}

/// How often each thing was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts([u64; Sight::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Sight::ALL.len()])
    }
}

impl Counts {
    /// One more.
    pub fn see(&mut self, sight: Sight) {
        if let Some(count) = self.0.get_mut(sight as usize) {
            *count += 1;
        }
    }

    /// How often it was seen.
    #[must_use]
    pub fn of(&self, sight: Sight) -> u64 {
        self.0.get(sight as usize).copied().unwrap_or(0)
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sight in Sight::ALL {
            writeln!(f, "{:>12}  {}", self.of(*sight), sight.name())?;
        }
        Ok(())
    }
}
