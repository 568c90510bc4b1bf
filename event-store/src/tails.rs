//! What streams have got since a version, read for many askers in one query.
//!
//! Loading an aggregate, checking that a cached one is current before a refusal is believed, looking up a price: all of these ask for
//! the tail of a stream. While one query is under way the next questions gather, as they do for appends.

use std::time::Duration;

use event_schemas::{Recorded, StreamId};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::{Error, decode::Row};

/// The most askers that wait.
const QUEUE_QUESTIONS: usize = 16_384;
/// The most streams of one query.
const QUERY_STREAMS: usize = 1_024;
/// The most events of one stream in the shared query; a longer tail is read on by itself.
const SHARED_EVENTS: i64 = 64;
/// The most events of one stream in one query of its own.
const PAGE_EVENTS: i64 = 5_000;
/// How long a query may take.
const QUERY_LIMIT: Duration = Duration::from_secs(10);

type Answer = Result<Vec<Vec<Recorded>>, Error>;

struct Question {
    of: Vec<(StreamId, i64)>,
    answer: oneshot::Sender<Answer>,
}

pub(crate) struct Handle {
    queue: mpsc::Sender<Question>,
}

impl Handle {
    pub async fn read(&self, of: Vec<(StreamId, i64)>) -> Answer {
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
pub(crate) fn start(pool: PgPool) -> Handle {
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
            answer(&pool, questions).await;
        }
    });
    Handle { queue }
}

async fn answer(pool: &PgPool, questions: Vec<Question>) {
    let asked: Vec<&(StreamId, i64)> = questions.iter().flat_map(|q| &q.of).collect();
    let read = match tokio::time::timeout(QUERY_LIMIT, read_shared(pool, &asked)).await {
        Ok(read) => read,
        Err(_) => Err(Error::Unavailable("no answer within 10 seconds".into())),
    };
    match read {
        Err(error) => {
            for question in questions {
                let _ = question.answer.send(Err(error.clone()));
            }
        }
        Ok(tails) => {
            let mut tails = tails.into_iter();
            for Question { of, answer } in questions {
                let own: Result<Vec<_>, Error> = tails.by_ref().take(of.len()).collect();
                let long = own.as_ref().is_ok_and(|own| own.iter().any(|tail| tail.len() as i64 == SHARED_EVENTS));
                if long {
                    let pool = pool.clone();
                    tokio::spawn(async move { answer.send(read_on(&pool, &of, own).await) });
                } else {
                    let _ = answer.send(own);
                }
            }
        }
    }
}

/// One query for all that is asked: for each question its tail, or why it can't be decoded.
async fn read_shared(pool: &PgPool, asked: &[&(StreamId, i64)]) -> Result<Vec<Result<Vec<Recorded>, Error>>, Error> {
    let streams: Vec<&str> = asked.iter().map(|(stream, _)| stream.as_str()).collect();
    let versions: Vec<i64> = asked.iter().map(|(_, version)| *version).collect();
    let rows = sqlx::query!(
        r#"
        select q.nth as "nth!", e.position, e.stream_id, e.version, e.event_id, e.type as event_type, e.schema_version,
               e.payload::text as "payload!", e.metadata::text as "metadata!", e.recorded_at
        from unnest($1::text[], $2::bigint[]) with ordinality as q (stream_id, version, nth)
        cross join lateral (
            select * from events
            where stream_id = q.stream_id collate "C" and version > q.version order by version limit $3
        ) e
        order by q.nth, e.version
        "#,
        &streams as &[&str],
        &versions,
        SHARED_EVENTS,
    )
    .fetch_all(pool)
    .await?;
    let mut tails: Vec<Result<Vec<Recorded>, Error>> = asked.iter().map(|_| Ok(Vec::new())).collect();
    for r in rows {
        let row = Row {
            position: r.position,
            stream_id: r.stream_id,
            version: r.version,
            event_id: r.event_id,
            event_type: r.event_type,
            schema_version: r.schema_version,
            payload: r.payload,
            metadata: r.metadata,
            recorded_at: r.recorded_at,
        };
        let Some(slot) = usize::try_from(r.nth - 1).ok().and_then(|nth| tails.get_mut(nth)) else { continue };
        match row.decode() {
            Ok(recorded) => {
                if let Ok(tail) = slot {
                    tail.push(recorded);
                }
            }
            Err(error) => *slot = Err(error),
        }
    }
    Ok(tails)
}

/// Reads the long tails among `read` to their ends.
async fn read_on(pool: &PgPool, of: &[(StreamId, i64)], read: Answer) -> Answer {
    let mut tails = read?;
    for ((stream, _), tail) in of.iter().zip(&mut tails) {
        if (tail.len() as i64) < SHARED_EVENTS {
            continue;
        }
        loop {
            let from = tail.last().map_or(1, |last| last.version + 1);
            let page = crate::read::stream_page(pool, stream, from, i64::MAX, PAGE_EVENTS).await?;
            let is_last = (page.len() as i64) < PAGE_EVENTS;
            for stored in page {
                tail.push(stored.decode()?);
            }
            if is_last {
                break;
            }
        }
    }
    Ok(tails)
}
