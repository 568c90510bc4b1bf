//! The state of one stream, as far as it was decided: perhaps ahead of what is committed.

use std::{collections::VecDeque, mem};

use domain::Aggregate;
use event_schemas::{Event, Recorded, StreamId, Timestamp};
use event_store::{EventStore, Lineage, Part};
use parking_lot::{Mutex, MutexGuard};

use super::Context;

/// A stream's newest state and what it was built from.
pub struct Entity<A: Aggregate> {
    stream: StreamId,
    held: Mutex<Held<A>>,
    /// Held while the log is read, so that a crowd reads it once.
    refreshing: tokio::sync::Mutex<()>,
}

struct Held<A: Aggregate> {
    state: A::State,
    version: i64,
    lineage: Lineage,
    /// The newest state known to be committed; none before anything was decided here, or where the log has told of more.
    base: Option<(A::State, i64)>,
    /// What lies between `base` and `state`.
    ahead: VecDeque<(A::Event, Timestamp)>,
    /// Whether the log must be read before anything is decided.
    is_stale: bool,
}

impl<A: Aggregate> Held<A> {
    /// Takes note of what has been committed since the last look; after a failed commit, goes back to what was committed.
    fn catch_up(&mut self) {
        let (committed, position) = self.lineage.committed();
        if let Some((mut state, mut version)) = self.base.take() {
            while version < committed
                && let Some((event, at)) = self.ahead.pop_front()
            {
                state = A::evolve(state, &event, at);
                version += 1;
            }
            // Kept even where nothing is ahead any more: on a busy stream the next command would need it again at once, and a copy of
            // the state of a hot SKU is not cheap.
            self.base = Some((state, version));
        }
        if self.lineage.is_severed() {
            if let Some((state, version)) = self.base.take() {
                self.state = state;
                self.version = version;
                self.ahead.clear();
            }
            self.lineage = Lineage::new(self.version, position);
            self.is_stale = true;
        }
    }

    /// The newest state that is known to be committed, and its version.
    fn committed(&self) -> (&A::State, i64) {
        self.base.as_ref().map_or((&self.state, self.version), |(state, version)| (state, *version))
    }

    /// Takes in what the log has after some committed version, while nothing is ahead.
    fn absorb(&mut self, tail: &[Recorded]) {
        let missed: Vec<&Recorded> = tail.iter().filter(|recorded| recorded.version > self.version).collect();
        if let (Some(first), Some(last)) = (missed.first(), missed.last()) {
            if first.version != self.version + 1 {
                return; // read before this state went back to an older one: it must be read again
            }
            self.base = None;
            self.state = evolved::<A>(mem::take(&mut self.state), &missed);
            self.version = last.version;
            self.lineage = Lineage::new(last.version, last.position);
        }
        self.is_stale = false;
    }

    /// Takes the newest `count` events back, which were never submitted; what lies before them stays ahead.
    fn take_back(&mut self, count: usize) {
        let Some((base, version)) = self.base.take() else { return };
        self.ahead.truncate(self.ahead.len().saturating_sub(count));
        self.version = version + self.ahead.len() as i64;
        if self.ahead.is_empty() {
            self.state = base;
        } else {
            self.state = self.ahead.iter().fold(base.clone(), |state, (event, at)| A::evolve(state, event, *at));
            self.base = Some((base, version));
        }
    }

    /// Evolves the state by events that are about to be submitted, keeping what is committed to go back to.
    fn go_ahead(&mut self, events: &[A::Event], at: Timestamp) {
        if self.base.is_none() {
            self.base = Some((self.state.clone(), self.version));
        }
        for event in events {
            self.state = A::evolve(mem::take(&mut self.state), event, at);
            self.ahead.push_back((event.clone(), at));
        }
        self.version += events.len() as i64;
    }
}

/// What was decided on: to be confirmed before a decision without events is believed.
pub struct Basis {
    /// The version of the state.
    pub version: i64,
    lineage: Lineage,
}

/// What a command would lead to.
pub enum Staging<'e, A: Aggregate> {
    /// The state must be read again first.
    Stale,
    /// Nothing is to change.
    Unchanged(Basis),
    /// The rules forbid it.
    Refused(Basis, A::Refusal),
    /// The stream does not have the version that the client wanted, but that of the basis.
    Mismatch(Basis),
    /// Events. Until they are submitted or dropped nobody else can decide on this stream.
    Staged(Staged<'e, A>),
}

/// Events that a command leads to, to be submitted at once: while this lives its stream is locked. Dropped without having been
/// submitted, they never happened.
pub struct Staged<'e, A: Aggregate> {
    entity: &'e Entity<A>,
    held: MutexGuard<'e, Held<A>>,
    events: Vec<A::Event>,
    context: &'e Context,
    is_submitted: bool,
}

impl<A: Aggregate> Staged<'_, A> {
    /// The state after the events.
    #[must_use]
    pub fn state(&self) -> &A::State {
        &self.held.state
    }

    /// The version after the events.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.held.version
    }

    /// What is to be submitted.
    ///
    /// # Errors
    /// The events can't be written as JSON.
    pub fn part(&self) -> Result<Part, event_store::Error> {
        let events: Vec<Event> = self.events.iter().cloned().map(Into::into).collect();
        let before = self.held.version - events.len() as i64;
        let Context { now, metadata, .. } = self.context;
        Part::new(self.entity.stream.clone(), before, events, metadata.clone(), *now, self.held.lineage.clone())
    }

    /// The part has been submitted: the next command is decided on the state after it.
    pub fn submitted(mut self) {
        self.is_submitted = true;
    }
}

impl<A: Aggregate> Drop for Staged<'_, A> {
    fn drop(&mut self) {
        if !self.is_submitted {
            // The chain is not severed: what others have under way on this stream was not built on these events.
            self.held.take_back(self.events.len());
        }
    }
}

impl<A: Aggregate> Entity<A> {
    /// A stream that has no events.
    pub(super) fn unborn(stream: StreamId) -> Self {
        let entity = Self::new(stream);
        entity.held.lock().is_stale = false;
        entity
    }

    /// A stream of which nothing is known.
    pub(super) fn new(stream: StreamId) -> Self {
        let held = Held {
            state: A::State::default(),
            version: 0,
            lineage: Lineage::new(0, 0),
            base: None,
            ahead: VecDeque::new(),
            is_stale: true,
        };
        Self { stream, held: Mutex::new(held), refreshing: tokio::sync::Mutex::new(()) }
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Decides `command` on the newest state. Locks the stream for as long as what is staged lives, so nothing may be awaited meanwhile;
    /// whoever stages on several streams does so in one fixed order of categories.
    #[must_use]
    pub fn stage<'e>(&'e self, command: &A::Command, context: &'e Context) -> Staging<'e, A> {
        let mut held = self.held.lock();
        held.catch_up();
        if held.is_stale {
            return Staging::Stale;
        }
        let basis = || Basis { version: held.version, lineage: held.lineage.clone() };
        // What does not exist is refused by the rules, not by its version.
        if held.version > 0 && !context.if_match.allows(held.version) {
            return Staging::Mismatch(basis());
        }
        match A::decide(&held.state, command, context.now) {
            Err(refusal) => Staging::Refused(basis(), refusal),
            Ok(events) if events.is_empty() => Staging::Unchanged(basis()),
            Ok(events) => {
                held.go_ahead(&events, context.now);
                Staging::Staged(Staged { entity: self, held, events, context, is_submitted: false })
            }
        }
    }

    /// The newest version that is known to be committed.
    pub(super) fn committed_version(&self) -> i64 {
        let mut held = self.held.lock();
        held.catch_up();
        held.committed().1
    }

    /// What `look` sees of the newest committed state, with its version and the position of its event, where `tail` is what the log has
    /// after some version that was committed before.
    pub(crate) fn look<T>(&self, tail: &[Recorded], look: impl FnOnce(&A::State, i64) -> T) -> (T, i64, i64) {
        let mut held = self.held.lock();
        held.catch_up();
        if held.ahead.is_empty() {
            held.absorb(tail);
        }
        let (state, version) = held.committed();
        let position = held.lineage.committed().1;
        // Where commands are under way, what others committed meanwhile is not taken in: their commit will tell of it.
        let missed: Vec<&Recorded> = tail.iter().filter(|recorded| recorded.version > version).collect();
        match missed.last() {
            None => (look(state, version), version, position),
            Some(last) => (look(&evolved::<A>(state.clone(), &missed), last.version), last.version, last.position),
        }
    }

    /// Whether `basis` is committed and was the newest there was when it was decided on.
    ///
    /// # Errors
    /// The log can't be read.
    pub(crate) async fn confirm(&self, store: &EventStore, basis: &Basis) -> Result<bool, event_store::Error> {
        if basis.lineage.settled(basis.version).await.is_err() {
            return Ok(false);
        }
        if basis.lineage.committed().0 > basis.version {
            // A later command of the same chain was committed right behind it, so nobody else had come in between.
            return Ok(true);
        }
        let tail = store.tail(&self.stream, basis.version).await?;
        let mut held = self.held.lock();
        held.catch_up();
        if held.ahead.is_empty() {
            held.absorb(&tail);
        }
        Ok(tail.is_empty())
    }

    /// Reads what the log has, if the state must be read again.
    pub(super) async fn refresh(&self, store: &EventStore) -> Result<(), event_store::Error> {
        if !self.is_stale() {
            return Ok(());
        }
        let _single = self.refreshing.lock().await;
        while self.is_stale() {
            let tail = store.tail(&self.stream, self.committed_version()).await?;
            let mut held = self.held.lock();
            held.catch_up();
            held.absorb(&tail);
        }
        Ok(())
    }

    fn is_stale(&self) -> bool {
        let mut held = self.held.lock();
        held.catch_up();
        held.is_stale
    }
}

fn evolved<A: Aggregate>(state: A::State, missed: &[&Recorded]) -> A::State {
    missed.iter().fold(state, |state, recorded| match A::own(&recorded.event) {
        Some(event) => A::evolve(state, event, recorded.recorded_at),
        None => state,
    })
}
