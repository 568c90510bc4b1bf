//! What a refusal looks like to a client: the one place where those of the rules and of the log become problems.

use domain::{cart, category, flash_sale, order, payment, product, review, stock};
use gateway::{FieldError, Problem, conditional::precondition_failed};
use http::StatusCode;
use metrics::counter;

use crate::handler::{Failure, StoreFailure};

/// A refusal that can be told to a client.
pub trait Told: std::error::Error {
    /// The problem.
    fn told(&self) -> Problem;
}

/// The problem that a failed command is told as.
pub fn problem<R: Told>(failure: Failure<R>) -> Problem {
    match failure {
        Failure::Refused(refusal) => refusal.told(),
        Failure::VersionMismatch(version) => precondition_failed(version),
        Failure::Store(StoreFailure(error)) => unstored(&error),
    }
}

/// The problem that a failure of the log is told as.
pub fn unstored(error: &event_store::Error) -> Problem {
    use event_store::Error::{
        Conflict, Kafka, KeyTaken, Newer, NotParked, Overloaded, Refused, StillBad, TooManyParked, Unavailable, Undecodable,
    };
    counter!("merx_store_failures_total", "kind" => kind(error)).increment(1);
    match error {
        KeyTaken => conflict("idempotency_key_in_use", "Another request with this idempotency key was accepted meanwhile. Send it again."),
        Conflict | Overloaded => Problem::unavailable("Too much is being written just now. Nothing was changed; send it again."),
        Unavailable(reason) => {
            tracing::error!(reason, "the log can't be reached");
            Problem::unavailable(
                "The log can't be reached. Whether this was accepted is not known; send it again with the same idempotency key.",
            )
        }
        Newer(event) => {
            tracing::warn!(%event, "a write is left to a newer version");
            Problem::unavailable(
                "A newer version of merx has written to this, and a server of that version can go on with it. Nothing was changed; send it again.",
            )
        }
        Refused(_) | Kafka(_) | Undecodable(_) | NotParked { .. } | StillBad { .. } | TooManyParked { .. } => {
            tracing::error!(%error, "a write failed");
            Problem::internal()
        }
    }
}

fn kind(error: &event_store::Error) -> &'static str {
    match error {
        event_store::Error::Conflict => "conflict",
        event_store::Error::KeyTaken => "key_taken",
        event_store::Error::Overloaded => "overloaded",
        event_store::Error::Unavailable(_) => "unavailable",
        event_store::Error::Undecodable(_) => "undecodable",
        event_store::Error::Newer(_) => "newer",
        event_store::Error::NotParked { .. } | event_store::Error::StillBad { .. } | event_store::Error::TooManyParked { .. } => "parked",
        event_store::Error::Kafka(_) => "kafka",
        event_store::Error::Refused(_) => "refused",
    }
}

impl From<StoreFailure> for Problem {
    fn from(failure: StoreFailure) -> Self {
        unstored(&failure.0)
    }
}

/// 409: the state forbids it.
pub fn conflict(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, sentence(&detail.into()))
}

/// 422: one value is wrong.
pub fn wrong_value(pointer: &str, code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::invalid(vec![FieldError::new(pointer, code, detail)])
}

fn plain(code: &'static str, refusal: &dyn std::error::Error) -> Problem {
    if code == "not_found" { Problem::not_found(sentence(&refusal.to_string())) } else { conflict(code, refusal.to_string()) }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

impl Told for category::Refusal {
    fn told(&self) -> Problem {
        match self {
            Self::TooDeep { .. } => wrong_value("/parent", self.code(), self.to_string()),
            _ => plain(self.code(), self),
        }
    }
}

impl Told for product::Refusal {
    fn told(&self) -> Problem {
        match self {
            Self::TooManyAttributes { .. } => wrong_value("/attributes", self.code(), self.to_string()),
            Self::TooManyMetadata { .. } => wrong_value("/metadata", self.code(), self.to_string()),
            Self::Unknown | Self::Taken { .. } => plain(self.code(), self),
        }
    }
}

impl Told for stock::Refusal {
    fn told(&self) -> Problem {
        match self {
            Self::InvalidWindow { .. } | Self::SaleTooLong { .. } => wrong_value("/ends_at", self.code(), self.to_string()),
            Self::InsufficientStock { available, .. } | Self::OutOfStock { available, .. } => {
                plain(self.code(), self).with("available", available)
            }
            _ => plain(self.code(), self),
        }
    }
}

impl Told for flash_sale::Refusal {
    fn told(&self) -> Problem {
        plain(self.code(), self)
    }
}

impl Told for cart::Refusal {
    fn told(&self) -> Problem {
        match self {
            Self::CheckedOut { order } => plain(self.code(), self).with("order", order),
            _ => plain(self.code(), self),
        }
    }
}

impl Told for order::Refusal {
    fn told(&self) -> Problem {
        match self {
            Self::TooManyUnits { items } => items.iter().fold(plain(self.code(), self), |problem, item| {
                let error = FieldError::new("/items", self.code(), format!("{item}"));
                problem.error(error.with("sku", &item.sku).with("requested", item.requested).with("left", item.left))
            }),
            Self::UnknownShipment { .. } => wrong_value("/shipment", self.code(), self.to_string()),
            Self::InvalidAmount { .. } => wrong_value("/amount/amount", self.code(), self.to_string()),
            Self::CurrencyMismatch { .. } => wrong_value("/amount/currency", self.code(), self.to_string()),
            _ => plain(self.code(), self),
        }
    }
}

impl Told for payment::Refusal {
    fn told(&self) -> Problem {
        match self {
            Self::InvalidAmount { .. } => wrong_value("/amount/amount", self.code(), self.to_string()),
            Self::CurrencyMismatch { .. } => wrong_value("/amount/currency", self.code(), self.to_string()),
            Self::MoreThanCaptured { .. } => plain(self.code(), self),
        }
    }
}

impl Told for review::Refusal {
    fn told(&self) -> Problem {
        wrong_value("/rating", "out_of_range", self.to_string())
    }
}
