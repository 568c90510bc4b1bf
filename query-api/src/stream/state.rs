//! What the events of a stream amount to.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    Aggregate, cart::Cart, category::Category, flash_sale::FlashSale, order::Order, payment::Payment, product::Product,
    projection::Projection, review::Review, stock::Stock,
};
use event_schemas::{StreamId, Timestamp};
use event_store::{EventStore, NewSnapshot};
use gateway::{FieldError, Json, MinPosition, Path, Position, Problem, Query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{StreamName, unknown};
use crate::{Queries, answer::not_found, error::Error, freshness::answered};

/// How many events are in memory at a time, however long a stream is.
const PAGE: i64 = 5_000;
/// After so many events a state is kept: whoever asks for an old state of a long stream folds no more than these, once somebody has asked before.
const KEPT_EVERY: i64 = 5_000;

/// Which state is wanted: one of the two, or neither.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct When {
    /// After this event.
    #[schemars(range(min = 1))]
    version: Option<i64>,
    /// At this time, inclusive.
    at: Option<Timestamp>,
}

/// The state of a stream.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StreamState")]
pub struct Shown {
    /// The stream.
    stream: StreamName,
    /// The version that is shown.
    version: i64,
    /// When it came to be.
    at: Timestamp,
    /// What was known then, as the rules of the shop see it.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    state: Box<RawValue>,
}

pub async fn show(
    State(queries): State<Queries>,
    min: MinPosition,
    Path(stream): Path<StreamId>,
    Query(when): Query<When>,
) -> Result<Response, Problem> {
    if when.version.is_some() && when.at.is_some() {
        return Err(Problem::invalid(vec![FieldError::new("?at", "conflicting", "can't be sent together with `version`")]));
    }
    let head = queries.head_from(min).await?;
    let version = version_of(&queries.store, &stream, &when, head).await?;
    let folded = fold(&queries.store, &stream, version).await?;
    let Some(Folded { at, state }) = folded else {
        return Err(not_found(head, format!("Streams of the category {:?} have no state to show.", stream.category())));
    };
    Ok((Position(head), Json(Shown { stream: StreamName(stream.to_string()), version, at, state })).into_response())
}

/// The version that is meant; 404 where the stream is not there, not yet, or shorter.
async fn version_of(store: &EventStore, stream: &StreamId, when: &When, head: i64) -> Result<i64, Problem> {
    let newest = answered(|| store.stream_version(stream)).await.map_err(Error::from)?;
    if newest == 0 {
        return Err(unknown(head, stream));
    }
    match (when.version, when.at) {
        (Some(version), _) if version > newest => {
            Err(not_found(head, format!("Stream {stream} has not come to version {version} yet: it is at {newest}.")))
        }
        (Some(version), _) => Ok(version),
        (None, Some(at)) => match answered(|| store.stream_version_at(stream, at)).await.map_err(Error::from)? {
            0 => Err(not_found(head, format!("Stream {stream} did not exist yet at {at}."))),
            version => Ok(version),
        },
        (None, None) => Ok(newest),
    }
}

/// A state, and when its last event was recorded.
struct Folded {
    at: Timestamp,
    state: Box<RawValue>,
}

/// The state of `stream` at `version`; none for a category without rules.
async fn fold(store: &EventStore, stream: &StreamId, version: i64) -> Result<Option<Folded>, Error> {
    Ok(Some(match stream.category() {
        Category::CATEGORY => fold_as::<Category>(store, stream, version).await?,
        Product::CATEGORY => fold_as::<Product>(store, stream, version).await?,
        Stock::CATEGORY => fold_as::<Stock>(store, stream, version).await?,
        FlashSale::CATEGORY => fold_as::<FlashSale>(store, stream, version).await?,
        Cart::CATEGORY => fold_as::<Cart>(store, stream, version).await?,
        Order::CATEGORY => fold_as::<Order>(store, stream, version).await?,
        Payment::CATEGORY => fold_as::<Payment>(store, stream, version).await?,
        Review::CATEGORY => fold_as::<Review>(store, stream, version).await?,
        Projection::CATEGORY => fold_as::<Projection>(store, stream, version).await?,
        _ => return Ok(None),
    }))
}

async fn fold_as<A: Aggregate>(store: &EventStore, stream: &StreamId, version: i64) -> Result<Folded, Error> {
    let (mut state, mut at, mut read_up_to) = begin::<A>(store, stream, version).await?;
    while read_up_to < version {
        let page = answered(|| store.read_stream(stream, read_up_to + 1, version, PAGE)).await?;
        if page.is_empty() {
            break; // Can't be: versions have no gaps.
        }
        for stored in page {
            let recorded = match stored.decode() {
                Ok(recorded) => recorded,
                Err(undecodable) => return Err(event_store::newer::told(store.pool(), undecodable).await.into()),
            };
            (read_up_to, at) = (recorded.version, recorded.recorded_at);
            if let Some(event) = A::own(&recorded.event) {
                state = A::evolve(state, event, at);
            }
            if read_up_to % KEPT_EVERY == 0 {
                let state = serde_json::to_string(&state)?;
                store.offer_past_snapshot(NewSnapshot {
                    stream: stream.clone(),
                    version: read_up_to,
                    state_version: A::STATE_VERSION,
                    state,
                });
            }
        }
    }
    Ok(Folded { at, state: serde_json::value::to_raw_value(&state)? })
}

/// What to begin folding with, the time of its last event and its version: a snapshot that is not newer than `version`, or nothing.
async fn begin<A: Aggregate>(store: &EventStore, stream: &StreamId, version: i64) -> Result<(A::State, Timestamp, i64), Error> {
    if let Some(snapshot) = answered(|| store.snapshot(stream, A::STATE_VERSION, version)).await? {
        match serde_json::from_str(&snapshot.state) {
            Ok(state) => return Ok((state, snapshot.recorded_at, snapshot.version)),
            Err(error) => tracing::warn!(%stream, version = snapshot.version, %error, "a snapshot is no state, and is ignored"),
        }
    }
    Ok((A::State::default(), Timestamp::from_micros(0), 0))
}
