//! How new an answer must be: `Merx-Min-Position`.
//!
//! An answer tells the position it was read at, so nothing is asked beforehand: only where it turns out too old, the request waits for
//! the checkpoints. All who wait share one task that reads them, and it runs only while somebody waits.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gateway::{MinPosition, Problem};
use http::StatusCode;
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Queries,
    answer::{At, One, Read, ReadOne, Resource},
    error::Error,
};

/// How long a request waits at most.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The most connections that a request finds broken before it gives up.
const MOST_BROKEN: u32 = 16;
/// How long it takes at most until a broken connection is found to be one: what takes longer is an outage.
const BROKEN_LIMIT: Duration = Duration::from_millis(500);
/// Seconds after which a client may ask again for what is parked: an operator takes longer than a projection.
const PARKED_RETRY_S: u64 = 30;
/// How often the checkpoints are read while somebody waits.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

type Positions = Arc<HashMap<String, i64>>;

/// How far projections have come, as far as somebody waits for it.
pub struct Checkpoints {
    pool: PgPool,
    positions: watch::Sender<Positions>,
    is_polling: AtomicBool,
}

impl Checkpoints {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, positions: watch::Sender::default(), is_polling: AtomicBool::new(false) }
    }

    /// Whether all of `names` have come to `min` before `deadline`.
    async fn reach(self: &Arc<Self>, names: &[&str], min: i64, deadline: Instant) -> bool {
        // What was read before this call may be older than what the caller has seen, so it never counts.
        let mut positions = self.positions.subscribe();
        self.poll_while_somebody_waits();
        let reached = async {
            while positions.changed().await.is_ok() {
                let known = positions.borrow_and_update();
                if names.iter().all(|name| known.get(*name).is_some_and(|position| *position >= min)) {
                    return true;
                }
            }
            false
        };
        timeout_at(deadline, reached).await.unwrap_or(false)
    }

    fn poll_while_somebody_waits(self: &Arc<Self>) {
        if self.is_polling.swap(true, Ordering::SeqCst) {
            return;
        }
        let checkpoints = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                while checkpoints.positions.receiver_count() > 0 {
                    checkpoints.poll().await;
                    sleep(POLL_INTERVAL).await;
                }
                checkpoints.is_polling.store(false, Ordering::SeqCst);
                // Somebody may have come who still saw this task at work.
                if checkpoints.positions.receiver_count() == 0 || checkpoints.is_polling.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    async fn poll(&self) {
        match sqlx::query!("select name, position from checkpoints").fetch_all(&self.pool).await {
            Ok(rows) => {
                self.positions.send_replace(Arc::new(rows.into_iter().map(|row| (row.name, row.position)).collect()));
            }
            Err(error) => tracing::warn!(%error, "the checkpoints can't be read"),
        }
    }
}

impl Queries {
    /// What `read` reads from the projections `of`, at least as new as `min`.
    pub(crate) async fn fresh<T, F: Future<Output = Read<T>>>(
        &self,
        min: MinPosition,
        of: &[&str],
        read: impl Fn() -> F,
    ) -> Result<At<T>, Problem> {
        self.waited(min, of, read, |_, _| false).await
    }

    /// The resource that `read` reads from the projections `of`, at least as new as `min`; 503 where an event up to there is missing in it for good,
    /// as its stream is parked. Where no `min` is asked for, the answer is as old as that event makes it, and says so.
    pub(crate) async fn fresh_one<F: Future<Output = ReadOne>>(
        &self,
        min: MinPosition,
        of: &[&str],
        read: impl Fn() -> F,
    ) -> Result<At<Option<One>>, Problem> {
        let read = || async { read().await.map(|found| At { position: found.position, found }) };
        let is_parked = |answer: &At<Resource>, min: i64| answer.found.parked_at.is_some_and(|parked_at| parked_at <= min);
        let answer = self.waited(min, of, read, is_parked).await?;
        match (answer.found.parked_at, min.0) {
            (Some(parked_at), Some(min)) if parked_at <= min => Err(parked(parked_at)),
            (parked_at, _) => {
                let position = parked_at.map_or(answer.position, |parked_at| answer.position.min(parked_at - 1));
                Ok(At { position, found: answer.found.found })
            }
        }
    }

    /// The answer of `read`, at least as new as `min`, or such that waiting is `in_vain`.
    async fn waited<T, F: Future<Output = Read<T>>>(
        &self,
        min: MinPosition,
        of: &[&str],
        read: impl Fn() -> F,
        in_vain: impl Fn(&At<T>, i64) -> bool,
    ) -> Result<At<T>, Problem> {
        let mut answer = answered(&read).await?;
        let Some(min) = min.0.filter(|min| *min > answer.position) else { return Ok(answer) };
        self.head_from(MinPosition(Some(min))).await?;
        let deadline = Instant::now() + PATIENCE;
        while answer.position < min && !in_vain(&answer, min) {
            if !self.checkpoints.reach(of, min, deadline).await {
                return Err(not_yet_visible(answer.position));
            }
            answer = answered(&read).await?;
        }
        Ok(answer)
    }

    /// The head of the log as far as it is known, which is at least `min`; 422 where the log has not come so far.
    pub(crate) async fn head_from(&self, min: MinPosition) -> Result<i64, Problem> {
        let known = self.store.known_head();
        let Some(min) = min.0.filter(|min| *min > known) else { return Ok(known) };
        let head = answered(|| self.store.head()).await.map_err(Error::from)?;
        if min > head { Err(MinPosition::beyond_head(head)) } else { Ok(head) }
    }
}

/// Errors among which are those of a connection that an outage has broken.
pub trait Outage {
    /// Returns true where the database could not be reached over this connection.
    fn is_outage(&self) -> bool;
}

impl Outage for event_store::Error {
    fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Outage for Error {
    fn is_outage(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_outage())
    }
}

/// What `read` answers. An outage breaks every connection that was open, and each is found broken only when it is used: whoever gets one
/// asks again, so that clients see no more of an outage than the outage.
pub async fn answered<T, E: Outage, F: Future<Output = Result<T, E>>>(read: impl Fn() -> F) -> Result<T, E> {
    let asked_at = Instant::now();
    for _ in 0..MOST_BROKEN {
        match read().await {
            Err(error) if error.is_outage() && asked_at.elapsed() < BROKEN_LIMIT => {}
            answer => return answer,
        }
    }
    read().await
}

pub fn not_yet_visible(position: i64) -> Problem {
    let detail = "What this answer is made from has not come to this position yet. Try again in a moment.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_yet_visible", detail).retry_after(1).with("position", position)
}

/// The meaning of the refusal of a resource that lacks a parked event.
pub const PARKED: &str =
    "An event up to `Merx-Min-Position` could not be applied to what is asked for: its stream is parked until an operator mends it.";

fn parked(position: i64) -> Problem {
    let detail = format!(
        "The event at position {position} could not be applied to this: its stream is parked until an operator retries or skips it. Without \
         Merx-Min-Position the answer is what was known before."
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "parked", detail).retry_after(PARKED_RETRY_S).with("position", position)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn unavailable() -> Error {
        event_store::Error::Unavailable("the connection is closed".into()).into()
    }

    #[tokio::test]
    async fn connections_that_an_outage_has_broken_are_passed_over() {
        let tries = AtomicU32::new(0);
        let read = || async {
            if tries.fetch_add(1, Ordering::SeqCst) < MOST_BROKEN { Err(unavailable()) } else { Ok(At { position: 7, found: () }) }
        };
        assert_eq!(answered(read).await.unwrap().position, 7);
    }

    #[tokio::test]
    async fn an_outage_is_told_after_so_many_tries() {
        let tries = AtomicU32::new(0);
        let read = || async {
            tries.fetch_add(1, Ordering::SeqCst);
            Err::<At<()>, _>(unavailable())
        };
        assert!(matches!(answered(read).await, Err(Error::Store(event_store::Error::Unavailable(_)))));
        assert_eq!(tries.into_inner(), MOST_BROKEN + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_an_outage_and_not_tried_again() {
        let tries = AtomicU32::new(0);
        let read = || async {
            tries.fetch_add(1, Ordering::SeqCst);
            sleep(BROKEN_LIMIT).await;
            Err::<At<()>, _>(unavailable())
        };
        assert!(answered(read).await.is_err());
        assert_eq!(tries.into_inner(), 1);
    }
}
