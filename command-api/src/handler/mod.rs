//! From a command to committed events: `Handler::<Aggregate>::run(stream, command) -> EventStore::submit`.
//!
//! A handler keeps the states of the streams it has worked on. Commands on one stream are decided one after the other on the newest
//! state, ahead of its commit; nothing is answered before its commit. The version check of the log is what makes this right: a handler
//! whose state is stale is refused, reads what it missed, and decides again. A refusal, or "nothing to change", is believed only after
//! the log has said that the state it was decided on is the newest.
//!
//! A long stream is loaded from its newest snapshot on; of states that took long to fold, snapshots are taken in the background.

mod entity;
#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod snapshot_tests;
mod snapshots;
mod tail;
#[cfg(test)]
mod tests;
mod weight;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use domain::Aggregate;
use event_schemas::{Metadata, StreamId, Timestamp, ids::CommandId};
use event_store::{Committed, EventStore, KeyedAnswer, Unit};
use gateway::IfMatch;
use metrics::counter;
use uuid::Uuid;

pub use entity::{Basis, Decided, Decision, Entity, Staged, Staging};
pub(crate) use tail::Tail;

/// How often a command is decided again when its stream moves under it, before the client is told to try again.
pub(crate) const MAX_ATTEMPTS: u32 = 64;

/// What a command brings along besides its intent.
#[derive(Debug, Clone)]
pub struct Context {
    /// The time of the command.
    pub now: Timestamp,
    /// Its id, what it belongs to, and who asks.
    pub metadata: Metadata,
    /// The versions that the stream may have.
    pub if_match: IfMatch,
    /// Whether the command may have been committed before, as those of process managers may, whose ids are derived: then a refusal is
    /// not believed before that was looked up.
    pub may_repeat: bool,
}

impl Context {
    /// A command of its own, asked for by `actor`.
    #[must_use]
    pub fn new(now: Timestamp, actor: impl Into<String>) -> Self {
        let id = Uuid::now_v7();
        let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: actor.into() };
        Self { now, metadata, if_match: IfMatch(None), may_repeat: false }
    }

    /// Another command of the same request: a new id, the same correlation.
    #[must_use]
    pub fn next(&self) -> Self {
        let metadata = Metadata { command_id: CommandId(Uuid::now_v7()), ..self.metadata.clone() };
        Self { metadata, if_match: IfMatch(None), ..self.clone() }
    }
}

/// Why a command was not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure<R: std::error::Error> {
    /// The rules forbid it.
    #[error(transparent)]
    Refused(R),
    /// The stream is not at the version that the client wanted; this is the one it has.
    #[error("the resource is at version {0}")]
    VersionMismatch(i64),
    /// The log did not take it, for no reason of the command's.
    #[error(transparent)]
    Store(StoreFailure),
}

/// The log did not take a command.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct StoreFailure(#[from] pub event_store::Error);

impl PartialEq for StoreFailure {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.0) == std::mem::discriminant(&other.0)
    }
}

impl<R: std::error::Error> From<event_store::Error> for Failure<R> {
    fn from(error: event_store::Error) -> Self {
        Self::Store(StoreFailure(error))
    }
}

/// What an accepted command led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted<T> {
    /// What was asked to be seen of the state after it.
    pub seen: T,
    /// The version of the stream after it.
    pub version: i64,
    /// A position at which all of it can be read.
    pub position: i64,
    /// Whether it had been committed before, or had nothing to change.
    pub unchanged: bool,
}

/// The commands of one kind of aggregate.
pub struct Handler<A: Aggregate> {
    store: EventStore,
    entities: weight::Entities<A>,
    /// The number of times that the log had gone back when these were begun to be kept.
    breaks: AtomicU64,
}

impl<A: Aggregate> Handler<A> {
    /// A handler that keeps the states of about `capacity` streams, and of fewer where they are large.
    #[must_use]
    pub fn new(store: EventStore, capacity: usize) -> Self {
        let breaks = AtomicU64::new(store.breaks());
        Self { store, entities: weight::Entities::new(capacity), breaks }
    }

    /// Decides `command` on the newest state of `stream` and commits what it leads to. `look` takes from the state after it what the
    /// caller wants to see.
    ///
    /// # Errors
    /// The refusal, or why the log did not take it.
    pub async fn run<T>(
        &self,
        stream: &StreamId,
        command: &A::Command,
        context: &Context,
        look: impl Fn(&A::State, i64) -> T,
    ) -> Result<Accepted<T>, Failure<A::Refusal>> {
        self.run_keyed(stream, command, context, |state, version| (look(state, version), None)).await
    }

    /// [`Self::run`] for several commands, each decided on what the one before leads to: all of them, or none where one is refused.
    ///
    /// # Errors
    /// The refusal, or why the log did not take it.
    pub async fn run_each<T>(
        &self,
        stream: &StreamId,
        commands: &[A::Command],
        context: &Context,
        look: impl Fn(&A::State, i64) -> T,
    ) -> Result<Accepted<T>, Failure<A::Refusal>> {
        self.run_each_keyed(stream, commands, context, |state, version| (look(state, version), None)).await
    }

    /// [`Self::run`], where `look` may also give an answer that is kept in the same transaction for an idempotency key.
    ///
    /// # Errors
    /// The refusal, or why the log did not take it.
    pub async fn run_keyed<T>(
        &self,
        stream: &StreamId,
        command: &A::Command,
        context: &Context,
        look: impl Fn(&A::State, i64) -> (T, Option<KeyedAnswer>),
    ) -> Result<Accepted<T>, Failure<A::Refusal>> {
        self.run_each_keyed(stream, std::slice::from_ref(command), context, look).await
    }

    async fn run_each_keyed<T>(
        &self,
        stream: &StreamId,
        commands: &[A::Command],
        context: &Context,
        look: impl Fn(&A::State, i64) -> (T, Option<KeyedAnswer>),
    ) -> Result<Accepted<T>, Failure<A::Refusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let entity = self.entity(stream).await?;
            let step = match entity.stage_each(commands, context) {
                Staging::Stale => continue,
                Staging::Unchanged(basis) => Step::Unchanged(basis),
                Staging::Refused(basis, refusal) => Step::Refused(basis, Failure::Refused(refusal)),
                Staging::Mismatch(basis) => {
                    let version = basis.version;
                    Step::Refused(basis, Failure::VersionMismatch(version))
                }
                Staging::Staged(staged) => {
                    let version = staged.version();
                    let (seen, answer) = look(staged.state(), version);
                    let pending = self.store.submit(Unit { parts: vec![staged.part()?], answer })?;
                    staged.submitted();
                    Step::Submitted(pending, seen, version)
                }
            };
            match step {
                Step::Submitted(pending, seen, version) => match pending.outcome().await {
                    Ok(Committed { position, repeated: false }) => {
                        self.committed(&entity, version);
                        return Ok(Accepted { seen, version, position, unchanged: false });
                    }
                    Ok(Committed { position, repeated: true }) => {
                        // Others may have come after it: what is seen is as new as the answer says.
                        let (seen, version, newest) = self.current(stream, |state, version| look(state, version).0).await?;
                        return Ok(Accepted { seen, version, position: position.max(newest), unchanged: true });
                    }
                    Err(event_store::Error::Conflict) => counter!("merx_command_retries_total", "category" => A::CATEGORY).increment(1),
                    Err(error) => return Err(error.into()),
                },
                Step::Refused(basis, failure) => {
                    if entity.confirm(&self.store, &basis).await? {
                        if context.may_repeat && self.store.position_of(context.metadata.command_id).await?.is_some() {
                            return self.answer_unchanged(&entity, look).await.map_err(Into::into);
                        }
                        return Err(failure);
                    }
                }
                Step::Unchanged(basis) => {
                    if entity.confirm(&self.store, &basis).await? {
                        return self.answer_unchanged(&entity, look).await.map_err(Into::into);
                    }
                }
            }
        }
        Err(event_store::Error::Overloaded.into())
    }

    /// Answers a command that had nothing to change, and keeps the answer where it is to be kept.
    async fn answer_unchanged<T>(
        &self,
        entity: &Entity<A>,
        look: impl Fn(&A::State, i64) -> (T, Option<KeyedAnswer>),
    ) -> Result<Accepted<T>, event_store::Error> {
        let ((seen, answer), version, position) = entity.look(Tail::empty(), look);
        if let Some(mut answer) = answer {
            answer.position_without_events = position;
            self.store.append(Unit { parts: Vec::new(), answer: Some(answer) }).await?;
        }
        Ok(Accepted { seen, version, position, unchanged: true })
    }

    /// What `look` sees of the newest committed state of `stream`, with its version and the position of its last event.
    ///
    /// # Errors
    /// The log can't be read.
    pub async fn current<T>(&self, stream: &StreamId, look: impl Fn(&A::State, i64) -> T) -> Result<(T, i64, i64), event_store::Error> {
        let mut seen = self.current_all(std::slice::from_ref(stream), look).await?;
        seen.pop().ok_or(event_store::Error::Conflict)
    }

    /// Returns what `look` sees of the newest state of `stream` once that is committed: other than [`Self::current`], it waits for what is
    /// under way here.
    ///
    /// # Errors
    /// The log can't be read, or the stream moves all the time.
    pub async fn settled<T>(&self, stream: &StreamId, look: impl Fn(&A::State) -> T) -> Result<T, event_store::Error> {
        for _ in 0..MAX_ATTEMPTS {
            let entity = self.entity(stream).await?;
            if let Some((seen, basis)) = entity.newest(&look)
                && entity.confirm(&self.store, &basis).await?
            {
                return Ok(seen);
            }
        }
        Err(event_store::Error::Overloaded)
    }

    /// Makes it known that `stream` is new, so that the log is not asked for it: its id has just been made. Should there be such a stream all
    /// the same, the log refuses what is decided, and it is read.
    pub fn begin(&self, stream: &StreamId) {
        self.forget_what_was_lost();
        self.entities.put(Arc::new(Entity::unborn(stream.clone())));
    }

    /// What `look` sees of a committed state of `stream` that has at least `version`: read from the log only where it is not at hand.
    ///
    /// # Errors
    /// The log can't be read.
    pub async fn at_least<T>(&self, stream: &StreamId, version: i64, look: impl Fn(&A::State, i64) -> T) -> Result<T, event_store::Error> {
        let entity = self.held(stream);
        let question = entity.question();
        let tail = if question.version >= version {
            Tail::empty()
        } else {
            tail::load(&self.store, vec![question]).await?.pop().unwrap_or_else(Tail::empty)
        };
        Ok(self.look(&entity, tail, look).0)
    }

    /// [`Self::current`] for several streams in one query: the answers in the order of the streams.
    ///
    /// # Errors
    /// The log can't be read.
    pub async fn current_all<T>(
        &self,
        streams: &[StreamId],
        look: impl Fn(&A::State, i64) -> T,
    ) -> Result<Vec<(T, i64, i64)>, event_store::Error> {
        let entities: Vec<_> = streams.iter().map(|stream| self.held(stream)).collect();
        let tails = tail::load(&self.store, entities.iter().map(|entity| entity.question()).collect()).await?;
        Ok(entities.iter().zip(tails).map(|(entity, tail)| self.look(entity, tail, &look)).collect())
    }

    /// The entity of `stream`, with a state that was read at some time.
    ///
    /// # Errors
    /// The log can't be read.
    pub async fn entity(&self, stream: &StreamId) -> Result<Arc<Entity<A>>, event_store::Error> {
        let entity = self.held(stream);
        if let Some(version) = entity.refresh(&self.store).await? {
            self.committed(&entity, version);
        }
        Ok(entity)
    }

    /// Takes note that `entity` is committed up to `version`: a snapshot may be due.
    pub(crate) fn committed(&self, entity: &Arc<Entity<A>>, version: i64) {
        if entity.take_growth() {
            self.entities.weigh_again(entity);
        }
        snapshots::consider(&self.store, entity, version);
    }

    fn look<T>(&self, entity: &Arc<Entity<A>>, tail: Tail<A>, look: impl FnOnce(&A::State, i64) -> T) -> (T, i64, i64) {
        let seen = entity.look(tail, look);
        self.committed(entity, seen.1);
        seen
    }

    fn held(&self, stream: &StreamId) -> Arc<Entity<A>> {
        self.forget_what_was_lost();
        self.entities.get_or_make(stream)
    }

    /// Forgets all states where the log has gone back: they may be made from events that are not in it any more, and are read again.
    fn forget_what_was_lost(&self) {
        let breaks = self.store.breaks();
        if self.breaks.load(Ordering::Acquire) != breaks {
            self.entities.clear();
            self.breaks.store(breaks, Ordering::Release);
        }
    }
}

enum Step<T, R: std::error::Error> {
    Submitted(event_store::append::Pending, T, i64),
    Refused(Basis, Failure<R>),
    Unchanged(Basis),
}
