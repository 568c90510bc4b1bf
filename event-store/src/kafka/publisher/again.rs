//! Sending again, for topics that were lost: beside what is new, by the producer that sends that. So what is sent again ends, in each partition, right
//! before what is sent for the first time after it, and whoever begins with it lacks nothing.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout},
};

use super::{NAME, health::Trouble, places::Layout};
use crate::{Checkpoint, Error, StoredEvent, read};

/// The most events and bytes of data that are read at a time.
const PAGE_EVENTS: i64 = 500;
const PAGE_BYTES: i64 = 1 << 20;
/// No more are read while so many are under way, so that what is new never waits behind them for long.
const UNDER_WAY_EVENTS: usize = 1_000;
/// Interval between looks at whether anything is asked for, and whether it still is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The most positions that are looked back for the event that stands before one in its partition.
const LOOK_BACK_EVENTS: i64 = 10_000;
/// Bits of the opaque value of a message that tell of which request it is.
const REQUEST_BITS: u32 = 15;

/// Why nothing is sent again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Positions begin at 1.
    #[error("there is no position {0}: the first event of the log is at 1")]
    NoPosition(i64),
    /// It will be sent anyway, or is not there.
    #[error("position {from} has not been published yet: the log is published up to {published}")]
    NotPublished {
        /// What was asked for.
        from: i64,
        /// How far the log has been published.
        published: i64,
    },
    /// The database can't be reached.
    #[error(transparent)]
    Log(#[from] Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

/// Has the publisher send again whatever stands at `from` and after it, beside what is new. How many events these are by now. Where the same is
/// under way already it goes on; anything else that is under way is given up.
///
/// # Errors
/// [`Refusal`].
pub async fn send_again(pool: &PgPool, from: i64) -> Result<i64, Refusal> {
    let published = require_published(pool, from).await?;
    sqlx::query!(
        r#"
        insert into kafka_sent_again as k (request, from_position, position) values (1, $1::bigint, $1::bigint - 1)
        on conflict (only_row) do update
            set request = k.request + 1, from_position = excluded.from_position, ended_at = null, asked_at = now(),
                position = case when k.ended_at is null and k.from_position = excluded.from_position then k.position else excluded.position end
        "#,
        from,
    )
    .execute(pool)
    .await?;
    Ok(published - from + 1)
}

/// Refuses what has not been published; how far the log has been.
///
/// # Errors
/// [`Refusal`].
pub async fn require_published(pool: &PgPool, from: i64) -> Result<i64, Refusal> {
    if from < 1 {
        return Err(Refusal::NoPosition(from));
    }
    let checkpoint = Checkpoint::read(&mut *pool.acquire().await?, NAME).await?;
    let published = checkpoint.map_or(0, |checkpoint| checkpoint.position);
    if from > published { Err(Refusal::NotPublished { from, published }) } else { Ok(published) }
}

/// Progress of the latest request to send events again, under way or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Grows with each request.
    pub request: i64,
    /// The first event that is sent again.
    pub from: i64,
    /// Everything up to here has been acknowledged once more.
    pub position: i64,
    /// True where the request has ended: nothing more is sent again.
    pub has_ended: bool,
}

/// Reads the progress of the latest request; none where nobody has ever asked.
///
/// # Errors
/// The database can't be reached.
pub async fn progress(pool: &PgPool) -> Result<Option<Progress>, Error> {
    let row = sqlx::query!(r#"select request, from_position, position, ended_at is not null as "has_ended!" from kafka_sent_again"#);
    let row = row.fetch_optional(pool).await?;
    Ok(row.map(|row| Progress { request: row.request, from: row.from_position, position: row.position, has_ended: row.has_ended }))
}

/// Ends `request` where it is; how far it has come.
///
/// # Errors
/// The database can't be reached.
pub async fn stop(pool: &PgPool, request: i64) -> Result<Option<i64>, Error> {
    let position = sqlx::query_scalar!("update kafka_sent_again set ended_at = now() where request = $1 returning position", request);
    Ok(position.fetch_optional(pool).await?)
}

/// Events to be sent again, which follow on each other.
pub(super) struct Page {
    pub request: i64,
    /// The position before the first of them.
    pub after: i64,
    /// Of each place the last event up to there, where this is the first page of a leader; too high where that is far back.
    pub before: Option<Vec<i64>>,
    pub events: Vec<StoredEvent>,
}

/// The part of a request that is under way. Shared by the task that reads it, the thread that sends it, and the one that hears of
/// acknowledgements.
#[derive(Default)]
pub(super) struct Again {
    inner: Mutex<Inner>,
    /// The last event that was sent for the first time.
    new: AtomicI64,
    news: Notify,
}

#[derive(Default)]
struct Inner {
    /// None where nothing is sent again.
    request: Option<i64>,
    /// Everything up to here has been acknowledged.
    acknowledged: i64,
    /// One entry for each event sent after that, in order and without gaps: true where it has been acknowledged.
    sent: VecDeque<bool>,
    /// The last position that is sent again, once it has been sent: what comes after it was sent for the first time, and later.
    end: Option<i64>,
}

impl Again {
    fn begin(&self, request: i64, position: i64) {
        *self.inner.lock() = Inner { request: Some(request), acknowledged: position, ..Inner::default() };
    }

    fn give_up(&self) {
        *self.inner.lock() = Inner::default();
    }

    /// The request under way, and the position up to which it has been sent; none where nothing is sent again, or all of it has been sent.
    pub fn sent_up_to(&self) -> Option<(i64, i64)> {
        let inner = self.inner.lock();
        let up_to = inner.acknowledged + inner.sent.len() as i64;
        inner.request.filter(|_| inner.end.is_none()).map(|request| (request, up_to))
    }

    /// Everything up to `position` has been sent for the first time.
    pub fn sent_new(&self, position: i64) {
        self.new.store(position, Ordering::Release);
    }

    /// The next event is about to be sent again.
    pub fn sending(&self) {
        self.inner.lock().sent.push_back(false);
    }

    /// Everything has been sent again that was sent for the first time.
    pub fn set_end(&self) {
        let mut inner = self.inner.lock();
        inner.end = Some(inner.acknowledged + inner.sent.len() as i64);
        drop(inner);
        self.news.notify_one();
    }

    /// The opaque value of a message with the event at `position`, by which its acknowledgement is known. Never that of a new event.
    pub fn opaque(request: i64, position: i64) -> usize {
        let opaque = position << (REQUEST_BITS + 1) | (request & ((1 << REQUEST_BITS) - 1)) << 1 | 1;
        usize::try_from(opaque).unwrap_or(usize::MAX)
    }

    /// The message with this `opaque` value has been acknowledged.
    pub fn acknowledge(&self, opaque: usize) {
        let mut inner = self.inner.lock();
        let position = i64::try_from(opaque >> (REQUEST_BITS + 1)).unwrap_or(0);
        // One that an older request sent tells nothing of this one.
        if inner.request.is_none_or(|request| Self::opaque(request, position) != opaque) {
            return;
        }
        let Ok(index) = usize::try_from(position - inner.acknowledged - 1) else { return };
        let Some(sent) = inner.sent.get_mut(index) else { return };
        *sent = true;
        while inner.sent.front() == Some(&true) {
            inner.sent.pop_front();
            inner.acknowledged += 1;
        }
        drop(inner);
        self.news.notify_one();
    }

    fn state(&self) -> (i64, usize, Option<i64>) {
        let inner = self.inner.lock();
        (inner.acknowledged, inner.sent.len(), inner.end)
    }
}

/// Reads what operators ask for and puts it into `pages`, for as long as this process leads.
///
/// # Errors
/// The database can't be reached.
pub(super) async fn carry_out(pool: &PgPool, layout: &Layout, again: &Again, pages: &mpsc::Sender<Page>) -> Result<(), Trouble> {
    loop {
        match progress(pool).await? {
            Some(asked) if !asked.has_ended => {
                tracing::info!(from = asked.from, position = asked.position, "what has been published is sent again");
                one(pool, layout, again, pages, asked).await?;
                again.give_up();
            }
            _ => sleep(LOOK_INTERVAL).await,
        }
    }
}

/// Carries out one request, until it has come to its end or is not wanted any more.
async fn one(pool: &PgPool, layout: &Layout, again: &Again, pages: &mpsc::Sender<Page>, asked: Progress) -> Result<(), Trouble> {
    again.begin(asked.request, asked.position);
    let (mut after, mut noted_at) = (asked.position, Instant::now());
    let mut before = Some(last_before(pool, layout, after).await?);
    loop {
        let (acknowledged, under_way, end) = again.state();
        let is_done = end == Some(acknowledged);
        if is_done || noted_at.elapsed() > LOOK_INTERVAL {
            noted_at = Instant::now();
            if !note(pool, asked.request, acknowledged, is_done).await? || is_done {
                return Ok(());
            }
        }
        if end.is_none() && under_way < UNDER_WAY_EVENTS {
            let up_to = again.new.load(Ordering::Acquire).min(after + PAGE_EVENTS);
            let events = if up_to > after { read::page(pool, after, up_to, PAGE_BYTES).await? } else { Vec::new() };
            let last = events.last().map_or(after, |event| event.position);
            if pages.send(Page { request: asked.request, after, before: before.take(), events }).await.is_err() {
                return Ok(());
            }
            after = last;
        }
        let _ = timeout(LOOK_INTERVAL / 10, again.news.notified()).await;
    }
}

/// Of each place the last event up to `position`. Where it does not stand among the newest of these, `position` itself.
async fn last_before(pool: &PgPool, layout: &Layout, position: i64) -> Result<Vec<i64>, Error> {
    let mut last = vec![None; layout.places()];
    let mut up_to = position;
    while up_to > 0 && up_to > position - LOOK_BACK_EVENTS && last.contains(&None) {
        let from = (up_to - PAGE_EVENTS).max(0);
        let mut page = Vec::new();
        while page.last().map_or(from, |event: &StoredEvent| event.position) < up_to {
            let read = read::page(pool, page.last().map_or(from, |event| event.position), up_to, PAGE_BYTES).await?;
            if read.is_empty() {
                break;
            }
            page.extend(read);
        }
        for event in page.iter().rev() {
            if let Some(place) = layout.place_of(&event.stream_id) {
                last[place].get_or_insert(event.position);
            }
        }
        up_to = from;
    }
    Ok(last.into_iter().map(|last| last.unwrap_or(if up_to == 0 { 0 } else { position })).collect())
}

/// Keeps how far it has come; whether it is still wanted.
async fn note(pool: &PgPool, request: i64, position: i64, is_done: bool) -> Result<bool, Error> {
    let noted = sqlx::query!(
        r#"
        update kafka_sent_again set position = greatest(position, $2), ended_at = case when $3 then now() end
        where request = $1 and ended_at is null
        "#,
        request,
        position,
        is_done,
    );
    Ok(noted.execute(pool).await?.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_of_another_request_tells_nothing() {
        let again = Again::default();
        again.begin(3, 10);
        again.sending();
        again.sending();
        again.acknowledge(Again::opaque(2, 11));
        again.acknowledge(Again::opaque(3, 12));
        assert_eq!(again.state(), (10, 2, None));
        again.acknowledge(Again::opaque(3, 11));
        assert_eq!((again.state(), again.sent_up_to()), ((12, 0, None), Some((3, 12))));
        again.set_end();
        assert_eq!((again.state(), again.sent_up_to()), ((12, 0, Some(12)), None));
        again.acknowledge(Again::opaque(3, i64::MAX >> 20));
        assert_eq!(again.state(), (12, 0, Some(12)));
    }
}
