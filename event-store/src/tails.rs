//! What streams have got since a version, read for many askers in one query.
//!
//! Loading an aggregate, checking that a cached one is current before a refusal is believed, looking up a price: all of these ask for
//! the tail of a stream. While one query is under way the next questions gather, as they do for appends.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};
use event_schemas::{Recorded, StreamId};
use futures::TryStreamExt as _;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    Error, Snapshot,
    bounded::{self, Rest},
    decode::Row,
    feed::Hub,
    mark::Mark,
    read::payload_bytes,
    snapshots::{WORTH_EVENTS, seal, tell_damaged},
};

/// The most askers that wait.
const QUEUE_QUESTIONS: usize = 16_384;
/// The most streams of one query.
const QUERY_STREAMS: usize = 1_024;
/// The most events of one stream in the shared query; a longer tail is read on by itself.
const SHARED_EVENTS: i64 = 64;
/// The bytes of data after which the shared query ends: what it has not come to then is asked for by another one.
const SHARED_BYTES: usize = 4 << 20;
/// The most events of one stream in one query of its own.
const PAGE_EVENTS: i64 = 5_000;
/// The bytes of data after which the answer to a question ends: its tails are partial then.
const ANSWER_BYTES: usize = 8 << 20;
/// How long a query may take.
const QUERY_LIMIT: Duration = Duration::from_secs(10);

/// What is wanted of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The stream.
    pub stream: StreamId,
    /// The version that is known already: what came after it is wanted. 0 is all of it.
    pub version: i64,
    /// The version of states that a snapshot must be of to be of use; none where no snapshot is wanted.
    pub state_version: Option<i32>,
}

/// What a stream has got.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tail {
    /// A state to go on from. There is none where none was wanted, nor where the events to be read without it are few.
    pub snapshot: Option<Snapshot>,
    /// What came after the snapshot, or after the version that was known; oldest first.
    pub events: Vec<Recorded>,
    /// True where there is more, which was left out for the bytes that it has: of the stream, or of all that was asked for at once. Then there
    /// may be neither a snapshot nor an event here although there are some. The only tail that is asked for has one at least.
    pub is_partial: bool,
}

type Answer = Result<Vec<Tail>, Error>;

struct Question {
    of: Vec<Wanted>,
    answer: oneshot::Sender<Answer>,
}

pub(crate) struct Handle {
    queue: mpsc::Sender<Question>,
}

impl Handle {
    pub async fn read(&self, of: Vec<Wanted>) -> Answer {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Question { of, answer }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Unavailable("the reader has stopped".into()),
        })?;
        answered.await.unwrap_or_else(|_| Err(Error::Unavailable("the reader has stopped".into())))
    }
}

/// Starts the reader, which ends when the last handle is dropped.
pub(crate) fn start(pool: PgPool, hub: Hub) -> Handle {
    let (queue, mut waiting) = mpsc::channel::<Question>(QUEUE_QUESTIONS);
    tokio::spawn(async move {
        while let Some(first) = waiting.recv().await {
            tokio::task::yield_now().await;
            let mut streams = first.of.len();
            let mut questions = vec![first];
            while streams < QUERY_STREAMS
                && let Ok(next) = waiting.try_recv()
            {
                streams += next.of.len();
                questions.push(next);
            }
            answer(&pool, &hub, questions).await;
        }
    });
    Handle { queue }
}

/// The part of a shared query's answer that is of one stream.
#[derive(Default)]
struct Shared {
    /// Partial where there may be more to be read.
    tail: Tail,
    /// Of its data.
    bytes: usize,
}

impl Shared {
    /// A stream that the query did not come to.
    fn left_out() -> Self {
        Self { tail: Tail { is_partial: true, ..Tail::default() }, bytes: 0 }
    }

    /// Of one that has as many events as are read at a time there may be more.
    fn tell_of_more(&mut self) {
        self.tail.is_partial |= self.tail.events.len() as i64 == SHARED_EVENTS;
    }
}

async fn answer(pool: &PgPool, hub: &Hub, questions: Vec<Question>) {
    let mut questions = VecDeque::from(questions);
    // Of the first questions, which are answered as soon as all of it is there.
    let mut read: Vec<Result<Shared, Error>> = Vec::new();
    while !questions.is_empty() {
        let asked: Vec<&Wanted> = questions.iter().flat_map(|question| &question.of).skip(read.len()).collect();
        let more = tokio::time::timeout(QUERY_LIMIT, read_shared(pool, hub, &asked)).await;
        match more.unwrap_or_else(|_| Err(Error::Unavailable("no answer within 10 seconds".into()))) {
            Ok(more) => read.extend(more),
            Err(error) => {
                for question in questions {
                    let _ = question.answer.send(Err(error.clone()));
                }
                return;
            }
        }
        while let Some(question) = questions.pop_front_if(|question| leave_out(&mut read, question.of.len())) {
            let rest = read.split_off(question.of.len());
            let own = std::mem::replace(&mut read, rest).into_iter().collect::<Result<Vec<_>, _>>();
            hand_over(pool, hub, question, own);
        }
    }
}

/// Returns true where `read` has all of a question for `many` streams: where what it has of them is so much that there is no room for more, the rest is
/// left out.
fn leave_out(read: &mut Vec<Result<Shared, Error>>, many: usize) -> bool {
    let bytes: usize = read.iter().take(many).flatten().map(|shared| shared.bytes).sum();
    if read.len() < many && bytes >= ANSWER_BYTES {
        read.resize_with(many, || Ok(Shared::left_out()));
    }
    read.len() >= many
}

/// Answers a question, and reads long tails to their ends before.
fn hand_over(pool: &PgPool, hub: &Hub, Question { of, answer }: Question, own: Result<Vec<Shared>, Error>) {
    match own {
        Ok(own) if own.iter().any(|shared| shared.tail.is_partial) => {
            let (pool, hub) = (pool.clone(), hub.clone());
            tokio::spawn(async move { answer.send(read_on(&pool, &hub, &of, own).await) });
        }
        own => {
            let _ = answer.send(own.map(|own| own.into_iter().map(|shared| shared.tail).collect()));
        }
    }
}

/// A snapshot and an event after it, each where there is one.
struct SharedRow {
    nth: i64,
    snapshot_version: Option<i64>,
    snapshot_position: Option<i64>,
    snapshot_at: Option<DateTime<Utc>>,
    seal: Option<Vec<u8>>,
    /// In the first row only.
    state: Option<String>,
    position: Option<i64>,
    stream_id: Option<String>,
    version: Option<i64>,
    event_id: Option<Uuid>,
    event_type: Option<String>,
    schema_version: Option<i16>,
    payload: Option<String>,
    metadata: Option<String>,
    recorded_at: Option<DateTime<Utc>>,
    /// Of the event, or of the snapshot's where there is none after it.
    hash: Option<Vec<u8>>,
}

impl Shared {
    fn take_in(&mut self, wanted: &Wanted, mut row: SharedRow) -> Result<(), Error> {
        if let Some((snapshot, sealed)) = row.take_snapshot() {
            if sealed == seal(&wanted.stream, snapshot.version, wanted.state_version.unwrap_or_default(), &snapshot.state) {
                self.bytes += snapshot.state.len();
                self.tail.snapshot = Some(snapshot);
            } else {
                tell_damaged(&wanted.stream, snapshot.version);
                self.tail.is_partial = true;
            }
        }
        // What follows on a damaged snapshot is read again, with what it should have spared.
        if let Some(event) = row.event().filter(|_| !self.tail.is_partial) {
            self.bytes += event.payload.len() + event.metadata.len();
            self.tail.events.push(event.decode()?);
        }
        Ok(())
    }
}

impl SharedRow {
    fn bytes(&self) -> usize {
        [&self.state, &self.payload, &self.metadata].into_iter().flatten().map(String::len).sum()
    }

    /// The mark of its event, or of its snapshot where it has no event: the log has that.
    fn mark(&self) -> Option<Mark> {
        Some(Mark::new(self.position.or(self.snapshot_position)?, self.hash.as_deref()?))
    }

    fn take_snapshot(&mut self) -> Option<(Snapshot, Vec<u8>)> {
        let state = self.state.take()?;
        let (version, position, recorded_at) = (self.snapshot_version?, self.snapshot_position?, self.snapshot_at?.into());
        Some((Snapshot { version, position, recorded_at, state }, self.seal.take()?))
    }

    fn event(self) -> Option<Row> {
        Some(Row {
            position: self.position?,
            stream_id: self.stream_id?,
            version: self.version?,
            event_id: self.event_id?,
            event_type: self.event_type?,
            schema_version: self.schema_version?,
            payload: self.payload?,
            metadata: self.metadata?,
            recorded_at: self.recorded_at?,
        })
    }
}

/// One query for all that is asked: for each stream its snapshot and its tail, or why it can't be decoded. Where all that has much data, only the
/// first streams are read.
async fn read_shared(pool: &PgPool, hub: &Hub, asked: &[&Wanted]) -> Result<Vec<Result<Shared, Error>>, Error> {
    let streams: Vec<&str> = asked.iter().map(|wanted| wanted.stream.as_str()).collect();
    let versions: Vec<i64> = asked.iter().map(|wanted| wanted.version).collect();
    // A null is looked up without touching the index, so whoever wants no snapshot pays nothing for it.
    let snapshots_of: Vec<Option<&str>> = asked.iter().map(|wanted| wanted.state_version.map(|_| wanted.stream.as_str())).collect();
    let state_versions: Vec<Option<i32>> = asked.iter().map(|wanted| wanted.state_version).collect();
    let mut connection = pool.acquire().await?;
    let mut rows = sqlx::query_as!(
        SharedRow,
        r#"
        select q.nth as "nth!", s.version as "snapshot_version?", s.position as "snapshot_position?", s.recorded_at as "snapshot_at?",
               s.seal as "seal?", case when e.version is null or e.version = s.version + 1 then s.state::text end as "state?",
               e.position as "position?", e.stream_id as "stream_id?", e.version as "version?", e.event_id as "event_id?",
               e.type as "event_type?", e.schema_version as "schema_version?", e.payload::text as "payload?", e.metadata::text as "metadata?",
               e.recorded_at as "recorded_at?", coalesce(e.hash, s.hash) as "hash?"
        from unnest($1::text[], $2::bigint[], $3::text[], $4::int[]) with ordinality
            as q (stream_id, version, snapshot_of, state_version, nth)
        left join lateral (
            select s.version, s.state, s.seal, k.position, k.recorded_at, k.hash
            from snapshots s
            join events k on k.stream_id = s.stream_id and k.version = s.version and k.hash = s.event_hash
            where s.stream_id = q.snapshot_of collate "C" and s.state_version = q.state_version and s.version > q.version + $6
            limit 1
        ) s on true
        left join lateral (
            select * from events
            where stream_id = q.stream_id collate "C" and version > coalesce(s.version, q.version) order by version limit $5
        ) e on true
        where s.version is not null or e.version is not null
        order by q.nth, e.version
        "#,
        &streams as &[&str],
        &versions,
        &snapshots_of as &[Option<&str>],
        &state_versions as &[Option<i32>],
        SHARED_EVENTS,
        WORTH_EVENTS,
    )
    .fetch(&mut *connection);
    let mut tails: Vec<Result<Shared, Error>> = asked.iter().map(|_| Ok(Shared::default())).collect();
    let (mut newest, mut bytes, mut last) = (None::<Mark>, 0, 0);
    while bytes < SHARED_BYTES
        && let Some(row) = rows.try_next().await?
    {
        bytes += row.bytes();
        newest = newest.into_iter().chain(row.mark()).max_by_key(|mark| mark.position);
        last = usize::try_from(row.nth - 1).unwrap_or(usize::MAX);
        let (Some(wanted), Some(slot)) = (asked.get(last), tails.get_mut(last)) else { continue };
        if let Ok(shared) = slot
            && let Err(error) = shared.take_in(wanted, row)
        {
            *slot = Err(error);
        }
    }
    if bytes < SHARED_BYTES {
        drop(rows);
    } else {
        if bounded::leave(rows, SharedRow::bytes).await? == Rest::TooMuch {
            connection.close_on_drop();
        }
        // Others may have come after it, and of the last one there may be more.
        tails.truncate(last.saturating_add(1));
        if let Some(Ok(shared)) = tails.last_mut() {
            shared.tail.is_partial = true;
        }
    }
    // What is kept of this in memory is no newer than what the hub compares with the log.
    if let Some(newest) = newest {
        hub.observe(newest);
    }
    tails.iter_mut().flatten().for_each(Shared::tell_of_more);
    Ok(tails)
}

/// Reads the long tails among `read` to their ends, as far as there is room in the answer.
async fn read_on(pool: &PgPool, hub: &Hub, of: &[Wanted], read: Vec<Shared>) -> Answer {
    let mut bytes: usize = read.iter().map(|shared| shared.bytes).sum();
    let mut tails = Vec::with_capacity(read.len());
    for (wanted, Shared { mut tail, .. }) in of.iter().zip(read) {
        while tail.is_partial && bytes < ANSWER_BYTES {
            let known = tail.snapshot.as_ref().map_or(wanted.version, |snapshot| snapshot.version);
            let from = tail.events.last().map_or(known, |last| last.version) + 1;
            let page = crate::read::stream_page(pool, wanted.stream.as_str(), from, i64::MAX, PAGE_EVENTS).await?;
            tail.is_partial = crate::read::is_full(&page, PAGE_EVENTS);
            if let Some(last) = page.last() {
                hub.observe(Mark::new(last.position, &last.hash));
            }
            for stored in page {
                bytes += payload_bytes(&stored);
                tail.events.push(stored.decode()?);
            }
        }
        tails.push(tail);
    }
    Ok(tails)
}
