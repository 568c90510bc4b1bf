//! Flash sales: announced, started, ended or cancelled. The allotment itself is kept by the SKU's stock.

#[cfg(test)]
mod tests;

use event_schemas::{
    Event as LogEvent, Money, Timestamp,
    events::flash_sale::{Event, FlashSaleAnnounced, FlashSaleCancelled, FlashSaleEnded, FlashSaleStarted},
    ids::{FlashSaleId, Sku},
    resource,
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;

/// A flash sale.
#[derive(Debug, Clone, Copy)]
pub struct FlashSale;

/// What is known of a flash sale.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet.
    #[default]
    Nothing,
    /// Announced; its window has not opened.
    Scheduled(Terms),
    /// Its window is open.
    Running(Terms),
    /// Its window has closed.
    Ended(Terms),
    /// It was called off.
    Cancelled(Terms),
}

/// What a flash sale offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// What it sells.
    pub sku: Sku,
    /// When it starts.
    pub starts_at: Timestamp,
    /// When it ends (exclusive).
    pub ends_at: Timestamp,
    /// How many units it has.
    pub allotment: u32,
    /// What a unit costs meanwhile.
    pub price: Money,
    /// The most for each customer; none is no limit.
    pub limit_per_customer: Option<u32>,
}

/// What may be asked of a flash sale.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Announce it. Once: the same again changes nothing.
    Announce {
        /// What it sells.
        sku: Sku,
        /// When it starts.
        starts_at: Timestamp,
        /// When it ends (exclusive).
        ends_at: Timestamp,
        /// How many units it has.
        allotment: u32,
        /// What a unit costs meanwhile.
        price: Money,
        /// The most for each customer; none is no limit.
        limit_per_customer: Option<u32>,
    },
    /// Note that its window has opened, if it has.
    Start,
    /// Note that its window has closed, if it has.
    End,
    /// Call it off.
    Cancel,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It was never announced.
    #[error("there is no such flash sale: announce it first")]
    Unknown,
    /// It is over.
    #[error("the flash sale of {sku} ended at {ended_at}: there is nothing left to cancel")]
    Ended {
        /// What it sold.
        sku: Sku,
        /// When its window closed.
        ended_at: Timestamp,
    },
}

impl Refusal {
    /// The code that clients match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "not_found",
            Self::Ended { .. } => "flash_sale_ended",
        }
    }
}

impl State {
    /// What it offers, once it was announced.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Nothing => None,
            Self::Scheduled(terms) | Self::Running(terms) | Self::Ended(terms) | Self::Cancelled(terms) => Some(terms),
        }
    }

    /// Where it is in its life. The clock decides, whether or not the event that says so was recorded.
    #[must_use]
    pub fn phase(&self, now: Timestamp) -> Option<resource::FlashSaleState> {
        match self {
            Self::Nothing => None,
            Self::Cancelled(_) => Some(resource::FlashSaleState::Cancelled),
            Self::Ended(_) => Some(resource::FlashSaleState::Ended),
            Self::Scheduled(terms) | Self::Running(terms) => Some(match () {
                () if now >= terms.ends_at => resource::FlashSaleState::Ended,
                () if now >= terms.starts_at => resource::FlashSaleState::Running,
                () => resource::FlashSaleState::Scheduled,
            }),
        }
    }

    /// What clients see of it. The stock says how many units are `sold` and `reserved`.
    #[must_use]
    pub fn resource(&self, id: FlashSaleId, version: i64, sold: i64, reserved: i64, now: Timestamp) -> Option<resource::FlashSale> {
        let (terms, state) = (self.terms()?, self.phase(now)?);
        let open = matches!(state, resource::FlashSaleState::Scheduled | resource::FlashSaleState::Running);
        Some(resource::FlashSale {
            id,
            sku: terms.sku.clone(),
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            allotment: terms.allotment,
            price: terms.price,
            limit_per_customer: terms.limit_per_customer,
            sold,
            reserved,
            remaining: if open { (i64::from(terms.allotment) - sold - reserved).max(0) } else { 0 },
            state,
            version,
        })
    }
}

impl Aggregate for FlashSale {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (command, state) {
            (Command::Announce { sku, starts_at, ends_at, allotment, price, limit_per_customer }, State::Nothing) => {
                Ok(vec![Event::Announced(FlashSaleAnnounced {
                    sku: sku.clone(),
                    starts_at: *starts_at,
                    ends_at: *ends_at,
                    allotment: *allotment,
                    price: *price,
                    limit_per_customer: *limit_per_customer,
                })])
            }
            (_, State::Nothing) => Err(Refusal::Unknown),
            (Command::Start, State::Scheduled(terms)) if now >= terms.starts_at => Ok(vec![FlashSaleStarted {}.into()]),
            (Command::End, State::Scheduled(terms) | State::Running(terms)) if now >= terms.ends_at => Ok(vec![FlashSaleEnded {}.into()]),
            (Command::Cancel, State::Ended(terms)) => Err(Refusal::Ended { sku: terms.sku.clone(), ended_at: terms.ends_at }),
            (Command::Cancel, State::Scheduled(terms) | State::Running(terms)) if now >= terms.ends_at => {
                Err(Refusal::Ended { sku: terms.sku.clone(), ended_at: terms.ends_at })
            }
            (Command::Cancel, State::Scheduled(_) | State::Running(_)) => Ok(vec![FlashSaleCancelled {}.into()]),
            _ => Ok(Vec::new()),
        }
    }

    fn evolve(state: State, event: &Event, _: Timestamp) -> State {
        match (state, event) {
            (State::Nothing, Event::Announced(announced)) => State::Scheduled(Terms {
                sku: announced.sku.clone(),
                starts_at: announced.starts_at,
                ends_at: announced.ends_at,
                allotment: announced.allotment,
                price: announced.price,
                limit_per_customer: announced.limit_per_customer,
            }),
            (State::Scheduled(terms), Event::Started(_)) => State::Running(terms),
            (State::Scheduled(terms) | State::Running(terms), Event::Ended(_)) => State::Ended(terms),
            (State::Scheduled(terms) | State::Running(terms), Event::Cancelled(_)) => State::Cancelled(terms),
            (state, _) => state,
        }
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::FlashSale(event) => Some(event),
            _ => None,
        }
    }
}
