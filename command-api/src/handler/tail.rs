//! What the log has of streams, with the states that snapshots spare the folding of.

use std::mem;

use domain::Aggregate;
use event_schemas::{Recorded, StreamId};
use event_store::{EventStore, Wanted};
use metrics::counter;

/// A committed state.
pub struct Known<A: Aggregate> {
    /// The state.
    pub state: A::State,
    /// The version of its last event.
    pub version: i64,
    /// The position of that event.
    pub position: i64,
    /// True for a snapshot as it stands in the database, false for what was folded just now.
    pub is_kept: bool,
}

/// The events of a stream since a version, or since a state that is newer.
pub struct Tail<A: Aggregate> {
    /// The snapshot's state, if there was one; or that of all the events, where these have too much data to be in memory at a time.
    pub snapshot: Option<Known<A>>,
    /// What came after, oldest first.
    pub events: Vec<Recorded>,
}

impl<A: Aggregate> Tail<A> {
    /// Nothing new.
    pub fn empty() -> Self {
        Self { snapshot: None, events: Vec::new() }
    }
}

/// What is asked of a stream.
pub struct Asked {
    /// The stream.
    pub stream: StreamId,
    /// What is known of it already.
    pub version: i64,
    /// Whether so much may be missing that a snapshot is worth looking for.
    pub may_be_long: bool,
}

/// Reads what streams have got: the answers in the order of the questions. A snapshot that is no state of today's rules is not used, and the
/// stream is read as if there were none.
///
/// # Errors
/// The log can't be read.
pub async fn load<A: Aggregate>(store: &EventStore, asked: Vec<Asked>) -> Result<Vec<Tail<A>>, event_store::Error> {
    let read = store.load(asked.iter().map(wanted::<A>).collect()).await?;
    let mut tails = Vec::with_capacity(read.len());
    for (asked, tail) in asked.into_iter().zip(read) {
        tails.push(whole(store, asked, tail).await?);
    }
    Ok(tails)
}

fn wanted<A: Aggregate>(asked: &Asked) -> Wanted {
    let Asked { stream, version, may_be_long } = asked;
    Wanted { stream: stream.clone(), version: *version, state_version: may_be_long.then_some(A::STATE_VERSION) }
}

async fn read<A: Aggregate>(store: &EventStore, asked: &Asked) -> Result<event_store::Tail, event_store::Error> {
    Ok(store.load(vec![wanted::<A>(asked)]).await?.pop().unwrap_or_default())
}

/// All of a tail, of which no more than a part is in memory at a time.
async fn whole<A: Aggregate>(store: &EventStore, mut asked: Asked, mut tail: event_store::Tail) -> Result<Tail<A>, event_store::Error> {
    if tail.is_partial && tail.snapshot.is_none() && tail.events.is_empty() {
        tail = read::<A>(store, &asked).await?; // it was left out for others
    }
    if tail.is_partial && tail.snapshot.is_none() && asked.version > 0 {
        // The state that these follow on is not known here.
        asked = Asked { version: 0, may_be_long: true, ..asked };
        tail = read::<A>(store, &asked).await?;
    }
    let mut known = None;
    if let Some(snapshot) = tail.snapshot.take() {
        match serde_json::from_str(&snapshot.state) {
            Ok(state) => known = Some(Known { state, version: snapshot.version, position: snapshot.position, is_kept: true }),
            Err(error) => {
                counter!("merx_snapshots_ignored_total").increment(1);
                tracing::warn!(stream = %asked.stream, version = snapshot.version, %error, "a snapshot is no state, and is ignored");
                let asked = Asked { may_be_long: false, ..asked };
                let tail = read::<A>(store, &asked).await?;
                return Box::pin(whole(store, asked, tail)).await;
            }
        }
    }
    if !tail.is_partial {
        return Ok(Tail { snapshot: known, events: tail.events });
    }
    let mut folded = known.unwrap_or_else(Known::nothing);
    loop {
        tail.events.into_iter().for_each(|recorded| folded.take(&recorded));
        if !tail.is_partial {
            return Ok(Tail { snapshot: Some(folded), events: Vec::new() });
        }
        asked = Asked { version: folded.version, may_be_long: false, ..asked };
        tail = read::<A>(store, &asked).await?;
    }
}

impl<A: Aggregate> Known<A> {
    /// A stream without events.
    fn nothing() -> Self {
        Self { state: A::State::default(), version: 0, position: 0, is_kept: false }
    }

    fn take(&mut self, recorded: &Recorded) {
        if let Some(event) = A::own(&recorded.event) {
            self.state = A::evolve(mem::take(&mut self.state), event, recorded.recorded_at);
        }
        (self.version, self.position, self.is_kept) = (recorded.version, recorded.position, false);
    }
}
