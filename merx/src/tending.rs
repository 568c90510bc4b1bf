//! Work of operators on the consumers of the log: recorded as an event of who asked for it, and then done.

use std::sync::Arc;

use ::search::Index;
use command_api::{
    Shop,
    handler::{Accepted, Context, Failure},
    payment_gateway, process,
    shop::now,
};
use domain::projection::Command;
use event_schemas::{StreamId, ids::ProjectionName};
use event_store::parked::{self, Mended, Mending};
use gateway::IfMatch;
use projections::Projection;

use crate::search;

/// The most streams of a consumer that are retried at once.
pub const MOST_RETRIED: i64 = 1_000;

/// Reason why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such consumer.
    #[error("{0}")]
    Unknown(String),
    /// The log can't be reached, or the stream is not parked, or stays so.
    #[error(transparent)]
    Log(#[from] event_store::Error),
    /// A read model can't be worked on.
    #[error(transparent)]
    Projection(projections::Error),
    /// A product can't be taken into the search index.
    #[error(transparent)]
    Search(#[from] search::MendError),
    /// The consumer was asked for something since the version that `If-Match` names; this is the one it has.
    #[error("its stream is at version {0}")]
    Moved(i64),
    /// The search index can't be had.
    #[error("the search index can't be had: {0}")]
    Index(#[from] ::search::Error),
}

impl From<projections::Error> for Error {
    fn from(error: projections::Error) -> Self {
        match error {
            projections::Error::Log(error) => Self::Log(error),
            error => Self::Projection(error),
        }
    }
}

/// The projection of that name.
pub fn projection(name: &str) -> Result<Arc<dyn Projection>, Error> {
    let all = projections::all();
    let names: Vec<&str> = all.iter().map(|projection| projection.name()).collect();
    let unknown = format!("there is no projection {name}; there are {}", names.join(", "));
    all.into_iter().find(|projection| projection.name() == name).ok_or(Error::Unknown(unknown))
}

/// Refuses what is no consumer that parks streams.
pub fn require_consumer(name: &str) -> Result<(), Error> {
    let others = [process::NAME, payment_gateway::worker::NAME, search::NAME];
    if others.contains(&name) {
        return Ok(());
    }
    projection(name).map(drop).map_err(|unknown| Error::Unknown(format!("{unknown}; besides {}", others.join(", "))))
}

/// Records that somebody asked for `command` of the consumer `name`.
pub async fn record(shop: &Shop, name: &str, command: &Command, context: &Context) -> Result<Accepted<()>, Error> {
    let name: ProjectionName = name.parse().map_err(|error| Error::Unknown(format!("{error}")))?;
    let recorded = shop.projections.run(&StreamId::projection(&name), command, context, |_, _| ()).await;
    recorded.map_err(|failure| match failure {
        Failure::Store(failure) => Error::Log(failure.0),
        Failure::Refused(refusal) => match refusal {},
        Failure::VersionMismatch(version) => Error::Moved(version),
    })
}

/// Whoever mends parked streams.
pub struct Mender<'a> {
    pub shop: &'a Shop,
    /// The index that servers share, where there is one.
    pub index: Option<&'a dyn Index>,
    pub actor: &'a str,
    /// The versions that the consumer's stream may have.
    pub if_match: IfMatch,
}

/// Outcome of mending a stream.
pub struct Outcome {
    pub recorded: Accepted<()>,
    pub mended: Mended,
}

impl Mender<'_> {
    /// Tries again what the consumer `name` has parked `stream` for, or leaves it out for ever, for this `reason`. Where nothing is parked, nothing is
    /// recorded.
    pub async fn mend(&self, name: &str, stream: &str, how: Mending, reason: Option<String>) -> Result<Outcome, Error> {
        require_consumer(name)?;
        let store = &self.shop.store;
        let position = parked::position(store.pool(), name, stream).await?;
        let parsed: StreamId = stream.parse().map_err(|error| Error::Unknown(format!("{error}")))?;
        let command = match how {
            Mending::Retry => Command::Retry { stream: parsed, position },
            Mending::Skip => Command::Skip { stream: parsed, position, reason },
        };
        let context = Context { if_match: self.if_match.clone(), ..Context::new(now(), self.actor) };
        let recorded = record(self.shop, name, &command, &context).await?;
        let mended = match name {
            process::NAME => process::mend(self.shop, stream, how).await?,
            payment_gateway::worker::NAME => payment_gateway::worker::mend(self.shop, stream, how).await?,
            search::NAME => search::mend(self.index, store.pool(), stream, how).await?,
            name => projections::mend::mend(store, &*projection(name)?, stream, how).await?,
        };
        Ok(Outcome { recorded, mended })
    }

    /// The streams that the consumer `name` has parked, the longest parked first.
    pub async fn parked(&self, name: &str) -> Result<Vec<String>, Error> {
        require_consumer(name)?;
        Ok(parked::streams(self.shop.store.pool(), name, MOST_RETRIED).await?)
    }
}
