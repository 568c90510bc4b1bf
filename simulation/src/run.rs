//! One run: a shop is opened, things go wrong, everything settles, and the books are checked.

use std::collections::BTreeMap;

use domain::{product, product::Product, stock, stock::Stock};
use event_schemas::{Metadata, StreamId, Timestamp, events::product::Description, ids::CommandId};
use fastrand::Rng;

use crate::{
    actors::{buyers, chaos, requests::Shop, staff},
    counts::Counts,
    log::{Part, Unit},
    mutation::Mutation,
    scheduler::Sim,
    server::{Simulated, Staging},
    shape::Shape,
    trace::Trace,
    verdict::Violation,
    world::{Role, World},
};

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How many steps it took.
    pub steps: u64,
    /// How many events are in its log.
    pub events: u64,
    /// What happened in it.
    pub counts: Counts,
    /// A hash of every step: the same for the same seed.
    pub trace_hash: u64,
    /// What did not hold.
    pub violation: Option<Violation>,
    /// The last lines of its trace, where it was to be kept.
    pub trace: Vec<String>,
}

/// Runs a shop from `seed`, with the rule broken that `mutation` says; keeps the last lines of its trace where `keeps_trace`.
#[must_use]
pub fn run(seed: u64, mutation: Option<Mutation>, keeps_trace: bool) -> Outcome {
    // Seeds that follow each other are not to be alike: mixed by a multiplication (Knuth's constant for 64 bits).
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6d65_7278);
    let shape = Shape::draw(&mut rng);
    let (buyers, sales) = (shape.buyers, shape.sales);
    let mut world = World::new(shape, rng, mutation, Trace::new(keeps_trace));
    open(&mut world);
    let sim = Sim::new(world);
    let actor = sim.clone();
    sim.spawn("chaos", async move { chaos::preside(&actor).await });
    for role in Role::ALL {
        let actor = sim.clone();
        sim.spawn("absence", async move { chaos::be_absent(&actor, role).await });
    }
    let actor = sim.clone();
    sim.spawn("latecomers", async move { buyers::come_late(&actor).await });
    for _ in 0..buyers {
        let actor = sim.clone();
        sim.spawn("buyer", async move { buyers::visit(&actor).await });
    }
    for _ in 0..sales {
        let actor = sim.clone();
        sim.spawn("flash sale", async move { staff::hold_sale(&actor).await });
    }
    let actor = sim.clone();
    sim.spawn("warehouse", async move { staff::count(&actor).await });
    let actor = sim.clone();
    sim.spawn("shelves", async move { staff::clear_away(&actor).await });
    let steps = sim.run();
    let mut world = sim.world();
    if world.violation.is_none()
        && let Err(Violation { invariant, detail }) = world.audit.finish(&world)
    {
        world.violate(invariant, detail);
    }
    let events = world.log.head().unsigned_abs();
    let end = world.rng.u64(..);
    world.trace.step([end, events, steps]);
    Outcome {
        seed,
        steps,
        events,
        counts: world.counts.clone(),
        trace_hash: world.trace.hash(),
        violation: world.violation.take(),
        trace: world.trace.lines(),
    }
}

/// The catalogue, and what is on hand at first.
fn open(world: &mut World) {
    for (n, sku) in (1..).zip(world.skus.clone()) {
        let description = Description {
            title: sku.to_string(),
            description: None,
            category: None,
            brand: None,
            images: Vec::new(),
            attributes: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        let create = product::Command::Create { sku: sku.clone(), description, price: Shop::pence(250 * n) };
        write::<Product>(world, &StreamId::product(&sku), &create);
        let quantity = world.rng.u32(0..=world.shape.units);
        write::<Stock>(world, &StreamId::stock(&sku), &stock::Command::Receive { quantity, reference: String::new() });
    }
}

fn write<A: Simulated>(world: &mut World, stream: &StreamId, command: &A::Command) {
    let (id, now) = (world.new_id(), Timestamp::from_micros(world.now));
    world.refresh::<A>(0, stream);
    if let Staging::Staged(events, expected_version) = world.stage::<A>(0, stream, command, now) {
        let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "client".into() };
        let part = Part { stream: stream.clone(), expected_version, metadata, recorded_at: now, events };
        let _ = world.append(&Unit::of(part, None));
    }
}
