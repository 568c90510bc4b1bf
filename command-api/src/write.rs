//! What every write has in common: who asks, under which conditions, and how it is answered.

use axum::{
    body::Body,
    extract::{FromRequestParts, MatchedPath},
    response::{IntoResponse, Response},
};
use domain::Aggregate;
use event_schemas::StreamId;
use event_store::{EventStore, KeyedAnswer, Unit};
use gateway::{ETag, IfMatch, Problem, position};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;

use crate::{
    handler::{Context, Handler},
    refusals::{Told, problem, unstored},
    shop::now,
};

/// Names a request that bore an idempotency key: set by [`crate::idempotency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// SHA-256 of the credential and the key.
    pub scope: [u8; 32],
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
}

/// A write that has begun.
#[derive(Debug, Clone)]
pub struct Write {
    /// Its first command.
    pub context: Context,
    keyed: Option<Keyed>,
}

impl<S: Send + Sync> FromRequestParts<S> for Write {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let if_match = IfMatch::from_request_parts(parts, state).await?;
        let names_resource = parts.extensions.get::<MatchedPath>().is_none_or(|path| path.as_str().contains('{'));
        if !names_resource {
            if_match.check_unversioned()?;
        }
        let context = Context { if_match, ..Context::new(now(), "client") };
        Ok(Self { context, keyed: parts.extensions.get::<Keyed>().copied() })
    }
}

impl Write {
    /// The same, where its condition was about something else than what it changes, and holds.
    #[must_use]
    pub fn unconditional(self) -> Self {
        Self { context: Context { if_match: IfMatch(None), ..self.context }, ..self }
    }

    /// Runs one command that is all there is to the write, and answers with what `render` makes of the state after it.
    ///
    /// # Errors
    /// The refusal, as it is told to the client.
    pub async fn run<A: Aggregate>(
        &self,
        handler: &Handler<A>,
        stream: &StreamId,
        command: &A::Command,
        render: impl Fn(&A::State, i64) -> Option<Draft>,
    ) -> Result<Answer, Problem>
    where
        A::Refusal: Told,
    {
        let look = |state: &A::State, version| {
            let draft = render(state, version);
            let answer = draft.as_ref().and_then(|draft| self.keep(draft));
            (draft, answer)
        };
        let accepted = handler.run_keyed(stream, command, &self.context, look).await.map_err(problem)?;
        accepted.seen.map(|draft| draft.at(accepted.position)).ok_or_else(Problem::internal)
    }

    /// The answer to keep for the idempotency key, if there was one.
    #[must_use]
    pub fn keep(&self, draft: &Draft) -> Option<KeyedAnswer> {
        self.keyed.map(|Keyed { scope, fingerprint }| KeyedAnswer {
            scope,
            fingerprint,
            status: draft.status,
            location: draft.location.clone(),
            version: draft.version,
            body: draft.body.clone(),
            created_at: self.context.now,
            position_without_events: 0,
        })
    }

    /// Answers with what was committed at `position` before, and keeps the answer. After a crash in between, the same request is a new one.
    ///
    /// # Errors
    /// The log can't be reached, or another request with the key was accepted meanwhile.
    pub async fn answer(&self, store: &EventStore, draft: Draft, position: i64) -> Result<Answer, Problem> {
        if let Some(answer) = self.keep(&draft) {
            let kept = KeyedAnswer { position_without_events: position, ..answer };
            store.append(Unit { parts: Vec::new(), answer: Some(kept) }).await.map_err(|error| unstored(&error))?;
        }
        Ok(draft.at(position))
    }
}

/// What a write will answer with once it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    status: i16,
    /// Where the resource is, if it was created.
    location: Option<String>,
    version: i64,
    body: String,
}

impl Draft {
    /// 200: the resource was changed, or there was nothing to change. `None` where it can't be written as JSON.
    pub fn changed(version: i64, resource: &impl Serialize) -> Option<Self> {
        serde_json::to_string(resource).ok().map(|body| Self { status: 200, location: None, version, body })
    }

    /// 201: the resource was created, or something that it shows.
    pub fn created(location: String, version: i64, resource: &impl Serialize) -> Option<Self> {
        Self::changed(version, resource).map(|draft| Self { status: 201, location: Some(location), ..draft })
    }

    /// 202: it was asked for, and is done by others.
    pub fn accepted(version: i64, resource: &impl Serialize) -> Option<Self> {
        Self::changed(version, resource).map(|draft| Self { status: 202, ..draft })
    }

    /// The answer, committed at `position`.
    #[must_use]
    pub fn at(self, position: i64) -> Answer {
        Answer { draft: self, position, is_replayed: false }
    }

    /// The draft of an answer that was kept.
    #[must_use]
    pub fn kept(status: i16, location: Option<String>, version: i64, body: String) -> Self {
        Self { status, location, version, body }
    }
}

/// The answer to an accepted write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    draft: Draft,
    position: i64,
    is_replayed: bool,
}

impl Answer {
    /// The same, given again.
    #[must_use]
    pub fn replayed(self) -> Self {
        Self { is_replayed: true, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { draft, position, is_replayed } = self;
        let mut response = Response::new(Body::from(draft.body));
        let location = draft.location.and_then(|location| HeaderValue::from_str(&location).ok());
        *response.status_mut() = u16::try_from(draft.status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ETAG, ETag::of(draft.version).header());
        headers.insert(position::POSITION, position.into());
        headers.extend(location.map(|location| (header::LOCATION, location)));
        if is_replayed {
            headers.insert(gateway::idempotency::REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
