//! The state that all feeds of a process share: the head of the log, its newest events, and the check that it is still the same log.

use std::sync::Arc;

use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use super::{CONNECTIONS, Hub, HubInner, Recent, Weighed, apart, signal};
use crate::{
    Error, Timeline,
    mark::{Mark, Past},
    timeline::{self, Parting, Timelines},
};

/// The least distance between marks that are kept in the database, in positions.
const MARK_INTERVAL: i64 = 1_024;

impl Hub {
    /// A hub of the log in the database of `store`, which it reads over connections of its own.
    pub async fn open(store: PgPool) -> Result<Self, Error> {
        let pool = apart(&store, CONNECTIONS);
        let mut connection = pool.acquire().await?;
        let opened_on = timeline::current(&mut connection).await?.id;
        let remembered = timeline::kept_marks(&mut connection, i64::MAX).await?;
        drop(connection);
        // What the database remembers of the log, where that alone was put back.
        let parting = match timeline::part(&pool, &remembered, opened_on).await {
            Ok(parting) => parting,
            // Who may only read can't say it for others, and keeps nothing.
            Err(error) => {
                tracing::warn!(%error, "the log has gone back, which can't be written down");
                None
            }
        };
        let timelines = Timelines::read(&mut *pool.acquire().await?).await?;
        let row = sqlx::query!(r#"select position, hash_at(position) as "hash!" from log_head"#).fetch_one(&pool).await?;
        let (head, mut past) = (Mark::new(row.position, &row.hash), Past::default());
        past.note(head);
        let inner = HubInner {
            pool,
            store,
            recent: Mutex::new(Recent::at(head.position)),
            head: watch::Sender::new(head.position),
            committed: watch::Sender::new(head.position),
            past: Mutex::new(past),
            opened_on,
            timelines: Mutex::new(timelines),
            breaks: watch::Sender::new(0),
            kept: Mutex::new(remembered.last().map_or(0, |mark| mark.position.min(head.position))),
            looking: tokio::sync::Mutex::default(),
        };
        if let Some(parting) = parting {
            tell(&parting, head.position);
        }
        let hub = Self { inner: Arc::new(inner) };
        signal::start(&hub);
        Ok(hub)
    }

    pub fn head(&self) -> i64 {
        *self.inner.head.borrow()
    }

    pub fn timeline(&self) -> Timeline {
        self.inner.timelines.lock().current()
    }

    /// Returns `Some(true)` where the event that stood at `position` on `timeline` is in the log; `None` where it knows no such timeline.
    pub fn have(&self, timeline: Option<Uuid>, position: i64) -> Option<bool> {
        self.inner.timelines.lock().have(timeline, position)
    }

    async fn read_timelines(&self) -> Result<(), Error> {
        let timelines = Timelines::read(&mut *self.inner.pool.acquire().await?).await?;
        *self.inner.timelines.lock() = timelines;
        Ok(())
    }

    pub fn breaks(&self) -> u64 {
        *self.inner.breaks.borrow()
    }

    /// Waits until the log reaches beyond `after`; how far it does then.
    ///
    /// # Errors
    /// [`Error::WentBack`] where it goes back meanwhile, or has since there were `breaks`.
    pub async fn reached(&self, after: i64, breaks: u64) -> Result<i64, Error> {
        let (mut head, mut broken) = (self.inner.head.subscribe(), self.inner.breaks.subscribe());
        // The senders live in this hub, so waiting can't fail.
        tokio::select! {
            biased;
            _ = broken.wait_for(|now| *now != breaks) => Err(Error::WentBack(self.timeline().since)),
            head = head.wait_for(|head| *head > after) => Ok(head.map_or(after, |head| *head)),
        }
    }

    /// This process committed `events` after `base`.
    pub fn committed(&self, base: i64, events: Vec<Weighed>) {
        let Some(last) = events.last() else { return };
        let end = Mark { position: base + events.len() as i64, hash: last.hash };
        self.inner.recent.lock().push(base, events);
        self.observe(end);
        self.inner.committed.send_replace(end.position);
    }

    /// The log has `mark`, and so reaches as far at least.
    pub fn observe(&self, mark: Mark) {
        self.inner.past.lock().note(mark);
        self.advance(mark.position);
    }

    fn advance(&self, head: i64) {
        self.inner.head.send_if_modified(|known| {
            let newer = head > *known;
            *known = head.max(*known);
            newer
        });
    }

    /// The database does not answer. It may be another one when it does again: what is in memory is not handed out any more until it was asked.
    pub fn lost(&self) {
        let head = self.head();
        *self.inner.recent.lock() = Recent::at(head);
    }

    /// Looks how far the log goes, and whether it has what this process remembers of it; begins anew where it has not.
    pub async fn poll(&self) -> Result<(), Error> {
        let _single = self.inner.looking.lock().await;
        let known = self.inner.past.lock().newest();
        let row = sqlx::query!(
            r#"
            select h.position, hash_at(h.position) as "hash!", log_has($1, $2) as "is_known!",
                   (select id from timelines order by id desc limit 1) as "timeline!"
            from log_head h
            "#,
            known.position,
            &known.hash[..],
        )
        .fetch_one(&self.inner.pool)
        .await?;
        if !row.is_known {
            return self.part().await;
        }
        self.observe(Mark::new(row.position, &row.hash));
        if row.timeline != self.timeline().id {
            // Others have found out; nothing that this process remembers was lost.
            self.read_timelines().await?;
        }
        self.keep_mark(known).await
    }

    /// Looks whether the log has what this process remembers of it, before anything is written by a new connection.
    pub async fn check(&self, connection: &mut sqlx::PgConnection) -> Result<(), Error> {
        let known = self.inner.past.lock().newest();
        let is_known = sqlx::query_scalar!(r#"select log_has($1, $2) as "is_known!""#, known.position, &known.hash[..]);
        if is_known.fetch_one(connection).await? {
            return Ok(());
        }
        let _single = self.inner.looking.lock().await;
        self.part().await
    }

    /// The log has gone back: drops what is remembered of what is lost, and says so.
    async fn part(&self) -> Result<(), Error> {
        let (remembered, of) = (self.inner.past.lock().all().collect::<Vec<_>>(), self.timeline().id);
        let Some(parting) = timeline::part(&self.inner.pool, &remembered, of).await? else { return Ok(()) };
        let lost = remembered.last().map_or(0, |mark| mark.position);
        let head = parting.head;
        self.read_timelines().await?;
        {
            let mut past = self.inner.past.lock();
            past.cut(parting.common.position);
            past.note(head);
            *self.inner.recent.lock() = Recent::at(head.position);
        }
        self.inner.head.send_replace(head.position);
        self.inner.breaks.send_modify(|breaks| *breaks += 1);
        tell(&parting, lost);
        Ok(())
    }

    /// The last event that the log has in common with what is remembered, where it does not have `astray`, at which a consumer stands.
    pub async fn part_at(&self, astray: Mark) -> Result<Mark, Error> {
        let mut remembered = timeline::kept_marks(&mut *self.inner.pool.acquire().await?, astray.position - 1).await?;
        remembered.push(astray);
        // One timeline for all consumers of a process that are found astray.
        let parting = timeline::part(&self.inner.pool, &remembered, self.inner.opened_on).await?;
        let Some(parting) = parting else { return Ok(astray) };
        self.read_timelines().await?;
        if parting.is_new {
            tell(&parting, astray.position);
        }
        Ok(parting.common)
    }

    /// Keeps a mark in the database once in a while.
    async fn keep_mark(&self, mark: Mark) -> Result<(), Error> {
        let is_due = {
            let mut kept = self.inner.kept.lock();
            let is_due = mark.position - *kept >= MARK_INTERVAL;
            if is_due {
                *kept = mark.position;
            }
            is_due
        };
        if is_due { timeline::keep_mark(&self.inner.pool, mark).await } else { Ok(()) }
    }
}

/// Says that the log has gone back.
fn tell(parting: &Parting, remembered: i64) {
    metrics::counter!("merx_log_went_back_total").increment(1);
    tracing::error!(
        common = parting.common.position,
        head = parting.head.position,
        remembered,
        timeline = %parting.timeline.id,
        is_new = parting.is_new,
        "the log has gone back: events up to what is remembered are not in it any more. Was it restored, or did a standby take over? \
         Everything made from lost events begins anew at the last common one"
    );
}
