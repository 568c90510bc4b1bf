//! What clients were told. They repeat a request that got no answer, with its key, until it is answered.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::Value;

use crate::client::{Answer, Client, Request};

/// How long one try may take: shorter than a server is frozen.
const TRY_LIMIT: Duration = Duration::from_secs(4);
/// How long a write may go without an answer, over all tries.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// An accepted write: an event at `version` of `stream`, no later in the log than `position`.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub stream: String,
    pub version: i64,
    pub position: i64,
    /// What the events of the write bear, if anything does: the write's key.
    pub mark: Option<String>,
}

/// A write: whose events are known by its key, if it says `{key}` somewhere in its body.
pub struct Write<'a> {
    pub method: Method,
    pub path: &'a str,
    pub body: Value,
    /// The category of the stream that the answer's `id` is of.
    pub category: &'static str,
    /// What it may be refused for.
    pub refusals: &'a [&'a str],
}

#[derive(Default)]
pub struct Book {
    seed: u64,
    acknowledged: Mutex<Vec<Acknowledged>>,
    refused: Mutex<BTreeMap<String, u64>>,
    keys: AtomicU64,
    tries_without_answer: AtomicU64,
}

impl Book {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Sends a write to the server that is `first`, then to each in turn, until one answers it. None where it was refused.
    pub async fn write(&self, clients: &[Client], first: usize, write: Write<'_>) -> Option<Answer> {
        let key = format!("w{}-{}", self.seed, self.keys.fetch_add(1, Ordering::Relaxed));
        let text = write.body.to_string();
        let is_marked = text.contains("{key}");
        let body = text.replace("{key}", &key);
        let answer = self.answered(&key, |turn| {
            let request = clients[(first + turn) % clients.len()].request(write.method.clone(), write.path);
            request.raw("application/json", body.clone()).key(&key)
        });
        let answer = answer.await;
        if matches!(answer.status, 200 | 201) {
            // To call off what was called off already is nothing to do, and leaves no event: its answer does not show the key then.
            let has_event = answer.status == 201 || String::from_utf8_lossy(&answer.bytes).contains(&format!("{key}\""));
            let acknowledged = Acknowledged {
                stream: format!("{}-{}", write.category, answer.id()),
                version: answer.version(),
                position: answer.position(),
                mark: (is_marked && has_event).then_some(key),
            };
            self.acknowledged.lock().unwrap().push(acknowledged);
            return Some(answer);
        }
        let code = answer["code"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 409 && write.refusals.contains(&code.as_str()), "nothing was wrong with it: {answer}");
        *self.refused.lock().unwrap().entry(code).or_default() += 1;
        None
    }

    async fn answered(&self, key: &str, request: impl Fn(usize) -> Request) -> Answer {
        let (limit, mut pause) = (Instant::now() + ANSWER_LIMIT, Duration::from_millis(20));
        for turn in 0.. {
            let told = match tokio::time::timeout(TRY_LIMIT, request(turn).try_send()).await {
                Ok(Ok(answer)) if answer.status < 500 && answer["code"] != "idempotency_key_in_use" => return answer,
                Ok(Ok(answer)) => answer.to_string(),
                Ok(Err(error)) => error,
                Err(_) => "nothing in time".to_owned(),
            };
            self.tries_without_answer.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < limit, "write {key} is not answered, at last with {told}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        unreachable!("tries have no end")
    }

    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap().clone()
    }

    pub fn refused(&self) -> BTreeMap<String, u64> {
        self.refused.lock().unwrap().clone()
    }

    /// Tries that got no answer, or that of an outage.
    pub fn tries_without_answer(&self) -> u64 {
        self.tries_without_answer.load(Ordering::Relaxed)
    }
}
