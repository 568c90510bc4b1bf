//! `Idempotency-Key`: the same request again gives the first answer, whichever server it reaches and whenever within seven days.
//!
//! The answer is committed in the transaction of what it led to, so there is no moment at which one exists without the other. Requests
//! of one key wait for each other here; those that reach different servers at once are told apart by the key's row in the database.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use gateway::{Credential, IdempotencyKey, Problem, problem::Kind};
use http::{StatusCode, request::Parts};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    refusals::unstored,
    shop::{Shop, now},
    write::{Answer, Draft, Keyed},
};

/// How long an answer is kept.
const KEPT: chrono::Duration = chrono::Duration::days(7);
/// How often what is older is removed.
const REMOVAL_INTERVAL: Duration = Duration::from_hours(1);
/// The most rows of one removal.
const REMOVAL_ROWS: i64 = 10_000;

/// What a key may be refused for, on any write.
pub const PROBLEMS: [Kind; 2] = [
    Kind {
        code: "idempotency_key_in_use",
        status: 409,
        meaning: "Another request with this `Idempotency-Key` was accepted meanwhile. Send it again for its answer.",
    },
    Kind {
        code: "idempotency_key_reused",
        status: 422,
        meaning: "This `Idempotency-Key` was used for another request: another method, path or body. Use a new key for a new request.",
    },
];

type Turns = Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>;

/// The keys whose requests are under way in this process.
static UNDER_WAY: LazyLock<Turns> = LazyLock::new(Turns::default);

/// Middleware around every route that writes.
pub async fn layer(State(shop): State<Shop>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(gateway::idempotency::IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    answer(&shop, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(shop: &Shop, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let IdempotencyKey(Some(key)) = IdempotencyKey::from_request_parts(&mut parts, &()).await? else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let Ok(Credential(credential)) = Credential::from_request_parts(&mut parts, &()).await;
    let owner = match credential {
        Some(credential) => credential,
        None => guest(&parts, &key)?,
    };
    // As it is: it must not matter to what the handler says of it that there is a key.
    let body = gateway::body::read_unchecked(Request::from_parts(parts.clone(), body)).await?;
    let target = parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
    let compared = if body.is_empty() { gateway::body::unsent(&parts.method) } else { body.clone() };
    let keyed = Keyed {
        scope: digest(&[owner.as_bytes(), key.as_bytes()]),
        fingerprint: digest(&[parts.method.as_str().as_bytes(), target.as_bytes(), &compared]),
    };
    let turn = UNDER_WAY.lock().entry(keyed.scope).or_default().clone();
    let _leave = Leave { scope: keyed.scope };
    let _turn = turn.lock().await;
    if let Some(kept) = kept(shop.store.pool(), &keyed).await? {
        return Ok(kept);
    }
    parts.extensions.insert(keyed);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if response.status() < StatusCode::BAD_REQUEST {
        return Ok(response);
    }
    // Perhaps it was refused because the same request had been accepted by another server meanwhile.
    Ok(kept(shop.store.pool(), &keyed).await?.unwrap_or(response))
}

/// The scope of a key that came without a credential: the path. No credential is a path, so that their scopes can't meet. Refuses a key
/// that is too easily guessed.
fn guest(parts: &Parts, key: &str) -> Result<String, Problem> {
    gateway::idempotency::check_guests_key(key)?;
    Ok(parts.uri.path().to_owned())
}

/// Forgets a key's turn when nobody else waits for it.
struct Leave {
    scope: [u8; 32],
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut under_way = UNDER_WAY.lock();
        // One in the table, one held by the request that leaves.
        if under_way.get(&self.scope).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
            under_way.remove(&self.scope);
        }
    }
}

fn digest(texts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

/// The answer that is kept for the key, or the refusal of another request.
async fn kept(pool: &PgPool, keyed: &Keyed) -> Result<Option<Response>, Problem> {
    let unreadable = |error: sqlx::Error| unstored(&error.into());
    let row = sqlx::query!(
        "select fingerprint, status, location, version, position, body, created_at from idempotency_keys where scope = $1",
        &keyed.scope[..]
    )
    .fetch_optional(pool)
    .await
    .map_err(unreadable)?;
    let Some(row) = row else { return Ok(None) };
    if now().utc() - row.created_at > KEPT {
        sqlx::query!("delete from idempotency_keys where scope = $1 and created_at = $2", &keyed.scope[..], row.created_at)
            .execute(pool)
            .await
            .map_err(unreadable)?;
        return Ok(None);
    }
    if row.fingerprint != keyed.fingerprint {
        let detail = "This idempotency key was used for another request: another method, path or body. Use a new key for a new request.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail));
    }
    let answer: Answer = Draft::kept(row.status, row.location, row.version, row.body).at(row.position);
    Ok(Some(answer.replayed().into_response()))
}

/// Removes answers that need not be kept any longer, until `shutdown`.
pub async fn remove_old(pool: PgPool, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(REMOVAL_INTERVAL);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => {}
        }
        loop {
            let removed = sqlx::query!(
                "delete from idempotency_keys where scope in (select scope from idempotency_keys where created_at < $1 limit $2)",
                (now().utc() - KEPT),
                REMOVAL_ROWS
            )
            .execute(&pool)
            .await;
            match removed {
                Ok(removed) if removed.rows_affected() == REMOVAL_ROWS as u64 => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "old idempotency keys can't be removed");
                    break;
                }
            }
        }
    }
}
