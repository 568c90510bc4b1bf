//! Reviews of products: written once.

#[cfg(test)]
pub(crate) mod tests;

use event_schemas::{
    Event as LogEvent, Timestamp,
    events::review::{Event, ReviewPosted},
    ids::{ReviewId, Sku},
    resource,
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;

/// A review of a product.
#[derive(Debug, Clone, Copy)]
pub struct Review;

/// What is known of a review.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet.
    #[default]
    Nothing,
    /// It stands.
    Posted(Opinion),
}

/// What a review says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// The product.
    pub sku: Sku,
    /// 1 (poor) to 5 (splendid).
    pub rating: u8,
    /// In a few words.
    pub title: String,
    /// In more words.
    pub text: String,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub posted_at: Timestamp,
}

/// What may be asked of a review.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Write it. Once: the same again changes nothing.
    Post {
        /// The product.
        sku: Sku,
        /// 1 (poor) to 5 (splendid).
        rating: u8,
        /// In a few words.
        title: String,
        /// In more words.
        text: String,
        /// Who writes.
        author: String,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A rating outside of 1 to 5.
    #[error("a rating of {rating} was given to {sku}: give 1 (poor) to 5 (splendid)")]
    InvalidRating {
        /// The product.
        sku: Sku,
        /// The rating.
        rating: u8,
    },
}

impl Refusal {
    /// The code that clients match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRating { .. } => "invalid_rating",
        }
    }
}

impl State {
    /// What it says, once it was written.
    #[must_use]
    pub fn opinion(&self) -> Option<&Opinion> {
        match self {
            Self::Nothing => None,
            Self::Posted(opinion) => Some(opinion),
        }
    }

    /// What clients see of it.
    #[must_use]
    pub fn resource(&self, id: ReviewId, version: i64) -> Option<resource::Review> {
        self.opinion().map(|opinion| resource::Review {
            id,
            sku: opinion.sku.clone(),
            rating: opinion.rating,
            title: opinion.title.clone(),
            text: opinion.text.clone(),
            author: opinion.author.clone(),
            created_at: opinion.posted_at,
            version,
        })
    }
}

impl Aggregate for Review {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (state, command) {
            (State::Posted(_), Command::Post { .. }) => Ok(Vec::new()),
            (State::Nothing, Command::Post { sku, rating, .. }) if !(1..=5).contains(rating) => {
                Err(Refusal::InvalidRating { sku: sku.clone(), rating: *rating })
            }
            (State::Nothing, Command::Post { sku, rating, title, text, author }) => Ok(vec![
                ReviewPosted { sku: sku.clone(), rating: *rating, title: title.clone(), text: text.clone(), author: author.clone() }.into(),
            ]),
        }
    }

    fn evolve(state: State, event: &Event, at: Timestamp) -> State {
        match (state, event) {
            (State::Nothing, Event::Posted(posted)) => State::Posted(Opinion {
                sku: posted.sku.clone(),
                rating: posted.rating,
                title: posted.title.clone(),
                text: posted.text.clone(),
                author: posted.author.clone(),
                posted_at: at,
            }),
            (state, _) => state,
        }
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Review(event) => Some(event),
            _ => None,
        }
    }
}
