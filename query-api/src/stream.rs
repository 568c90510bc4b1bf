//! `GET /v1/streams/{stream}`: the events of one aggregate as they are stored, and its state at any version or time.

mod state;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use event_schemas::StreamId;
use gateway::{Cursor, CursorText, FieldError, Json, Limit, MinPosition, Path, Position, Problem, Query, Route, Routes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Queries, answer::not_found, error::Error, freshness::answered, log::StoredEvent};

const CURSOR: &str = "stream";

pub fn routes() -> Routes<Queries> {
    Routes::new()
        .add(
            Route::get("/v1/streams/{stream}", list)
                .summary("The events of a stream")
                .description("Read from the log itself, so it is never behind. A page ends early where its events have 2 MiB of data.")
                .tag("History")
                .path_param::<StreamName>("stream", "a category, `-` and an id, as in `order-0192…`")
                .query::<Listing>()
                .answers::<Events>(200),
        )
        .add(
            Route::get("/v1/streams/{stream}/state", state::show)
                .summary("What the events of a stream amount to, at any version or time")
                .description("Without `version` and `at`: now. `at` in the answer is when the version that is shown came to be.")
                .tag("History")
                .path_param::<StreamName>("stream", "a category, `-` and an id, as in `order-0192…`")
                .query::<state::When>()
                .answers::<state::Shown>(200),
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Listing {
    /// The first version.
    #[schemars(range(min = 1))]
    from: Option<i64>,
    /// The last version.
    #[schemars(range(min = 1))]
    to: Option<i64>,
    #[serde(default)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<CursorText>,
}

/// Events of a stream, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StreamEvents")]
struct Events {
    /// The stream.
    stream: StreamName,
    /// Its newest version.
    version: i64,
    /// What is on the page.
    items: Vec<StoredEvent>,
    /// What `cursor` must be for the next page; null on the last.
    next_cursor: Option<String>,
}

/// The name of a stream.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct StreamName(#[schemars(regex(pattern = StreamId::PATTERN), length(max = StreamId::MAX_LEN))] String);

async fn list(
    State(queries): State<Queries>,
    min: MinPosition,
    Path(stream): Path<StreamId>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let Listing { from, to, limit, cursor } = listing;
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::invalid(vec![FieldError::new("?from", "out_of_range", "must not be greater than `to`")]));
    }
    let read_up_to: i64 = cursor.as_deref().map(|cursor| Cursor::decode(CURSOR, cursor)).transpose()?.unwrap_or(0);
    let head = queries.head_from(min).await?;
    let version = answered(|| queries.store.stream_version(&stream)).await.map_err(Error::from)?;
    if version == 0 {
        return Err(unknown(head, &stream));
    }
    // The log only grows: up to the version that was just read it is the same for both statements.
    let (first, last) = (from.unwrap_or(1).max(read_up_to.saturating_add(1)), to.unwrap_or(i64::MAX).min(version));
    let events = answered(|| queries.store.read_stream(&stream, first, last, limit.into())).await.map_err(Error::from)?;
    let next_cursor = events.last().filter(|newest| newest.version < last).map(|newest| Cursor::encode(CURSOR, &newest.version));
    let items = events.into_iter().map(StoredEvent::try_from).collect::<Result<_, _>>().map_err(Error::from)?;
    let page = Events { stream: StreamName(stream.to_string()), version, items, next_cursor };
    Ok((Position(head), Json(page)).into_response())
}

/// 404 for a stream without events.
fn unknown(head: i64, stream: &StreamId) -> Problem {
    not_found(head, format!("There is no stream {stream}: nothing has ever happened in it."))
}
