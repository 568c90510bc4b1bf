//! Whole journeys over HTTP, from the empty cart to the confirmed order, against the real `merx serve` with its embedded Postgres.

mod shop;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;

use crate::{
    Extent,
    error::Error,
    load::{Latencies, Load, drive},
    process::Merx,
    report::{Report, Run},
};
use shop::{Buyer, Shop};

/// How checkouts are measured.
#[derive(Debug, Args)]
pub struct Options {
    /// The program to measure at `checkout`, `end-to-end` and `failover`; by default the `merx` beside this program.
    #[arg(long)]
    pub merx: Option<PathBuf>,
    /// Buyers at one time at `checkout`.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    buyers: u16,
    /// Products of the shop at `checkout`.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    products: u16,
    /// How long a buyer at `checkout` waits before asking again whether the order is confirmed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    poll_ms: u64,
    /// What another shop did on this machine, to be the baseline of `checkout`.
    #[arg(long)]
    baseline_per_second: Option<f64>,
}

/// Measures checkouts; fails where an order is not confirmed or stock does not add up.
pub async fn run(options: &Options, extent: Extent) -> Result<Report, Error> {
    let merx = Merx::start(options.merx.as_deref(), &[], &[]).await?;
    let shop = Arc::new(Shop::open(&merx, usize::from(options.products)).await?);
    let mut buyers = Vec::new();
    for seed in 0..options.buyers {
        buyers.push(Buyer::enter(Arc::clone(&shop), u64::from(seed), Duration::from_millis(options.poll_ms)).await?);
    }
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        (_, buyers) = drive(buyers, extent.warm_up(), None).await?;
        for buyer in &mut buyers {
            buyer.take_tally(); // of the warm-up
        }
        let load;
        (load, buyers) = drive(buyers, extent.turn, Some(&[merx.pid()])).await?;
        eprintln!("run {nth}: {:.0} checkouts/s", load.per_second());
        runs.push(row(&load, &mut buyers));
    }
    shop.audit(&buyers).await?;
    let sold = shop.sell_out(buyers).await?;
    eprintln!("every order is confirmed and stock adds up; of {} units that too many wanted, exactly {sold} were sold", shop::SCARCE);
    merx.stop().await?;
    Ok(Report::of("checkout", runs).against(options.baseline_per_second))
}

fn row(load: &Load, buyers: &mut [Buyer]) -> Run {
    let mut polls = 0;
    let mut requests = Vec::new();
    for buyer in buyers {
        let tally = buyer.take_tally();
        polls += tally.polls;
        requests.extend(tally.checkouts);
    }
    let requests = Latencies::of(requests);
    vec![
        ("per_second", Some(load.per_second())),
        ("p50_ms", Some(load.quantile_ms(500))),
        ("p99_ms", Some(load.quantile_ms(990))),
        ("cpu_ms_each", load.cpu_ms_each()),
        ("checkout_request_p50_ms", Some(requests.quantile_ms(500))),
        ("checkout_request_p99_ms", Some(requests.quantile_ms(990))),
        ("polls_each", Some(f64::from(polls) / f64::from(load.calls().max(1)))),
    ]
}
