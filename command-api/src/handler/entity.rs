//! The state of one stream, as far as it was decided: perhaps ahead of what is committed.

use std::{
    collections::VecDeque,
    mem,
    sync::atomic::{AtomicBool, Ordering},
};

use domain::Aggregate;
use event_schemas::{Event, Recorded, StreamId, Timestamp};
use event_store::{EventStore, Lineage, Part, Wanted};
use parking_lot::{Mutex, MutexGuard};

use super::{
    Context,
    snapshots::Schedule,
    tail::{self, Asked, Known, Tail},
    weight::Weight,
};

/// The bytes of what `events` say.
fn written(events: &[Recorded]) -> usize {
    events.iter().map(|recorded| recorded.event.payload().map_or(0, |payload| payload.len())).sum()
}

/// A stream's newest state and what it was built from.
pub struct Entity<A: Aggregate> {
    stream: StreamId,
    held: Mutex<Held<A>>,
    /// Held while the log is read, so that a crowd reads it once.
    refreshing: tokio::sync::Mutex<()>,
    schedule: Schedule,
    weight: Weight,
    /// True where its weight was measured anew and the cache does not know.
    has_grown: AtomicBool,
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

    /// Takes in what the log has after some committed version, while nothing is ahead. A newer snapshot is moved out of `tail`; the version of
    /// the snapshot is given then.
    fn absorb(&mut self, tail: &mut Tail<A>) -> Option<i64> {
        let newer = tail.snapshot.take_if(|snapshot| snapshot.version > self.version);
        let read = newer.as_ref().filter(|snapshot| snapshot.is_kept).map(|snapshot| snapshot.version);
        if let Some(Known { state, version, position, .. }) = newer {
            self.base = None;
            self.state = state;
            self.version = version;
            self.lineage = Lineage::new(version, position);
        }
        let missed: Vec<&Recorded> = tail.events.iter().filter(|recorded| recorded.version > self.version).collect();
        if let (Some(first), Some(last)) = (missed.first(), missed.last()) {
            if first.version != self.version + 1 {
                return read; // read before this state went back to an older one: it must be read again
            }
            self.base = None;
            self.state = evolved::<A>(mem::take(&mut self.state), &missed);
            self.version = last.version;
            self.lineage = Lineage::new(last.version, last.position);
        }
        self.is_stale = false;
        read
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

/// The outcome of commands, before anybody goes ahead by it.
pub enum Decision<'e, A: Aggregate> {
    /// Events.
    Events(Decided<'e, A>),
    /// Anything else.
    None(Staging<'e, A>),
}

/// Events that commands would lead to. While this lives its stream is locked; dropped, nothing has happened, and that costs nothing, however
/// large the state.
pub struct Decided<'e, A: Aggregate> {
    entity: &'e Entity<A>,
    held: MutexGuard<'e, Held<A>>,
    events: Vec<A::Event>,
    context: &'e Context,
}

impl<'e, A: Aggregate> Decided<'e, A> {
    /// Goes ahead by the events.
    #[must_use]
    pub fn stage(mut self) -> Staged<'e, A> {
        self.held.go_ahead(&self.events, self.context.now);
        Staged { entity: self.entity, held: self.held, events: self.events, context: self.context, is_submitted: false }
    }
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
        let part = Part::new(self.entity.stream.clone(), before, events, metadata.clone(), *now, self.held.lineage.clone())?;
        if self.entity.weight.add(part.bytes(), &self.held.state) {
            self.entity.has_grown.store(true, Ordering::Relaxed);
        }
        Ok(part)
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
        Self {
            stream,
            held: Mutex::new(held),
            refreshing: tokio::sync::Mutex::new(()),
            schedule: Schedule::new(),
            weight: Weight::default(),
            has_grown: AtomicBool::new(false),
        }
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Decides `command` on the newest state. Locks the stream for as long as what is staged lives, so nothing may be awaited meanwhile;
    /// whoever stages on several streams does so in one fixed order: that of their categories, then of their keys.
    #[must_use]
    pub fn stage<'e>(&'e self, command: &A::Command, context: &'e Context) -> Staging<'e, A> {
        self.stage_each(std::slice::from_ref(command), context)
    }

    /// [`Self::stage`] for several commands, as [`Self::decide`] takes them.
    pub(super) fn stage_each<'e>(&'e self, commands: &[A::Command], context: &'e Context) -> Staging<'e, A> {
        match self.decide(commands, context) {
            Decision::Events(decided) => Staging::Staged(decided.stage()),
            Decision::None(staging) => staging,
        }
    }

    /// Decides `commands`, each on what the one before leads to: all of them, or none where one is refused. Locks the stream as
    /// [`Self::stage`] does.
    #[must_use]
    pub fn decide<'e>(&'e self, commands: &[A::Command], context: &'e Context) -> Decision<'e, A> {
        let mut held = self.held.lock();
        held.catch_up();
        if held.is_stale {
            return Decision::None(Staging::Stale);
        }
        let basis = || Basis { version: held.version, lineage: held.lineage.clone() };
        // What does not exist is refused by the rules, not by its version.
        if (held.version > 0 || A::EXISTS_WITHOUT_EVENTS) && !context.if_match.allows(held.version) {
            return Decision::None(Staging::Mismatch(basis()));
        }
        match decided::<A>(&held.state, commands, context.now) {
            Err(refusal) => Decision::None(Staging::Refused(basis(), refusal)),
            Ok(events) if events.is_empty() => Decision::None(Staging::Unchanged(basis())),
            Ok(events) => Decision::Events(Decided { entity: self, held, events, context }),
        }
    }

    /// Looks at the newest state, perhaps ahead of its commit: returns what `look` saw, and the version and lineage it saw; none where the
    /// state must be read again first.
    pub(super) fn newest<T>(&self, look: impl FnOnce(&A::State) -> T) -> Option<(T, Basis)> {
        let mut held = self.held.lock();
        held.catch_up();
        let basis = Basis { version: held.version, lineage: held.lineage.clone() };
        (!held.is_stale).then(|| (look(&held.state), basis))
    }

    /// What is to be asked of the log to know the stream's newest state.
    pub(super) fn question(&self) -> Asked {
        let mut held = self.held.lock();
        held.catch_up();
        let version = held.committed().1;
        Asked { stream: self.stream.clone(), version, may_be_long: version == 0 || held.is_stale }
    }

    /// The newest state that is known to be committed, and its version.
    pub(super) fn committed(&self) -> (A::State, i64) {
        let mut held = self.held.lock();
        held.catch_up();
        let (state, version) = held.committed();
        (state.clone(), version)
    }

    /// Its weight in the cache.
    pub(super) fn weight(&self) -> &Weight {
        &self.weight
    }

    /// Returns true once for each time that its weight was measured anew.
    pub(super) fn take_growth(&self) -> bool {
        self.has_grown.swap(false, Ordering::Relaxed)
    }

    /// When a snapshot of it is due.
    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What `look` sees of the newest committed state, with its version and the position of its event, where `tail` is what the log has
    /// after some version that was committed before.
    pub(crate) fn look<T>(&self, mut tail: Tail<A>, look: impl FnOnce(&A::State, i64) -> T) -> (T, i64, i64) {
        let mut held = self.held.lock();
        held.catch_up();
        if held.ahead.is_empty() {
            self.absorb(&mut held, &mut tail);
        }
        // Where commands are under way, what others committed meanwhile is not taken in: their commit will tell of it.
        let (state, version) = held.committed();
        let (state, version, position) = match &tail.snapshot {
            Some(snapshot) if snapshot.version > version => (&snapshot.state, snapshot.version, snapshot.position),
            _ => (state, version, held.lineage.committed().1),
        };
        let missed: Vec<&Recorded> = tail.events.iter().filter(|recorded| recorded.version > version).collect();
        match missed.last() {
            None => (look(state, version), version, position),
            Some(last) => (look(&evolved::<A>(state.clone(), &missed), last.version), last.version, last.position),
        }
    }

    fn absorb(&self, held: &mut Held<A>, tail: &mut Tail<A>) {
        let is_anything = tail.snapshot.is_some() || !tail.events.is_empty();
        // Of a state that is known the events tell what they add: it is not written down again for each of them.
        let added = (held.version > 0 && tail.snapshot.is_none()).then(|| written(&tail.events));
        if let Some(version) = held.absorb(tail) {
            self.schedule.read(version);
        }
        let has_grown = match added {
            _ if !is_anything => false,
            Some(bytes) => self.weight.add(bytes, &held.state),
            None => {
                self.weight.measure(&held.state);
                true
            }
        };
        if has_grown {
            self.has_grown.store(true, Ordering::Relaxed);
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
        let wanted = Wanted { stream: self.stream.clone(), version: basis.version, state_version: None };
        // Of a tail that is the only one of its question, even a partial one has an event.
        let events = store.load(vec![wanted]).await?.pop().unwrap_or_default().events;
        let is_newest = events.is_empty();
        let mut held = self.held.lock();
        held.catch_up();
        if held.ahead.is_empty() {
            self.absorb(&mut held, &mut Tail { snapshot: None, events });
        }
        Ok(is_newest)
    }

    /// Reads what the log has, if the state must be read again; gives the version it then has.
    pub(super) async fn refresh(&self, store: &EventStore) -> Result<Option<i64>, event_store::Error> {
        if !self.is_stale() {
            return Ok(None);
        }
        let _single = self.refreshing.lock().await;
        let mut loaded = None;
        while self.is_stale() {
            let tail = tail::load(store, vec![self.question()]).await?.pop().unwrap_or_else(Tail::empty);
            loaded = Some(self.take_in(tail));
        }
        Ok(loaded)
    }

    /// Takes in what the log has, if the state must still be read again; gives the committed version it then has.
    fn take_in(&self, mut tail: Tail<A>) -> i64 {
        let mut held = self.held.lock();
        held.catch_up();
        // Somebody else may have read the log meanwhile, and commands be under way again. Events of another server that begin where theirs
        // end would be folded onto events that are about to collide, and the state be wrong at a version that is right.
        if held.is_stale {
            self.absorb(&mut held, &mut tail);
        }
        held.committed().1
    }

    fn is_stale(&self) -> bool {
        let mut held = self.held.lock();
        held.catch_up();
        held.is_stale
    }
}

/// The events that `commands` lead to, each decided on the state after the one before, or the first refusal.
fn decided<A: Aggregate>(state: &A::State, commands: &[A::Command], now: Timestamp) -> Result<Vec<A::Event>, A::Refusal> {
    let [first, rest @ ..] = commands else { return Ok(Vec::new()) };
    let mut events = A::decide(state, first, now)?;
    if rest.is_empty() {
        return Ok(events);
    }
    let mut state = events.iter().fold(state.clone(), |state, event| A::evolve(state, event, now));
    for command in rest {
        let more = A::decide(&state, command, now)?;
        state = more.iter().fold(state, |state, event| A::evolve(state, event, now));
        events.extend(more);
    }
    Ok(events)
}

fn evolved<A: Aggregate>(state: A::State, missed: &[&Recorded]) -> A::State {
    missed.iter().fold(state, |state, recorded| match A::own(&recorded.event) {
        Some(event) => A::evolve(state, event, recorded.recorded_at),
        None => state,
    })
}

#[cfg(test)]
mod tests {
    use domain::stock::{Command, State, Stock};
    use event_schemas::events::stock::StockReceived;
    use uuid::Uuid;

    use super::*;
    use crate::shop::now;

    fn received(stream: &StreamId, version: i64, quantity: u32) -> Recorded {
        let event = StockReceived { quantity, reference: "elsewhere".into() };
        let Context { now, metadata, .. } = Context::new(now(), "another server");
        let event = Event::Stock(event.into());
        Recorded { position: version, stream: stream.clone(), version, event_id: Uuid::now_v7(), metadata, recorded_at: now, event }
    }

    #[test]
    fn what_was_read_from_the_log_is_not_folded_onto_commands_that_began_meanwhile() {
        let stream = StreamId::stock(&"raced".parse().unwrap());
        let entity = Entity::<Stock>::unborn(stream.clone());
        let context = Context::new(now(), "test");
        let command = Command::Receive { quantity: 5, reference: "here".into() };
        let Staging::Staged(staged) = entity.stage(&command, &context) else { panic!("it is not staged") };
        let lineage = staged.held.lineage.clone();
        staged.submitted();
        // Another server was first. Who had begun to read the log while the state was stale learns of that now.
        let elsewhere = || Tail { snapshot: None, events: vec![received(&stream, 1, 70), received(&stream, 2, 900)] };
        entity.take_in(elsewhere());
        lineage.sever();
        entity.take_in(elsewhere());
        let (state, version): (State, i64) = entity.committed();
        assert_eq!((state.available(now()), version), (970, 2));
    }
}
