//! One run of an importer: the commands it issues, and what becomes of them.

use std::{fmt, sync::Arc};

use chrono::Utc;
use command_api::handler::{Accepted, Context, Failure};
use event_schemas::ids::CommandId;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use uuid::Uuid;

use super::{Error, identity};

/// The most commands that are under way at once.
pub const IN_FLIGHT: usize = 256;
/// The most bytes of what is under way, or waits for its turn.
const ROOM_BYTES: usize = 16 << 20;
/// The most streams of one kind whose states are kept.
pub const CACHED_STREAMS: usize = 1_024;

/// One run of an importer.
pub struct Run {
    source: &'static str,
    /// What the events of one run have in common.
    correlation: Uuid,
}

impl Run {
    /// A run of the importer for `source`.
    pub fn new(source: &'static str) -> Self {
        Self { source, correlation: Uuid::now_v7() }
    }

    /// A command that is committed once, at whichever import: `what` says what it is about.
    pub fn once(&self, what: &[&str]) -> Context {
        self.context(identity::command(self.source, what))
    }

    /// A command that may be issued at every import.
    pub fn again(&self) -> Context {
        self.context(CommandId(Uuid::now_v7()))
    }

    fn context(&self, command_id: CommandId) -> Context {
        let mut context = Context::new(Utc::now().into(), format!("import:{}", self.source));
        context.metadata.command_id = command_id;
        context.metadata.correlation_id = self.correlation;
        context
    }
}

/// Room for what was read and is not written yet, by its bytes.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// All of it.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_BYTES)))
    }

    /// Takes as much as `bytes` need, until what is returned is dropped. Waits for it: for threads that may. None once nobody reads any more.
    pub fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(ROOM_BYTES)).unwrap_or(u32::MAX);
        Handle::current().block_on(self.0.clone().acquire_many_owned(bytes)).ok()
    }
}

/// What became of a command: accepted, or refused by the rules. What the log has against it ends the import.
pub fn decided<T, R: std::error::Error>(result: Result<Accepted<T>, Failure<R>>) -> Result<Result<Accepted<T>, R>, Error> {
    match result {
        Ok(accepted) => Ok(Ok(accepted)),
        Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
        Err(Failure::Store(failure)) => Err(failure.0.into()),
        Err(Failure::VersionMismatch(_)) => Err(event_store::Error::Conflict.into()),
    }
}

/// How many things were imported, and how many were there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Imported now.
    pub new: u64,
    /// There already.
    pub already: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, is_new: bool) {
        if is_new {
            self.new += 1;
        } else {
            self.already += 1;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} new, {} there already", self.new, self.already)
    }
}

/// What became of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Created,
    /// It was there, but different.
    Changed,
    /// It was there.
    Already,
}

/// What became of products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Products {
    /// New ones.
    pub created: u64,
    /// Ones that were there, but different.
    pub changed: u64,
    /// Ones that were there.
    pub already: u64,
}

impl Products {
    /// Counts one more.
    pub fn count(&mut self, written: Written) {
        match written {
            Written::Created => self.created += 1,
            Written::Changed => self.changed += 1,
            Written::Already => self.already += 1,
        }
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} created, {} changed, {} there already", self.created, self.changed, self.already)
    }
}
