fn main() {
    let n: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(2000);
    for m in simulation::Mutation::ALL {
        let mut first = None;
        let mut found = 0;
        let mut kinds = std::collections::BTreeMap::new();
        for seed in 0..n {
            let o = simulation::run(seed, Some(*m), false);
            if let Some(v) = o.violation {
                first.get_or_insert(seed);
                found += 1;
                *kinds.entry(v.invariant.to_string()).or_insert(0) += 1;
            }
        }
        println!("{m}: first {first:?}, {found} of {n}: {kinds:?}");
    }
}
