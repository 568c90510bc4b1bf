//! Requests of operators to the consumers of the log, over HTTP.

use std::sync::Arc;

use ::search::Index;
use axum::extract::State;
use command_api::{
    Shop,
    handler::{Accepted, Context},
    refusals,
    write::{Answer, Draft, Write},
};
use domain::projection::Command;
use event_schemas::{ids::ProjectionName, text};
use event_store::parked::Mending;
use gateway::{IfMatch, Json, Path, Problem, Route, Routes, conditional::precondition_failed, idempotency::Credential};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::tending::{self, Error, Mender, Outcome};

/// State of the handlers. Cheap to clone.
#[derive(Clone)]
pub struct Tending {
    pub shop: Shop,
    /// The index that servers share, where there is one.
    pub index: Option<Arc<dyn Index>>,
    /// The key that bears every permission.
    pub admin_key: Option<Arc<str>>,
}

/// Nothing more is to be said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RebuildRequest")]
struct NewRebuild {}

/// Which parked streams are tried again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RetryRequest")]
struct NewRetry {
    /// The stream; all that are parked, where it is left out.
    #[serde(default)]
    #[schemars(with = "Option<String>", length(min = 3, max = 80))]
    stream: Option<String>,
}

/// The stream whose event is left out for ever, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SkipRequest")]
struct NewSkip {
    #[schemars(length(min = 3, max = 80))]
    stream: String,
    #[schemars(length(min = 1, max = 500), regex(pattern = text::TEXT))]
    reason: String,
}

/// Request that was recorded, and the streams that went on or stay parked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionRequest")]
struct Asked {
    /// The consumer.
    id: String,
    /// The version of its stream `projection-…`, which says who asked for what.
    version: i64,
    /// Streams that go on.
    taken: Vec<String>,
    /// Streams that stay parked, and why.
    parked: Vec<Kept>,
}

impl Asked {
    /// Of the consumer `name`, with no streams yet.
    fn of(recorded: &Accepted<()>, name: String) -> Self {
        Self { id: name, version: recorded.version, taken: Vec::new(), parked: Vec::new() }
    }
}

/// A stream that stays parked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StillParked")]
struct Kept {
    stream: String,
    reason: String,
}

pub fn routes(tending: Tending) -> Routes {
    let route = |route: Route<Tending>| {
        route.tag("Operations").path_param::<ProjectionName>("name", "The projection, or another consumer of the log.")
    };
    Routes::new()
        .add(
            route(Route::post("/v1/projections/{name}/rebuild", rebuild))
                .summary("Build a read model anew, beside the one in use")
                .description("Servers with the role projector build it, and swap it in once it has caught up.")
                .body::<NewRebuild>()
                .example(json!({}))
                .answers::<Asked>(202)
                .problem(409, "rebuild_under_way", "The read model is being built anew already.")
                .problem(409, "other_version", "The read model is of a newer version than this server's."),
        )
        .add(
            route(Route::post("/v1/projections/{name}/retry", retry))
                .summary("Try again what streams are parked for")
                .body::<NewRetry>()
                .example(json!({"stream": "stock-85123A"}))
                .answers::<Asked>(202)
                .problem(409, "not_parked", "The stream is not parked there.")
                .problem(409, "still_parked", "The event can't be taken yet; the problem says why."),
        )
        .add(
            route(Route::post("/v1/projections/{name}/skip", skip))
                .summary("Leave out for ever the event that a stream is parked for")
                .body::<NewSkip>()
                .example(json!({"stream": "stock-85123A", "reason": "recorded by hand, and wrongly"}))
                .answers::<Asked>(202)
                .problem(409, "not_parked", "The stream is not parked there."),
        )
        .with_state(tending)
}

impl Tending {
    /// Actor who asks, as events say: `key:admin` with the key that bears every permission, else `client`.
    fn actor(&self, credential: &Credential) -> &'static str {
        let bearer = credential.0.as_deref().and_then(|text| text.strip_prefix("Bearer "));
        // Digests, so that the time it takes tells nothing of the key.
        let is_admin = bearer.zip(self.admin_key.as_deref()).is_some_and(|(sent, key)| Sha256::digest(sent) == Sha256::digest(key));
        if is_admin { "key:admin" } else { "client" }
    }

    fn mender(&self, credential: &Credential, write: &Write) -> Mender<'_> {
        let (index, if_match) = (self.index.as_deref(), write.context.if_match.clone());
        Mender { shop: &self.shop, index, actor: self.actor(credential), if_match }
    }

    /// The answer to a request that was done, kept where it bore an idempotency key.
    async fn answer(&self, write: &Write, recorded: &Accepted<()>, asked: Asked) -> Result<Answer, Problem> {
        let draft = Draft::accepted(recorded.version, &asked).ok_or_else(Problem::internal)?;
        write.answer(&self.shop.store, draft, recorded.position).await
    }
}

async fn rebuild(
    State(tending): State<Tending>,
    Path(name): Path<String>,
    credential: Credential,
    write: Write,
    Json(NewRebuild {}): Json<NewRebuild>,
) -> Result<Answer, Problem> {
    let projection = tending::projection(&name).map_err(told)?;
    projections::rebuild::require_possible(&tending.shop.store, &*projection).await.map_err(|error| told(error.into()))?;
    let Context { now, if_match, .. } = write.context.clone();
    let context = Context { if_match, ..Context::new(now, tending.actor(&credential)) };
    let recorded = tending::record(&tending.shop, &name, &Command::Rebuild, &context).await.map_err(told)?;
    projections::rebuild::begin(&tending.shop.store, &*projection).await.map_err(|error| told(error.into()))?;
    tending.answer(&write, &recorded, Asked::of(&recorded, name)).await
}

async fn retry(
    State(tending): State<Tending>,
    Path(name): Path<String>,
    credential: Credential,
    write: Write,
    Json(wanted): Json<NewRetry>,
) -> Result<Answer, Problem> {
    let mut mender = tending.mender(&credential, &write);
    let streams = match wanted.stream {
        Some(stream) => {
            let Outcome { recorded, mended } = mender.mend(&name, &stream, Mending::Retry, None).await.map_err(told)?;
            let parked = mended.parked_again.map(|bad| Kept { stream: stream.clone(), reason: bad.reason });
            let asked = Asked { taken: vec![stream], parked: parked.into_iter().collect(), ..Asked::of(&recorded, name) };
            return tending.answer(&write, &recorded, asked).await;
        }
        None => mender.parked(&name).await.map_err(told)?,
    };
    let (mut last, mut taken, mut parked) = (None, Vec::new(), Vec::new());
    for stream in streams {
        match mender.mend(&name, &stream, Mending::Retry, None).await {
            Ok(Outcome { recorded, mended }) => {
                last = Some(recorded);
                // It was about the version before.
                mender.if_match = IfMatch(None);
                match mended.parked_again {
                    Some(bad) => parked.push(Kept { stream, reason: bad.reason }),
                    None => taken.push(stream),
                }
            }
            // Somebody else was faster.
            Err(Error::Log(event_store::Error::NotParked { .. })) => {}
            Err(Error::Log(event_store::Error::StillBad { reason, .. })) => parked.push(Kept { stream, reason }),
            Err(error) => return Err(told(error)),
        }
    }
    match last {
        Some(recorded) => tending.answer(&write, &recorded, Asked { taken, parked, ..Asked::of(&recorded, name) }).await,
        None => match parked.into_iter().next() {
            Some(Kept { reason, .. }) => Err(refusals::conflict("still_parked", reason)),
            None => Err(refusals::conflict("not_parked", format!("nothing is parked in {name}"))),
        },
    }
}

async fn skip(
    State(tending): State<Tending>,
    Path(name): Path<String>,
    credential: Credential,
    write: Write,
    Json(wanted): Json<NewSkip>,
) -> Result<Answer, Problem> {
    let mender = tending.mender(&credential, &write);
    let skipped = mender.mend(&name, &wanted.stream, Mending::Skip, Some(wanted.reason)).await;
    let Outcome { recorded, mended } = skipped.map_err(told)?;
    let parked = mended.parked_again.map(|bad| Kept { stream: wanted.stream.clone(), reason: bad.reason });
    let asked = Asked { taken: vec![wanted.stream], parked: parked.into_iter().collect(), ..Asked::of(&recorded, name) };
    tending.answer(&write, &recorded, asked).await
}

fn told(error: Error) -> Problem {
    match error {
        Error::Unknown(reason) => Problem::not_found(reason),
        Error::Moved(version) => precondition_failed(version),
        Error::Log(event_store::Error::NotParked { consumer, stream }) => {
            refusals::conflict("not_parked", format!("the stream {stream} is not parked in {consumer}"))
        }
        Error::Log(event_store::Error::StillBad { stream, reason }) => {
            refusals::conflict("still_parked", format!("{stream} stays parked: {reason}"))
        }
        Error::Log(error) => refusals::unstored(&error),
        Error::Projection(error @ projections::Error::RebuildUnderWay { .. }) => refusals::conflict("rebuild_under_way", error.to_string()),
        Error::Projection(error @ projections::Error::OtherVersion { .. }) => refusals::conflict("other_version", error.to_string()),
        Error::Projection(error) => {
            tracing::error!(%error, "a read model can't be worked on");
            Problem::internal()
        }
        Error::Search(error) => Problem::unavailable(format!("The search index can't be mended now: {error}.")),
        Error::Index(error) => Problem::unavailable(format!("The search index can't be had: {error}.")),
    }
}
