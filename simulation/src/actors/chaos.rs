//! What goes wrong with servers: they crash and come back, stand still and go on, and others take their roles over.

use crate::{
    counts::Sight,
    mutation::Mutation,
    scheduler::Sim,
    world::{Role, ServerId, World},
};

/// How long a lease holds without being renewed, in microseconds.
const LEASE: i64 = 5_000_000;

/// A server is gone, with all it had in memory; it comes back.
pub(crate) fn crash(sim: &Sim, server: ServerId) {
    let back_at = {
        let mut world = sim.world();
        let Some(state) = world.servers.get_mut(server).filter(|server| server.is_up) else { return };
        state.is_up = false;
        state.life += 1;
        state.stands_until = 0;
        state.caches = crate::world::Caches::default();
        world.see(Sight::Crash);
        let now = world.now;
        world.trace.note(now, || format!("server {server} crashes"));
        if world.is_mutated(Mutation::CommandsForgotten) {
            world.log.forget_commands();
        }
        now + world.rng.i64(200_000..20_000_000)
    };
    for role in Role::ALL {
        lose(sim, server, role, true);
    }
    let actor = sim.clone();
    sim.spawn("restart", async move {
        actor.until(back_at).await;
        let mut world = actor.world();
        let now = world.now;
        world.trace.note(now, || format!("server {server} is back"));
        let offset = if world.is_chaos() { world.rng.i64(-3_000_000..=3_000_000) } else { 0 };
        // Perhaps it was replaced by the new version meanwhile.
        let is_older = world.is_older(server) && world.rng.bool();
        if let Some(state) = world.servers.get_mut(server) {
            state.is_up = true;
            state.is_older = is_older;
            state.clock_offset = offset;
        }
    });
}

/// A server stands still, as after SIGSTOP, and goes on where it was.
pub(crate) fn pause(sim: &Sim, server: ServerId) {
    {
        let mut world = sim.world();
        let length = match world.rng.u32(0..4) {
            0 => world.rng.i64(20_000_000..400_000_000),
            _ => world.rng.i64(100_000..12_000_000),
        };
        let until = (world.now + length).min(world.shape.settles_at);
        if let Some(state) = world.servers.get_mut(server) {
            state.stands_until = until;
        }
        world.see(Sight::Pause);
        let now = world.now;
        world.trace.note(now, || format!("server {server} stands still for {length} microseconds"));
    }
    for role in Role::ALL {
        lose(sim, server, role, false);
    }
}

/// The holder of a role does not renew its lease any more: another one takes over once it has run out, unless the holder goes on before.
fn lose(sim: &Sim, server: ServerId, role: Role, has_crashed: bool) {
    let lease = sim.world().kept.lease(role);
    if lease.holder != server {
        return;
    }
    let actor = sim.clone();
    sim.spawn("lease", async move {
        actor.sleep(LEASE).await;
        let (is_same, goes_on) = {
            let world = actor.world();
            let goes_on = !has_crashed && world.servers.get(server).is_some_and(|state| state.is_up && state.stands_until <= world.now);
            (world.kept.lease(role) == lease, goes_on)
        };
        if is_same && !goes_on {
            take_over(&actor, role).await;
        }
    });
}

/// Some server that works takes a role.
pub(crate) async fn take_over(sim: &Sim, role: Role) {
    loop {
        let chosen = {
            let mut world = sim.world();
            let now = world.now;
            let works = world.servers.iter().enumerate().filter(|(_, server)| server.is_up && server.stands_until <= now);
            let able: Vec<ServerId> = works.map(|(id, _)| id).collect();
            if able.is_empty() {
                None
            } else {
                let holder = able[world.rng.usize(0..able.len())];
                let lease = &mut world.kept.leases[role as usize];
                lease.holder = holder;
                lease.fence += 1;
                let fence = lease.fence;
                world.see(Sight::Takeover);
                world.trace.note(now, || format!("server {holder} takes over {role:?}, fence {fence}"));
                Some((holder, fence))
            }
        };
        let Some((holder, fence)) = chosen else {
            sim.sleep(1_000_000).await;
            continue;
        };
        let actor = sim.clone();
        match role {
            Role::ProcessManagers => {
                sim.spawn_on(holder, "process managers", async move { super::processes::run(&actor, holder, fence).await });
            }
            Role::PaymentWorker => {
                sim.spawn_on(holder, "payment worker", async move { super::payments::run(&actor, holder, fence).await });
            }
        }
        return;
    }
}

/// Whether a runner goes on: it may notice late that another one has its role.
pub(crate) fn is_in_charge(sim: &Sim, role: Role, fence: u64) -> bool {
    let mut world = sim.world();
    let notices = world.shape.notices;
    world.kept.stands(role, fence) || (world.is_chaos() && world.rng.u32(0..100) >= notices)
}

/// Whether a runner or worker may write what it keeps: not once another one has its role, which may change what it counts on. As
/// `event_store::lease::stands`, within the transaction.
pub(crate) fn may_write(world: &mut World, role: Role, fence: u64) -> bool {
    let may = world.kept.stands(role, fence) || world.is_mutated(Mutation::FenceIgnored);
    if !may {
        world.see(Sight::FencedOff);
    }
    may
}

/// Gives every role to somebody; at random others take over, though the holder still thinks it is in charge; in the end everything works.
pub(crate) async fn preside(sim: &Sim) {
    for role in Role::ALL {
        take_over(sim, role).await;
    }
    loop {
        let (rate, length) = {
            let mut world = sim.world();
            (world.shape.takeovers, world.rng.i64(1_000_000..30_000_000))
        };
        sim.sleep(length).await;
        if !sim.world().is_chaos() {
            break;
        }
        for role in Role::ALL {
            let strikes = sim.world().strikes(rate * 40);
            if strikes {
                take_over(sim, role).await;
            }
        }
    }
    let servers = sim.world().servers.len();
    for server in 0..servers {
        if let Some(state) = sim.world().servers.get_mut(server) {
            state.clock_offset = 0;
        }
    }
    // By now every server that crashed is back.
    sim.sleep(60_000_000).await;
    for role in Role::ALL {
        take_over(sim, role).await;
    }
}
