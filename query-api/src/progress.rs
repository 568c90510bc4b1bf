//! `GET /v1/projections`: how far the consumers of the log have come.

use std::collections::HashMap;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use event_schemas::Timestamp;
use event_store::{
    parked::{self, Listed},
    progress,
};
use gateway::{Json, MinPosition, Position, Problem, Route, Routes};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::{Queries, error::Error, freshness::answered};

/// The most parked streams that are shown of a consumer.
const MOST_PARKED: i64 = 100;

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/projections", list)
            .summary("How far each projection, and each other consumer of the log, has come")
            .tag("Operations")
            .answers::<Progress>(200)
            .leads_to("/v1/projections/{name}", "$response.body#/items/0/name"),
    )
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Projections")]
struct Progress {
    /// The position of the newest event.
    head: i64,
    /// Which of its histories the log is on. Another one begins where it is found to have gone back: it was restored, or a standby took over.
    timeline: Timeline,
    /// Every consumer of the log.
    items: Vec<Consumer>,
}

/// One unbroken history of the log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Timeline")]
struct Timeline {
    /// Its id; that of a later one is greater.
    id: Uuid,
    /// The last position that it has in common with the one before; 0 for the first.
    since: i64,
    /// The time at which it was found to have begun.
    begun_at: Timestamp,
}

/// A consumer of the log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Projection")]
struct Consumer {
    /// Its name.
    name: String,
    /// The version of its code.
    version: i32,
    /// What it has come to.
    position: i64,
    /// How many events it lacks.
    lag: i64,
    /// The age of the oldest of them, in seconds since it was recorded; 0 where it lacks none.
    lag_seconds: f64,
    /// Whether it keeps up.
    state: ConsumerState,
    /// Why it does not go on, where it is failing.
    failing: Option<String>,
    /// How far a new read model has come, where one is being built beside the one in use.
    rebuild: Option<Rebuild>,
    /// Streams that it could not go on with, the longest parked first; the first 100.
    parked: Vec<Parked>,
    /// When it last moved.
    updated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ProjectionState")]
enum ConsumerState {
    /// It has nothing to do, or lacks no more than the last seconds' events.
    Live,
    /// It lacks more than that, and moves.
    Behind,
    /// It lacks something, and does not move.
    Stalled,
    /// It can't go on, and tries again and again.
    Failing,
}

/// A read model that is being built anew.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionRebuild")]
struct Rebuild {
    /// The version of the projection that it is built by.
    version: i32,
    /// What it has come to.
    position: i64,
    /// How many events it lacks.
    lag: i64,
}

impl From<progress::State> for ConsumerState {
    fn from(state: progress::State) -> Self {
        match state {
            progress::State::Live => Self::Live,
            progress::State::Behind => Self::Behind,
            progress::State::Stalled => Self::Stalled,
            progress::State::Failing => Self::Failing,
        }
    }
}

/// A stream that a projection could not go on with.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ParkedStream")]
struct Parked {
    /// The stream.
    stream: String,
    /// Where the event stands that could not be taken.
    position: i64,
    /// Its number in the stream.
    version: i64,
    /// Its type.
    #[serde(rename = "type")]
    event_type: String,
    /// Why.
    reason: String,
    /// Since when.
    since: Timestamp,
}

async fn list(State(queries): State<Queries>, min: MinPosition) -> Result<Response, Problem> {
    queries.head_from(min).await?;
    let progress = answered(|| read(&queries)).await?;
    Ok((Position(progress.head), Json(progress)).into_response())
}

async fn read(queries: &Queries) -> Result<Progress, Error> {
    let progress::Progress { head, consumers } = progress::read(&queries.reads).await?;
    let mut parked: HashMap<String, Vec<Parked>> = HashMap::new();
    for Listed { consumer, parked: stream, since } in parked::all(&queries.reads, MOST_PARKED).await? {
        let event_store::Parked { stream, position, version, event_type, reason } = stream;
        parked.entry(consumer).or_default().push(Parked { stream, position, version, event_type, reason, since });
    }
    let items = consumers.into_iter().map(|consumer| Consumer {
        parked: parked.remove(&consumer.name).unwrap_or_default(),
        name: consumer.name,
        version: consumer.version,
        position: consumer.position,
        lag: consumer.lag,
        lag_seconds: consumer.lag_seconds,
        state: consumer.state.into(),
        failing: consumer.failure,
        rebuild: consumer.rebuild.map(|progress::Rebuild { version, position, lag }| Rebuild { version, position, lag }),
        updated_at: consumer.updated_at,
    });
    let event_store::Timeline { id, since, begun_at } = queries.store.timeline();
    Ok(Progress { head, timeline: Timeline { id, since, begun_at }, items: items.collect() })
}
