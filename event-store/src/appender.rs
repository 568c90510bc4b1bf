//! The appender: one thread that commits what is waiting in groups.
//!
//! While one group is being committed the next one gathers in the queue. A group is one statement, and so one transaction. It runs
//! on a `current_thread` runtime of its own and yields once before it drains the queue, so that whoever is about to submit gets in.

mod statement;
mod take_apart;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use event_schemas::Recorded;
use metrics::{counter, histogram};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    Committed, Error, Unit, append,
    append::Pending,
    feed::{Hub, Weighed},
};

/// The most units that wait, and the most bytes of them; one more is refused at once.
const QUEUE_UNITS: usize = 16_384;
const QUEUE_BYTES: usize = 32 << 20;
/// The most events of a group; a unit with more is a group of its own.
const GROUP_EVENTS: usize = 1_024;
/// The most bytes of a group's payloads and metadata.
const GROUP_BYTES: usize = 8 << 20;
/// How long a group is tried again while the database is away, before its units are told.
const OUTAGE_LIMIT: Duration = Duration::from_secs(20);
/// How often a group may collide without anything in it being found to collide, before its units are committed one by one.
const MAX_FRUITLESS: u32 = 3;
/// How long one statement may take before its connection is given up.
const STATEMENT_LIMIT: Duration = Duration::from_secs(15);

struct Waiting {
    unit: Unit,
    /// Number of times the log had been found to have gone back when the unit was submitted.
    breaks: u64,
    /// Of what the unit holds.
    bytes: usize,
    answer: oneshot::Sender<Result<Committed, Error>>,
}

impl Waiting {
    fn refuse(self, error: Error) {
        self.unit.sever();
        // The receiver is gone where the client has hung up: nobody is left to tell.
        let _ = self.answer.send(Err(error));
    }
}

/// The way to the appender's thread, which ends when the last handle is dropped.
pub(crate) struct Handle {
    queue: mpsc::Sender<Waiting>,
    /// Of all units in the queue.
    queued_bytes: Arc<AtomicUsize>,
    hub: Hub,
}

impl Handle {
    pub fn submit(&self, unit: Unit) -> Result<Pending, Error> {
        let (answer, pending) = oneshot::channel();
        let bytes = unit.byte_count();
        // A unit that is alone is taken, whatever its size.
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Error::Overloaded);
        }
        self.queue.try_send(Waiting { unit, breaks: self.hub.breaks(), bytes, answer }).map_err(|refused| {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => Error::Overloaded,
                mpsc::error::TrySendError::Closed(_) => Error::Unavailable("the appender has stopped".into()),
            }
        })?;
        Ok(Pending(pending))
    }
}

/// Whether an SQLSTATE means that the database is away or full, rather than that the statement is wrong.
pub(crate) fn is_outage(code: Option<&str>) -> bool {
    // 08 connection, 28 not let in, 40 rolled back by the server, 53 no resources, 55 locked by others, 57 operator intervention,
    // 58 system error, 25006 read-only
    code.is_some_and(|code| ["08", "28", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)) || code == "25006")
}

/// Starts the appender's thread.
pub(crate) fn start(pool: &PgPool, hub: Hub) -> Result<Handle, Error> {
    let (queue, waiting) = mpsc::channel(QUEUE_UNITS);
    let (options, own) = (pool.connect_options(), hub.clone());
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let left = queued_bytes.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| Error::Unavailable(e.to_string()))?;
    std::thread::Builder::new()
        .name("merx-appender".into())
        .spawn(move || runtime.block_on(Appender { options, connection: None, hub, waiting, queued_bytes: left, carried: None }.run()))
        .map_err(|error| Error::Unavailable(error.to_string()))?;
    Ok(Handle { queue, queued_bytes, hub: own })
}

struct Appender {
    options: Arc<PgConnectOptions>,
    connection: Option<PgConnection>,
    hub: Hub,
    waiting: mpsc::Receiver<Waiting>,
    queued_bytes: Arc<AtomicUsize>,
    /// A unit that did not fit into the last group.
    carried: Option<Waiting>,
}

impl Appender {
    async fn run(mut self) {
        while let Some(group) = self.gather().await {
            let started = Instant::now();
            let (units, events) = (group.len(), group.iter().map(|w| w.unit.event_count()).sum::<usize>());
            self.commit(group, started + OUTAGE_LIMIT).await;
            histogram!("merx_append_group_events").record(u32::try_from(events).unwrap_or(u32::MAX));
            histogram!("merx_append_group_units").record(u32::try_from(units).unwrap_or(u32::MAX));
            histogram!("merx_append_group_seconds").record(started.elapsed());
        }
    }

    /// The next group: at least one unit; `None` once every handle is gone.
    async fn gather(&mut self) -> Option<Vec<Waiting>> {
        let first = if let Some(carried) = self.carried.take() {
            carried
        } else {
            let next = self.waiting.recv().await?;
            self.taken(next)
        };
        tokio::task::yield_now().await;
        let (mut events, mut bytes) = (first.unit.event_count(), first.bytes);
        let mut group = vec![first];
        while let Ok(next) = self.waiting.try_recv() {
            let next = self.taken(next);
            events += next.unit.event_count();
            bytes += next.bytes;
            if events > GROUP_EVENTS || bytes > GROUP_BYTES || group.len() >= GROUP_EVENTS {
                self.carried = Some(next);
                break;
            }
            group.push(next);
        }
        Some(group)
    }

    /// `waiting`, which is out of the queue.
    fn taken(&self, waiting: Waiting) -> Waiting {
        self.queued_bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
        waiting
    }

    /// Commits `group`, or tells each unit of it why not. While the database is away it is tried again until `deadline`.
    async fn commit(&mut self, mut group: Vec<Waiting>, deadline: Instant) {
        let mut pause = Duration::from_millis(20);
        let mut fruitless = 0;
        // Only before the first try: afterwards it may have been committed, or is judged when the group is taken apart.
        group = drop_severed(group);
        while !group.is_empty() {
            // A new connection tells whether the log has gone back: what was decided on lost events is decided again.
            let connected = self.connection().await.map(|_| ());
            group = drop_of_another_history(group, self.hub.breaks());
            let written = match connected {
                Ok(()) if group.is_empty() => return,
                Ok(()) => self.write(&group).await,
                Err(error) => Err(error),
            };
            let error = match written {
                Ok(base) => return self.publish(group, base),
                Err(error) => error,
            };
            if take_apart::is_collision(&error) {
                counter!("merx_append_collisions_total").increment(1);
                let before = group.len();
                match self.take_apart(group).await {
                    Ok(rest) => {
                        fruitless += u32::from(rest.len() == before);
                        if fruitless == MAX_FRUITLESS {
                            return self.commit_singly(rest, &Error::Refused(error.to_string()), deadline).await;
                        }
                        group = rest;
                        continue;
                    }
                    Err((rest, Error::Unavailable(_))) => group = rest,
                    Err((rest, error)) => return refuse_all(rest, &error),
                }
            } else if let refused @ Error::Refused(_) = Error::from(error) {
                return self.commit_singly(group, &refused, deadline).await;
            }
            // The connection or the database is gone; the group may have been committed or not. Writing it again is safe: what was
            // committed collides with itself, and taking the group apart then finds it.
            self.connection = None;
            if Instant::now() > deadline {
                return refuse_all(group, &Error::Unavailable("no answer within 20 seconds".into()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// The database refuses `group` for what must be a bug in one of its units: commits each by itself, so that the others go on.
    async fn commit_singly(&mut self, group: Vec<Waiting>, refusal: &Error, deadline: Instant) {
        if group.len() == 1 {
            tracing::error!(%refusal, "the database refused events");
            return refuse_all(group, refusal);
        }
        for waiting in group {
            if Instant::now() > deadline {
                waiting.refuse(Error::Unavailable("no answer within 20 seconds".into()));
            } else {
                Box::pin(self.commit(vec![waiting], deadline)).await;
            }
        }
    }

    async fn write(&mut self, group: &[Waiting]) -> Result<i64, sqlx::Error> {
        let connection = self.connection().await?;
        let written = tokio::time::timeout(STATEMENT_LIMIT, statement::append(connection, group)).await;
        written.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the append took too long"))))
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if self.connection.is_none() {
            let connect = PgConnection::connect_with(&self.options);
            let mut connection = tokio::time::timeout(Duration::from_secs(5), connect)
                .await
                .map_err(|_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection within 5 seconds")))??;
            // What is acknowledged is on disk, whatever the cluster's default says.
            sqlx::query("set synchronous_commit = on").execute(&mut connection).await?;
            // It may be another database than before: one that was restored.
            self.hub.check(&mut connection).await.map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
            return Ok(self.connection.insert(connection));
        }
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    async fn take_apart(&mut self, group: Vec<Waiting>) -> Result<Vec<Waiting>, (Vec<Waiting>, Error)> {
        let found = match self.connection().await {
            Ok(connection) => take_apart::look_up(connection, &group).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => Ok(found.refuse_what_collides(group)),
            Err(error) => Err((group, error.into())),
        }
    }

    /// Tells the consumers and the callers that `group` stands in the log after `base`.
    fn publish(&self, group: Vec<Waiting>, base: i64) {
        let mut position = base;
        let mut recorded = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for Waiting { unit, answer, .. } in group {
            let before = position;
            for part in unit.parts {
                for (index, encoded) in part.events.into_iter().enumerate() {
                    position += 1;
                    let bytes = encoded.payload.len() + part.metadata_json.len();
                    let event = Recorded {
                        position,
                        stream: part.stream.clone(),
                        version: part.expected_version + 1 + index as i64,
                        event_id: append::event_id(part.command, index),
                        metadata: part.metadata.clone(),
                        recorded_at: part.recorded_at,
                        event: encoded.event,
                    };
                    recorded.push(Weighed { event: Arc::new(event), hash: encoded.hash, bytes });
                    part.lineage.advance(part.expected_version + 1 + index as i64, position);
                }
            }
            answers.push((answer, Committed { position: if position > before { position } else { 0 }, repeated: false }));
        }
        counter!("merx_appended_events_total").increment(recorded.len() as u64);
        self.hub.committed(base, recorded);
        for (answer, committed) in answers {
            let _ = answer.send(Ok(committed));
        }
    }
}

/// Refuses what was built on something that was not committed.
fn drop_severed(group: Vec<Waiting>) -> Vec<Waiting> {
    let is_sound = |waiting: &Waiting| !waiting.unit.parts.iter().any(|part| part.lineage.is_severed());
    if group.iter().all(is_sound) {
        return group;
    }
    // One pass is enough: a unit that is refused severs its lineages, and what hangs on them stands behind it.
    let mut sound = VecDeque::with_capacity(group.len());
    for waiting in group {
        if is_sound(&waiting) {
            sound.push_back(waiting);
        } else {
            waiting.refuse(Error::Conflict);
        }
    }
    sound.into()
}

/// Refuses what was decided before the log was found to have gone back, and so perhaps on events that it has lost.
fn drop_of_another_history(group: Vec<Waiting>, breaks: u64) -> Vec<Waiting> {
    if group.iter().all(|waiting| waiting.breaks == breaks) {
        return group;
    }
    let (ours, others) = group.into_iter().partition(|waiting| waiting.breaks == breaks);
    refuse_all(others, &Error::Conflict);
    ours
}

fn refuse_all(group: Vec<Waiting>, error: &Error) {
    for waiting in group {
        waiting.refuse(error.clone());
    }
}
