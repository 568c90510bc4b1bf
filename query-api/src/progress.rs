//! `GET /v1/projections`: how far the consumers of the log have come.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use event_schemas::Timestamp;
use gateway::{Json, MinPosition, Position, Problem, Route, Routes};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Queries, error::Error};

/// The most events that a projection may lack and still count as live: while a shop is busy it always lacks a few.
const LIVE_LAG: i64 = 1_000;

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/projections", list)
            .summary("How far each projection, and each other consumer of the log, has come")
            .tag("Operations")
            .answers::<Progress>(200),
    )
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Projections")]
struct Progress {
    /// The position of the newest event.
    head: i64,
    /// Every consumer of the log.
    items: Vec<Consumer>,
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
    /// Whether it keeps up.
    state: ConsumerState,
    /// Streams that it could not go on with.
    parked: Vec<Parked>,
    /// When it last moved.
    updated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ProjectionState")]
enum ConsumerState {
    /// It does.
    Live,
    /// It lacks more than a moment's events.
    Behind,
}

impl ConsumerState {
    fn of(lag: i64) -> Self {
        if lag <= LIVE_LAG { Self::Live } else { Self::Behind }
    }
}

/// A stream that a projection could not go on with.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ParkedStream")]
struct Parked {
    /// The stream.
    stream: String,
    /// Why.
    reason: String,
    /// Since when.
    since: Timestamp,
}

async fn list(State(queries): State<Queries>, min: MinPosition) -> Result<Response, Problem> {
    queries.head_from(min).await?;
    let progress = read(&queries).await?;
    Ok((Position(progress.head), Json(progress)).into_response())
}

async fn read(queries: &Queries) -> Result<Progress, Error> {
    let rows = sqlx::query!(
        r#"
        select h.position as "head!", c.name as "name?", c.version as "version?", c.position as "position?", c.updated_at as "updated_at?"
        from log_head h left join checkpoints c on true
        order by c.name
        "#
    )
    .fetch_all(&queries.reads)
    .await?;
    let head = rows.first().map_or(0, |row| row.head);
    let consumer = |name, version, position, updated_at| {
        let lag = i64::max(head - position, 0);
        Consumer {
            name,
            version,
            position,
            lag,
            state: ConsumerState::of(lag),
            parked: Vec::new(),
            updated_at: Timestamp::from(updated_at),
        }
    };
    let items = rows.into_iter().filter_map(|row| Some(consumer(row.name?, row.version?, row.position?, row.updated_at?))).collect();
    Ok(Progress { head, items })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_events_are_no_delay() {
        assert_eq!([0, 1_000, 1_001].map(ConsumerState::of), [ConsumerState::Live, ConsumerState::Live, ConsumerState::Behind]);
    }
}
