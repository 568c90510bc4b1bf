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
    /// True where all buyers come at once, for the few units there are, which are gone as soon as nobody holds them.
    pub is_rush: bool,
    /// Until when buyers come, in microseconds of true time.
    pub buyers_until: i64,
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
    /// The chance that a role is away past every deadline, of a hundred.
    pub absences: u32,
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
        // Clocks that are far ahead end holds of whoever is about to pay; in a rush somebody else has the units at once.
        let is_rush = rng.u32(0..3) == 0;
        let clock_jumps = if is_rush { rng.u32(30..90) } else { clock_jumps };
        let open_s = rng.i64(20..400);
        let deadlines_s = [20, 60, 300, 900];
        Self {
            servers: rng.usize(1..=3),
            skus: rng.usize(1..=3),
            buyers: rng.usize(4..=16),
            customers: rng.usize(2..=4),
            sales: rng.usize(0..=2),
            units: if is_rush { rng.u32(3..=9) } else { rng.u32(4..=40) },
            payment_deadline: Duration::seconds(deadlines_s[rng.usize(0..deadlines_s.len())]),
            is_rush,
            buyers_until: Self::BEGINS_AT + if is_rush { 15 } else { open_s } * 1_000_000,
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
            absences: if rng.u32(0..3) == 0 { 60 } else { 0 },
            notices: if rng.u32(0..3) == 0 { 4 } else { 25 },
        }
    }

    /// Longer than any reservation holds, in microseconds.
    pub fn longest_hold(&self) -> i64 {
        self.payment_deadline.num_microseconds().unwrap_or(0) * 4 / 3 + 60_000_000
    }

    pub fn skus(&self) -> Vec<Sku> {
        ["A", "B", "C"].iter().take(self.skus).filter_map(|code| code.parse().ok()).collect()
    }
}
