//! All there is in one run: what survives crashes (the log, what consumers keep, the gateway's book), the servers, and the chaos.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use command_api::process::{Changes, Reminder};
use domain::{cart::Cart, flash_sale::FlashSale, order::Order, payment::Payment, product::Product, stock::Stock};
use event_schemas::{
    StreamId, Timestamp,
    ids::{OrderId, Sku},
};
use event_store::Committed;
use fastrand::Rng;
use uuid::Uuid;

use crate::{
    audit::Audit,
    counts::{Counts, Sight},
    gateway::Gateway,
    log::{Log, Unit},
    mutation::Mutation,
    server::Cached,
    shape::Shape,
    trace::Trace,
    verdict::{Invariant, Violation},
};

/// A server, by its number.
pub(crate) type ServerId = usize;

/// What a server remembers of streams: gone with a crash.
#[derive(Default)]
pub(crate) struct Caches {
    pub carts: HashMap<StreamId, Cached<Cart>>,
    pub flash_sales: HashMap<StreamId, Cached<FlashSale>>,
    pub orders: HashMap<StreamId, Cached<Order>>,
    pub payments: HashMap<StreamId, Cached<Payment>>,
    pub products: HashMap<StreamId, Cached<Product>>,
    pub stock: HashMap<StreamId, Cached<Stock>>,
}

/// A process.
#[derive(Default)]
pub(crate) struct Server {
    pub caches: Caches,
    pub is_up: bool,
    /// Which life it is in: what it had under way belongs to the one before.
    pub life: u32,
    /// Until when it stands still, in microseconds of true time.
    pub stands_until: i64,
    /// By how much its clock is wrong, in microseconds.
    pub clock_offset: i64,
    /// True where it is of the version before: it was not replaced yet.
    pub is_older: bool,
}

/// Work that one server at a time does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    ProcessManagers,
    PaymentWorker,
}

impl Role {
    pub const ALL: [Self; 2] = [Self::ProcessManagers, Self::PaymentWorker];
}

/// Who has a role, and the how manieth that is: it counts up whenever another one takes over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    pub holder: ServerId,
    pub fence: u64,
}

/// What consumers keep beside the log.
#[derive(Default)]
pub(crate) struct Kept {
    pub positions: [i64; 2],
    pub leases: [Lease; 2],
    /// Until when nobody has a role, in microseconds of true time.
    pub away_until: [i64; 2],
    pub reminders: BTreeMap<Reminder, Timestamp>,
    pub open_payments: BTreeSet<OrderId>,
}

impl Kept {
    pub fn position(&self, role: Role) -> i64 {
        self.positions[role as usize]
    }

    pub fn lease(&self, role: Role) -> Lease {
        self.leases[role as usize]
    }

    /// Whether nobody else has taken a role over since the one with this fence did.
    pub fn stands(&self, role: Role, fence: u64) -> bool {
        self.lease(role).fence == fence
    }

    /// Moves a checkpoint from where its mover read it; whether it stood there.
    pub fn advance(&mut self, role: Role, from: i64, to: i64) -> bool {
        let stood = self.positions[role as usize] == from;
        if stood {
            self.positions[role as usize] = to;
        }
        stood
    }

    /// As the table does: where a reminder is set already, the earlier time stays.
    pub fn change(&mut self, changes: &Changes) {
        for (reminder, change) in changes.iter() {
            match change {
                Some(at) => {
                    let due = self.reminders.entry(reminder.clone()).or_insert(at);
                    *due = (*due).min(at);
                }
                None => drop(self.reminders.remove(reminder)),
            }
        }
    }

    /// What was due and has been seen to is forgotten; what was set anew meanwhile, for later, stays.
    pub fn done(&mut self, now: Timestamp, seen_to: &[Reminder]) {
        for reminder in seen_to {
            if self.reminders.get(reminder).is_some_and(|due| *due <= now) {
                self.reminders.remove(reminder);
            }
        }
    }
}

/// One run's world.
pub(crate) struct World {
    pub rng: Rng,
    /// The true time, in microseconds.
    pub now: i64,
    pub shape: Shape,
    pub mutation: Option<Mutation>,
    pub log: Log,
    pub kept: Kept,
    pub gateway: Gateway,
    pub servers: Vec<Server>,
    pub skus: Vec<Sku>,
    pub audit: Audit,
    pub counts: Counts,
    pub trace: Trace,
    pub violation: Option<Violation>,
    ids: u64,
}

impl World {
    pub fn new(shape: Shape, mut rng: Rng, mutation: Option<Mutation>, trace: Trace) -> Self {
        let rolls_out = rng.u32(0..3) == 0;
        let server = |_| Server {
            is_up: true,
            clock_offset: rng.i64(-3_000_000..=3_000_000),
            is_older: rolls_out && rng.bool(),
            ..Server::default()
        };
        let servers = (0..shape.servers).map(server).collect();
        let mut log = Log::default();
        log.skips_version_check = mutation == Some(Mutation::VersionCheckSkipped);
        Self {
            rng,
            now: Shape::BEGINS_AT,
            mutation,
            log,
            kept: Kept::default(),
            gateway: Gateway::default(),
            servers,
            skus: shape.skus(),
            audit: Audit::default(),
            counts: Counts::default(),
            trace,
            violation: None,
            ids: 0,
            shape,
        }
    }

    /// A new id: unlike every other one, in the order of time, and the same one for the same seed.
    pub fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        // Version 7: milliseconds, then what is random. The low bits leave room for the ids of a command's events, which count up.
        let millis = u128::from(self.now.unsigned_abs() / 1_000) << 80;
        let low = u128::from(self.rng.u32(..)) << 24;
        Uuid::from_u128(millis | 0x7 << 76 | 0x2 << 62 | u128::from(self.ids & 0xfff) << 64 | (low & ((1 << 62) - 1)))
    }

    pub fn is_mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Returns true where a server is of the version before.
    pub fn is_older(&self, server: ServerId) -> bool {
        self.servers.get(server).is_some_and(|server| server.is_older)
    }

    /// Whether things still go wrong.
    pub fn is_chaos(&self) -> bool {
        self.now < self.shape.settles_at
    }

    /// Whether something goes wrong that does `per_mille` of the time.
    pub fn strikes(&mut self, per_mille: u32) -> bool {
        self.is_chaos() && self.rng.u32(0..1_000) < per_mille
    }

    /// What a server takes for the time.
    pub fn clock(&self, server: ServerId) -> Timestamp {
        Timestamp::from_micros(self.now + self.servers.get(server).map_or(0, |server| server.clock_offset))
    }

    pub fn see(&mut self, sight: Sight) {
        self.counts.see(sight);
    }

    /// Something must not be.
    pub fn violate(&mut self, invariant: Invariant, detail: String) {
        self.trace.note(self.now, || format!("VIOLATED {invariant}: {detail}"));
        self.violation.get_or_insert(Violation { invariant, detail });
    }

    /// Appends, and has what was appended audited.
    pub fn append(&mut self, unit: &Unit) -> Result<Committed, event_store::Error> {
        let before = self.log.head();
        let torn = self.mutation == Some(Mutation::UnitsTornApart) && unit.parts.len() > 1 && self.rng.bool();
        let outcome = if torn {
            let torn = Unit { parts: unit.parts.iter().take(1).cloned().collect(), answer: unit.answer };
            self.log.append(&torn).and(Err(event_store::Error::Unavailable("torn apart".into())))
        } else {
            self.log.append(unit)
        };
        match &outcome {
            Ok(Committed { repeated: true, .. }) => self.counts.see(Sight::Repeated),
            Err(event_store::Error::Conflict) => self.counts.see(Sight::Conflict),
            Err(event_store::Error::KeyTaken) => self.counts.see(Sight::KeyTaken),
            _ => {}
        }
        for recorded in self.log.after(before) {
            let (at, stream, version) = (recorded.position, &recorded.stream, recorded.version);
            self.trace.note(self.now, || format!("log {at}: {stream} {version} {:?}", recorded.event));
            if let Err(violation) = self.audit.take(recorded, &mut self.counts) {
                self.trace.note(self.now, || format!("VIOLATED {}: {}", violation.invariant, violation.detail));
                self.violation.get_or_insert(violation);
            }
        }
        if self.log.head() > before
            && let Err(violation) = self.audit.after_unit()
        {
            self.violation.get_or_insert(violation);
        }
        outcome
    }
}
