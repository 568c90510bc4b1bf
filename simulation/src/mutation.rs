//! Rules broken on purpose, to show that the simulator notices: in what surrounds the real code, or in a wrapping of its decisions.

use std::{fmt, str::FromStr};

macro_rules! mutations {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)+) => {
        /// A rule broken on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[doc = $doc])* $variant,)+
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

mutations! {
    /// The log takes events whatever version their stream has.
    VersionCheckSkipped = "version-check-skipped",
    /// Of a unit of several streams only the first one is written.
    UnitsTornApart = "units-torn-apart",
    /// A crash makes the log forget which commands it has.
    CommandsForgotten = "commands-forgotten",
    /// The process managers' checkpoint moves before their commands were answered.
    CheckpointFirst = "checkpoint-first",
    /// A runner that was replaced moves the checkpoint all the same.
    CheckpointUnfenced = "checkpoint-unfenced",
    /// A runner or worker that was replaced, while the checkpoint stands where it was, changes what it keeps beside it all the same.
    FenceIgnored = "fence-ignored",
    /// Reminders are kept in memory only.
    RemindersForgotten = "reminders-forgotten",
    /// Reservations expire before the log was seen up to then.
    ExpiredUnseen = "expired-unseen",
    /// A paid order whose reservation has ended is cancelled though there is stock.
    LostAtOnce = "lost-at-once",
    /// The last units of a SKU are never sold.
    LastUnitsKept = "last-units-kept",
    /// Units leave stock though the reservation has ended.
    CommittedAfterExpiry = "committed-after-expiry",
    /// Releasing what is not held frees a unit.
    ReleasedAgain = "released-again",
    /// A flash sale's limit counts within one order only.
    LimitOfOneOrder = "limit-of-one-order",
    /// Refunds are granted without a look at what was captured.
    RefundedBlindly = "refunded-blindly",
    /// Every attempt at a charge bears a new idempotency key.
    NewKeyEachAttempt = "new-key-each-attempt",
    /// A payment's deadline passes without its charge being voided.
    NeverVoided = "never-voided",
    /// A parcel leaves before stock has let its units go.
    ShippedUnseen = "shipped-unseen",
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|mutation| mutation.name()).collect::<Vec<_>>().join(", ");
        Self::ALL.iter().copied().find(|mutation| mutation.name() == text).ok_or_else(|| format!("no mutation; there are {}", known()))
    }
}
