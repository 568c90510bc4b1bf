//! x
fn main() {
    let mut args = std::env::args().skip(1);
    let from: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(0);
    let n: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(100);
    let mut counts = simulation::Counts::default();
    let start = std::time::Instant::now();
    let (mut steps, mut events, mut failures) = (0, 0, 0);
    for seed in from..from + n {
        let o = simulation::run(seed, None, n == 1);
        steps += o.steps; events += o.events;
        counts += &o.counts;
        if let Some(v) = o.violation { failures += 1; println!("seed {seed}: {}: {}", v.invariant, v.detail);
            for l in &o.trace { println!("{l}"); } }
    }
    println!("{counts}{n} seeds {steps} steps {events} events {failures} failures in {:?}", start.elapsed());
}
