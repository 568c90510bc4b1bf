//! Many runs, side by side on all processors: what happened in them, and what did not hold.

use std::{
    fmt,
    num::NonZero,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{Counts, Mutation, Outcome, Sight, run};

/// How many seeds a thread takes at a time.
const CHUNK: u64 = 64;
/// The most failures that are kept to be told; all are counted.
const FAILURES: usize = 10;
/// The last lines of a failing run's trace that are told.
const TRACE: usize = 60;

/// What came of many runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many runs there were.
    pub seeds: u64,
    /// Their steps together.
    pub steps: u64,
    /// The events in their logs together.
    pub events: u64,
    /// What happened in them.
    pub counts: Counts,
    /// How many broke a rule.
    pub failures: u64,
    /// The failing runs with the lowest seeds, up to ten.
    pub failed: Vec<Outcome>,
}

impl Summary {
    /// Takes in what came of some of the runs.
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.events += other.events;
        self.counts += &other.counts;
        self.failures += other.failures;
        self.failed.extend(other.failed);
        self.failed.sort_by_key(|outcome| outcome.seed);
        self.failed.truncate(FAILURES);
    }

    fn take(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.events += outcome.events;
        self.counts += &outcome.counts;
        if outcome.violation.is_some() {
            self.failures += 1;
            if self.failed.len() < FAILURES {
                self.failed.push(outcome);
            }
        }
    }
}

impl fmt::Display for Summary {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, steps, events, counts, failures, .. } = self;
        let (orders, crashes) = (counts.of(Sight::Order), counts.of(Sight::Crash));
        write!(f, "{seeds} seeds, {orders} orders, {events} events, {steps} steps, {crashes} crashes: {failures} failures")
    }
}

/// Runs every seed of `seeds`; `done` is told how many are, now and then. The same seeds give the same summary, however many threads there are.
pub fn campaign(seeds: Range<u64>, mutation: Option<Mutation>, done: impl Fn(u64) + Sync) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let work = || {
        let mut own = Summary::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= seeds.end {
                break;
            }
            let to = (from + CHUNK).min(seeds.end);
            (from..to).for_each(|seed| own.take(run(seed, mutation, false)));
            done(to - from);
        }
        summary.lock().unwrap_or_else(PoisonError::into_inner).add(own);
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of a failing run: the seed, what did not hold, the last steps, and how to see it again. Runs it again for that.
#[must_use]
pub fn told(failed: &Outcome, mutation: Option<Mutation>) -> String {
    let seed = failed.seed;
    let again = run(seed, mutation, true);
    let Some(violation) = &again.violation else {
        return format!("seed {seed} failed, and did not when it was run again: the simulator is not deterministic\n");
    };
    let lines = again.trace.len().saturating_sub(TRACE);
    let trace = again.trace.iter().skip(lines).fold(String::new(), |text, line| text + "    " + line + "\n");
    let mutation = mutation.map(|mutation| format!(" --mutation {mutation}")).unwrap_or_default();
    format!(
        "seed {seed} failed: {}: {}\n  its last steps, in seconds since the shop opened:\n{trace}  \
         again: cargo run --release -p simulation -- --seed {seed}{mutation}\n",
        violation.invariant, violation.detail
    )
}
