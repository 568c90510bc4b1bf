//! How long it takes from the answer to a command until a GET shows what it did, at a steady rate of commands.
//!
//! - [`end_to_end`]: with the log as the feed of the read models, and with Kafka
//! - [`failover`]: over Kafka, while the leading publisher is killed

pub mod end_to_end;
pub mod failover;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval_at};

use crate::{
    error::Error,
    http::{Connection, Request, Response},
    load::Latencies,
    process::Merx,
};

/// Who write, each at the same rate: half of them to stock, half to carts.
const WRITERS: u32 = 50;
/// The longest that a read model may lag behind; a GET gives up after two seconds and is asked again.
const LAG_LIMIT: Duration = Duration::from_mins(1);

/// Commands at a steady rate, and what a turn of them showed.
struct Writers {
    writers: Vec<Writer>,
    interval: Duration,
}

/// What a turn showed.
struct Freshness {
    latencies: Latencies,
    commands: u32,
    elapsed: Duration,
}

impl Freshness {
    fn per_second(&self) -> f64 {
        f64::from(self.commands) / self.elapsed.as_secs_f64()
    }
}

impl Writers {
    /// Makes what is written to, in the shop of `merx`.
    async fn open(merx: &Merx, per_second: u32) -> Result<Self, Error> {
        let mut writers = Vec::new();
        for nth in 0..WRITERS {
            writers.push(Writer::open(merx.address(), merx.key(), nth).await?);
        }
        Ok(Self { writers, interval: Duration::from_secs(1) * WRITERS / per_second })
    }

    /// Writes for `time`.
    async fn turn(&mut self, time: Duration) -> Result<Freshness, Error> {
        let (started, interval) = (Instant::now(), self.interval);
        let turns = self.writers.iter_mut().enumerate().map(|(nth, writer)| {
            // Not all in the same moment.
            let phase = interval.mul_f64(f64::from(u32::try_from(nth).unwrap_or_default()) / f64::from(WRITERS));
            writer.write(started + phase, interval, time)
        });
        let latencies: Vec<Duration> = try_join_all(turns).await?.into_iter().flatten().collect();
        let commands = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
        Ok(Freshness { latencies: Latencies::of(latencies), commands, elapsed: started.elapsed() })
    }
}

/// One who writes, and looks each time until it is seen.
struct Writer {
    connection: Connection,
    key: String,
    method: &'static str,
    /// What is written to.
    command: String,
    /// What shows it.
    resource: String,
}

impl Writer {
    async fn open(address: SocketAddr, key: &str, nth: u32) -> Result<Self, Error> {
        let sku = format!("FRESH-{nth:03}");
        let mut writer = Self {
            connection: Connection::open(address).await?,
            key: key.to_owned(),
            method: "POST",
            command: format!("/v1/stock/{sku}/receipts"),
            resource: format!("/v1/stock/{sku}"),
        };
        let product = json!({"sku": sku, "title": "Product", "price": {"amount": "2.50", "currency": "GBP"}});
        writer.send("POST", "/v1/products", Some(&product)).await?.expect(201)?;
        if nth.is_multiple_of(2) {
            let cart: Value =
                serde_json::from_slice(&writer.send("POST", "/v1/carts", Some(&json!({"currency": "GBP"}))).await?.expect(201)?)?;
            let id = cart["id"].as_str().unwrap_or_default();
            (writer.method, writer.command, writer.resource) = ("PUT", format!("/v1/carts/{id}/items/{sku}"), format!("/v1/carts/{id}"));
        }
        Ok(writer)
    }

    async fn send(&mut self, method: &'static str, path: &str, body: Option<&Value>) -> Result<Response, Error> {
        let body = body.map(Value::to_string);
        let request = Request { method, path, bearer: Some(&self.key), body: body.as_deref(), min_position: None };
        self.connection.send(request).await
    }

    /// Writes every `interval` from `first` on, for `time`: how long each write took to be seen.
    async fn write(&mut self, first: Instant, interval: Duration, time: Duration) -> Result<Vec<Duration>, Error> {
        let until = first + time;
        let mut ticks = interval_at(first.into(), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut seen = Vec::new();
        loop {
            ticks.tick().await;
            if Instant::now() >= until {
                return Ok(seen);
            }
            // A quantity that is another one each time, or there would be nothing to change.
            let quantity = seen.len() % 9_000 + 1;
            let body =
                if self.method == "PUT" { json!({"quantity": quantity}) } else { json!({"quantity": quantity, "reference": "bench"}) };
            let (method, command) = (self.method, self.command.clone());
            let answer = self.send(method, &command, Some(&body)).await?;
            let accepted = Instant::now();
            if !matches!(answer.status, 200 | 201) {
                return Err(answer.unexpected());
            }
            let position = answer.position.ok_or_else(|| Error::Http(format!("{command} did not say its position")))?;
            self.until_seen(position, accepted).await?;
            seen.push(accepted.elapsed());
        }
    }

    async fn until_seen(&mut self, position: i64, accepted: Instant) -> Result<(), Error> {
        loop {
            let request =
                Request { method: "GET", path: &self.resource, bearer: Some(&self.key), body: None, min_position: Some(position) };
            let answer = self.connection.send(request).await?;
            match answer.status {
                200 if answer.position.is_some_and(|read_at| read_at >= position) => return Ok(()),
                200 => return Err(Error::Wrong(format!("{} is older than it promises", self.resource))),
                503 if accepted.elapsed() < LAG_LIMIT => {}
                _ => return Err(answer.unexpected()),
            }
        }
    }
}
