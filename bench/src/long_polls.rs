//! Latency of writes, at a steady 20 a second, while nobody or a thousand requests wait for events.
//!
//! In turns on one server: nobody waits; all wait for a type that does not come; all read everything as it comes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    Extent,
    error::Error,
    http::{Connection, Request},
    load::Latencies,
    process::Merx,
    report::{Report, Run},
};

/// Requests that wait.
const WAITING: u32 = 1_000;
/// Time between two writes.
const INTERVAL: Duration = Duration::from_millis(50);
/// Files that this process needs: a connection for each who waits, and some more.
const FILES: u64 = 2_048;

/// Columns of the report (median and 99th percentile of a write, in ms), and the query of those who wait, if any.
const TURNS: [([&str; 2], Option<&str>); 3] = [
    (["quiet_p50_ms", "quiet_p99_ms"], None),
    (["rare_p50_ms", "rare_p99_ms"], Some("&types=FlashSaleCancelled")),
    (["all_p50_ms", "all_p99_ms"], Some("")),
];

/// Measures writes with and without those who wait.
pub async fn run(program: Option<&Path>, extent: Extent) -> Result<Report, Error> {
    raise_files()?;
    let merx = Merx::start(program, &[], &[]).await?;
    let mut writer = Writer::open(&merx).await?;
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        let mut run = Run::new();
        for (columns, query) in TURNS {
            let mut waiting = match query {
                Some(query) => wait(&merx, query).await?,
                None => JoinSet::new(),
            };
            writer.turn(extent.warm_up()).await?;
            let latencies = writer.turn(extent.turn).await?;
            if let Some(ended) = waiting.try_join_next() {
                return ended.unwrap_or(Ok(())).and(Err(Error::Wrong("somebody waits no more".into())));
            }
            let values = [latencies.quantile_ms(500), latencies.quantile_ms(990)];
            eprintln!("run {nth}: {} {:.2}, {} {:.2}", columns[0], values[0], columns[1], values[1]);
            run.extend(columns.into_iter().zip(values.map(Some)));
        }
        runs.push(run);
    }
    merx.stop().await?;
    Ok(Report::of("long-polls", runs))
}

fn raise_files() -> Result<(), Error> {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft {
        soft if soft >= FILES => Ok(()),
        _ => setrlimit(Resource::RLIMIT_NOFILE, FILES, hard),
    });
    raised.map_err(|errno| Error::io("asking for more open files", errno.into()))
}

/// Has all of them wait from the head on, again and again, until what is returned is dropped. One that is refused ends.
async fn wait(merx: &Merx, query: &'static str) -> Result<JoinSet<Result<(), Error>>, Error> {
    let opening = (0..WAITING).map(|_| Connection::open(merx.address()));
    let path = "/v1/events?limit=1";
    let request = Request { method: "GET", path, bearer: Some(merx.key()), body: None, min_position: None };
    let Page { head, .. } = serde_json::from_slice(&Connection::open(merx.address()).await?.send(request).await?.expect(200)?)?;
    let mut waiting = JoinSet::new();
    for connection in try_join_all(opening).await? {
        waiting.spawn(follow(connection, merx.key().to_owned(), query, head));
    }
    Ok(waiting)
}

async fn follow(mut connection: Connection, key: String, query: &'static str, mut after: i64) -> Result<(), Error> {
    loop {
        let path = format!("/v1/events?limit=200&wait=20&after={after}{query}");
        let request = Request { method: "GET", path: &path, bearer: Some(&key), body: None, min_position: None };
        let page: Page = serde_json::from_slice(&connection.send(request).await?.expect(200)?)?;
        after = page.next_cursor.parse().unwrap_or(after);
    }
}

/// The members of a page that a client goes on by. Its events are skipped: what a thousand clients do with them is not the server's work.
#[derive(Deserialize)]
struct Page {
    next_cursor: String,
    head: i64,
}

/// One who writes to a cart.
struct Writer {
    connection: Connection,
    key: String,
    line: String,
    written: u32,
}

impl Writer {
    async fn open(merx: &Merx) -> Result<Self, Error> {
        let mut writer =
            Self { connection: Connection::open(merx.address()).await?, key: merx.key().to_owned(), line: String::new(), written: 0 };
        let product = json!({"sku": "POLL", "title": "Product", "price": {"amount": "2.50", "currency": "GBP"}});
        writer.send("POST", "/v1/products", &product).await?;
        let cart: Value = serde_json::from_slice(&writer.send("POST", "/v1/carts", &json!({"currency": "GBP"})).await?)?;
        writer.line = format!("/v1/carts/{}/items/POLL", cart["id"].as_str().unwrap_or_default());
        Ok(writer)
    }

    async fn send(&mut self, method: &'static str, path: &str, body: &Value) -> Result<Vec<u8>, Error> {
        let body = body.to_string();
        let request = Request { method, path, bearer: Some(&self.key), body: Some(&body), min_position: None };
        let answer = self.connection.send(request).await?;
        if matches!(answer.status, 200 | 201) { Ok(answer.body) } else { Err(answer.unexpected()) }
    }

    /// Writes at the steady rate for `time`.
    async fn turn(&mut self, time: Duration) -> Result<Latencies, Error> {
        let until = Instant::now() + time;
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut latencies = Vec::new();
        while Instant::now() < until {
            ticks.tick().await;
            self.written += 1;
            // Another quantity each time, or there would be nothing to change.
            let (line, quantity) = (self.line.clone(), json!({"quantity": self.written % 9_000 + 1}));
            let began = Instant::now();
            self.send("PUT", &line, &quantity).await?;
            latencies.push(began.elapsed());
        }
        Ok(Latencies::of(latencies))
    }
}
