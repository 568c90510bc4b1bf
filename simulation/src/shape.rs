//! What one run is like, drawn from its seed: how large the shop is, how long things go wrong and how badly.

use chrono::Duration;
use event_schemas::ids::Sku;
use fastrand::Rng;

/// The shape of a run.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub servers: usize,
    pub skus: usize,
    pub buyers: usize,
    pub customers: usize,
    pub sales: usize,
    /// The most units that each SKU has at first.
    pub units: u32,
    pub payment_deadline: Duration,
    /// Until when new things are asked for, in microseconds of true time.
    pub opens_until: i64,
    /// When things stop going wrong.
    pub settles_at: i64,
    /// How often things go wrong, each of a thousand times that they could.
    pub crashes: u32,
    pub pauses: u32,
    pub clock_jumps: u32,
    pub delays: u32,
    pub drops: u32,
    pub doubles: u32,
    pub unknown_outcomes: u32,
    pub takeovers: u32,
    /// How likely one that was replaced notices it before its next batch, of a hundred.
    pub notices: u32,
}

impl Shape {
    /// When every run begins, in microseconds since the Unix epoch.
    pub const BEGINS_AT: i64 = 1_767_225_600_000_000;

    /// The shape for a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        // Some runs are calm in one respect, so that not everything always drowns in everything else.
        let mut rate = |most: u32| if rng.u32(0..4) == 0 { 0 } else { rng.u32(1..=most) };
        let (crashes, pauses, clock_jumps, takeovers) = (rate(16), rate(16), rate(16), rate(4));
        let (delays, drops, doubles, unknown_outcomes) = (rate(150), rate(80), rate(60), rate(60));
        let open_s = rng.i64(20..400);
        let deadlines_s = [20, 60, 300, 900];
        Self {
            servers: rng.usize(1..=3),
            skus: rng.usize(1..=3),
            buyers: rng.usize(4..=16),
            customers: rng.usize(2..=4),
            sales: rng.usize(0..=2),
            units: rng.u32(4..=40),
            payment_deadline: Duration::seconds(deadlines_s[rng.usize(0..deadlines_s.len())]),
            opens_until: Self::BEGINS_AT + open_s * 1_000_000,
            settles_at: Self::BEGINS_AT + (open_s + rng.i64(30..900)) * 1_000_000,
            crashes,
            pauses,
            clock_jumps,
            delays,
            drops,
            doubles,
            unknown_outcomes,
            takeovers,
            notices: if rng.u32(0..3) == 0 { 4 } else { 25 },
        }
    }

    pub fn skus(&self) -> Vec<Sku> {
        ["A", "B", "C"].iter().take(self.skus).filter_map(|code| code.parse().ok()).collect()
    }
}
