//! Callers in a closed loop: each makes its next call as soon as the one before is answered.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

use crate::{cpu, error::Error};

/// Somebody who makes one call after the other.
pub trait Caller: Send + 'static {
    /// One call, until it is answered.
    fn call(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What was measured of a turn.
#[derive(Debug)]
pub struct Load {
    calls: u32,
    elapsed: Duration,
    /// Of the processes that were watched; none where they are on another machine.
    cpu: Option<Duration>,
    latencies: Latencies,
}

impl Load {
    /// Calls answered in a second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.calls) / self.elapsed.as_secs_f64()
    }

    /// The latency that `per_mille` of the calls did not exceed.
    pub fn quantile_ms(&self, per_mille: usize) -> f64 {
        self.latencies.quantile_ms(per_mille)
    }

    /// CPU time of one call.
    pub fn cpu_ms_each(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1_000.0 / f64::from(self.calls.max(1)))
    }

    /// How many calls were answered.
    pub fn calls(&self) -> u32 {
        self.calls
    }
}

/// How long calls took, sorted.
#[derive(Debug)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Sorts them.
    pub fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    /// The latency that `per_mille` of the calls did not exceed; 0 where there was no call.
    pub fn quantile_ms(&self, per_mille: usize) -> f64 {
        let rank = (self.0.len() * per_mille).div_ceil(1_000).max(1);
        self.0.get(rank - 1).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
    }
}

/// Lets `callers` call for `time`; answers once the last call is answered, and gives them back. Watches the CPU time of the trees of
/// processes below `watched`.
pub async fn drive<C: Caller>(callers: Vec<C>, time: Duration, watched: Option<&[u32]>) -> Result<(Load, Vec<C>), Error> {
    let cpu_before = watched.map(cpu::of_trees).transpose()?;
    let started = Instant::now();
    let until = started + time;
    let tasks: Vec<_> = callers.into_iter().map(|caller| Task(tokio::spawn(repeat(caller, until)))).collect();
    let mut latencies = Vec::new();
    let mut back = Vec::with_capacity(tasks.len());
    for (caller, own) in try_join_all(tasks.into_iter().map(Task::join)).await? {
        back.push(caller);
        latencies.extend(own);
    }
    let elapsed = started.elapsed();
    let cpu = match (watched, cpu_before) {
        (Some(watched), Some(before)) => Some(cpu::of_trees(watched)?.saturating_sub(before)),
        _ => None,
    };
    let calls = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
    Ok((Load { calls, elapsed, cpu, latencies: Latencies::of(latencies) }, back))
}

async fn repeat<C: Caller>(mut caller: C, until: Instant) -> Result<(C, Vec<Duration>), Error> {
    let mut latencies = Vec::new();
    loop {
        let started = Instant::now();
        if started >= until {
            return Ok((caller, latencies));
        }
        caller.call().await?;
        latencies.push(started.elapsed());
    }
}

/// A task that ends when nobody waits for it any more.
struct Task<T>(tokio::task::JoinHandle<Result<T, Error>>);

impl<T> Task<T> {
    async fn join(mut self) -> Result<T, Error> {
        (&mut self.0).await.unwrap_or_else(|panic| Err(Error::Wrong(panic.to_string())))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_latency_that_was_seen() {
        let latencies = Latencies::of((1..=100).rev().map(Duration::from_millis).collect());
        let seen = [0, 500, 990, 1_000].map(|per_mille| format!("{:.0}", latencies.quantile_ms(per_mille)));
        assert_eq!(seen, ["1", "50", "99", "100"]);
        assert!(Latencies::of(Vec::new()).quantile_ms(500).abs() < f64::EPSILON);
    }
}
