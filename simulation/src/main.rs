//! Runs the simulator: `cargo run --release -p simulation -- --seeds 1000000`.

use std::{
    io::{IsTerminal as _, Write as _, stderr, stdout},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use simulation::{Mutation, Outcome, campaign, run, told};

/// Simulates whole shops in memory, one for each seed, and checks that nothing is lost, sold twice or charged twice.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000_000_000_000))]
    from: u64,
    /// Runs this seed alone and prints its trace.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Breaks a rule on purpose.
    #[arg(long)]
    mutation: Option<Mutation>,
    /// Prints how often each interesting thing happened.
    #[arg(long)]
    counts: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let told = match arguments.seed {
        Some(seed) => one(&run(seed, arguments.mutation, true)),
        None => many(&arguments),
    };
    let (text, is_right) = told;
    // A reader that has gone away is no failure of the simulation.
    let _ = stdout().write_all(text.as_bytes());
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run: its trace, and what came of it.
fn one(outcome: &Outcome) -> (String, bool) {
    let trace = outcome.trace.iter().fold(String::new(), |text, line| text + line + "\n");
    let Outcome { seed, steps, events, trace_hash, violation, .. } = outcome;
    let end = violation.as_ref().map_or_else(|| "all held".to_owned(), |broken| format!("{}: {}", broken.invariant, broken.detail));
    (format!("{trace}seed {seed}: {steps} steps, {events} events, trace {trace_hash:016x}: {end}\n"), violation.is_none())
}

fn many(arguments: &Arguments) -> (String, bool) {
    let Arguments { seeds, from, mutation, counts, .. } = arguments;
    let bar = if stderr().is_terminal() { ProgressBar::new(*seeds) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos} of {len} seeds, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let begun = Instant::now();
    let summary = campaign(*from..from + seeds, *mutation, |more| bar.inc(more));
    bar.finish_and_clear();
    let failures: String = summary.failed.iter().map(|failed| told(failed, *mutation)).collect();
    let counts = if *counts { summary.counts.to_string() } else { String::new() };
    (format!("{failures}{counts}{summary} in {:.1} s\n", begun.elapsed().as_secs_f64()), summary.failures == 0)
}
