//! What the log has of streams, with the states that snapshots spare the folding of.

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
}

/// What a stream has got since a version, or since a snapshot that is newer.
pub struct Tail<A: Aggregate> {
    /// The snapshot's state, if there was one.
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
    let wanted = |asked: &Asked, may_be_long: bool| Wanted {
        stream: asked.stream.clone(),
        version: asked.version,
        state_version: may_be_long.then_some(A::STATE_VERSION),
    };
    let read = store.load(asked.iter().map(|asked| wanted(asked, asked.may_be_long)).collect()).await?;
    let mut tails = Vec::with_capacity(read.len());
    for (asked, event_store::Tail { snapshot, events }) in asked.iter().zip(read) {
        let Some(snapshot) = snapshot else {
            tails.push(Tail { snapshot: None, events });
            continue;
        };
        match serde_json::from_str(&snapshot.state) {
            Ok(state) => {
                let snapshot = Some(Known { state, version: snapshot.version, position: snapshot.position });
                tails.push(Tail { snapshot, events });
            }
            Err(error) => {
                counter!("merx_snapshots_ignored_total").increment(1);
                tracing::warn!(stream = %asked.stream, version = snapshot.version, %error, "a snapshot is no state, and is ignored");
                let events = store.load(vec![wanted(asked, false)]).await?.pop().unwrap_or_default().events;
                tails.push(Tail { snapshot: None, events });
            }
        }
    }
    Ok(tails)
}
