//! The scheduler: runs the actors' steps one at a time, in the order of the times that the seed drew for them.
//!
//! An actor is a future; where it awaits, it names the time of its next step or what wakes it. A server's actors die with it.

use std::{
    cell::{RefCell, RefMut},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{
    counts::Sight,
    verdict::Invariant,
    world::{ServerId, World},
};

/// The most steps of a run.
const MAX_STEPS: u64 = 500_000;

type Actor = Pin<Box<dyn Future<Output = ()>>>;
pub(crate) type TaskId = usize;

/// Whose an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Of the world outside: clients, the network, the gateway. It never crashes.
    World,
    /// Of a server in one of its lives.
    Server(ServerId, u32),
}

struct Task {
    owner: Owner,
    name: &'static str,
    actor: Option<Actor>,
}

struct Spawned {
    owner: Owner,
    name: &'static str,
    actor: Actor,
}

/// The steps to come.
#[derive(Default)]
struct Agenda {
    /// When, in which order of those at one time, who, and which of its parks it is for; 0 is none.
    queue: BinaryHeap<Reverse<(i64, u32, TaskId, u64)>>,
    spawned: Vec<Spawned>,
    tasks: usize,
    current: TaskId,
    /// The owner of the current task.
    owner: Option<Owner>,
    /// Who is to be woken when the log has more.
    watchers: Vec<TaskId>,
    parks: u64,
    /// The newest park of each task: what was to end an older one means nothing any more.
    parked: BTreeMap<TaskId, u64>,
}

/// What actors hold of their world.
#[derive(Clone)]
pub(crate) struct Sim {
    world: Rc<RefCell<World>>,
    agenda: Rc<RefCell<Agenda>>,
}

impl Sim {
    pub fn new(world: World) -> Self {
        Self { world: Rc::new(RefCell::new(world)), agenda: Rc::default() }
    }

    /// The world; never held over an await.
    pub fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    /// Begins an actor of the world outside.
    pub fn spawn(&self, name: &'static str, actor: impl Future<Output = ()> + 'static) {
        self.begin(Owner::World, name, Box::pin(actor));
    }

    /// Begins an actor of a server, as it lives now.
    pub fn spawn_on(&self, server: ServerId, name: &'static str, actor: impl Future<Output = ()> + 'static) {
        let life = self.world().servers.get(server).map_or(0, |server| server.life);
        self.begin(Owner::Server(server, life), name, Box::pin(actor));
    }

    /// Begins an actor that dies with the current one's server.
    pub fn spawn_here(&self, name: &'static str, actor: impl Future<Output = ()> + 'static) {
        let owner = self.agenda.borrow().owner.unwrap_or(Owner::World);
        self.begin(owner, name, Box::pin(actor));
    }

    fn begin(&self, owner: Owner, name: &'static str, actor: Actor) {
        let at = self.world().now;
        let mut agenda = self.agenda.borrow_mut();
        let task = agenda.tasks;
        agenda.tasks += 1;
        agenda.spawned.push(Spawned { owner, name, actor });
        drop(agenda);
        self.wake(task, at);
    }

    /// Lets a task go on at a time. Where several go on at one time, the seed says who is first.
    pub fn wake(&self, task: TaskId, at: i64) {
        self.wake_from(task, at, 0);
    }

    fn wake_from(&self, task: TaskId, at: i64, park: u64) {
        let order = self.world().rng.u32(..);
        self.agenda.borrow_mut().queue.push(Reverse((at, order, task, park)));
    }

    /// The task that is running.
    pub fn current_task(&self) -> TaskId {
        self.agenda.borrow().current
    }

    /// Goes on at a true time, in microseconds.
    pub fn until(&self, at: i64) -> Until {
        Until { sim: self.clone(), at, is_set: false }
    }

    /// Goes on after so many microseconds.
    pub fn sleep(&self, micros: i64) -> Until {
        let now = self.world().now;
        self.until(now + micros.max(1))
    }

    /// A step of computing, or a message within the data centre: short, but for when things go wrong.
    pub fn hop(&self) -> Until {
        let at = {
            let mut world = self.world();
            let delays = world.shape.delays;
            let micros = if world.strikes(delays) {
                match world.rng.u32(0..20) {
                    0 => world.rng.i64(20_000_000..400_000_000),
                    1..4 => world.rng.i64(500_000..20_000_000),
                    _ => world.rng.i64(5_000..500_000),
                }
            } else {
                world.rng.i64(50..4_000)
            };
            world.now + micros
        };
        self.until(at)
    }

    /// Goes on when the log has more than now, or something else woke it, or at a true time.
    pub fn park(&self, until: Option<i64>) -> Park {
        Park { sim: self.clone(), until, is_set: false }
    }

    /// Lets those go on that wait for the log to have more.
    pub fn wake_watchers(&self) {
        let watchers = std::mem::take(&mut self.agenda.borrow_mut().watchers);
        for task in watchers {
            let at = {
                let mut world = self.world();
                world.now + world.rng.i64(50..20_000)
            };
            self.wake(task, at);
        }
    }

    /// Runs all actors until nothing is left to do, a rule is broken, or it takes too long; the number of steps.
    pub fn run(&self) -> u64 {
        let steps = self.run_tasks();
        // What was begun and never ran holds this world: let go of it.
        self.agenda.borrow_mut().spawned.clear();
        steps
    }

    fn run_tasks(&self) -> u64 {
        let mut tasks: Vec<Task> = Vec::new();
        let mut steps = 0;
        loop {
            let next = {
                let mut agenda = self.agenda.borrow_mut();
                let new = agenda.spawned.drain(..).map(|Spawned { owner, name, actor }| Task { owner, name, actor: Some(actor) });
                tasks.extend(new);
                agenda.queue.pop()
            };
            let Some(Reverse((at, _, id, park))) = next else { return steps };
            let Some(task) = tasks.get_mut(id) else { continue };
            let is_stale = park != 0 && self.agenda.borrow().parked.get(&id) != Some(&park);
            if task.actor.is_none() || is_stale || !self.may_step(task, (at, id, park)) {
                continue;
            }
            steps += 1;
            if steps > MAX_STEPS {
                self.world().violate(Invariant::Settles, format!("there is still something to do after {MAX_STEPS} steps"));
            }
            if self.world().violation.is_some() {
                return steps;
            }
            self.step(task, id);
        }
    }

    /// Whether a task is to make its step now: not where its server has crashed or stands still, which it may do right before the step.
    fn may_step(&self, task: &mut Task, (at, id, park): (i64, TaskId, u64)) -> bool {
        let mut world = self.world();
        world.now = world.now.max(at);
        let Owner::Server(server, life) = task.owner else { return true };
        drop(world);
        self.strike(server);
        let world = self.world();
        let Some(state) = world.servers.get(server) else { return false };
        if state.life != life || !state.is_up {
            drop(world);
            task.actor = None;
            return false;
        }
        if state.stands_until > world.now {
            let at = state.stands_until;
            drop(world);
            self.wake_from(id, at, park);
            return false;
        }
        true
    }

    fn step(&self, task: &mut Task, id: TaskId) {
        {
            let mut agenda = self.agenda.borrow_mut();
            agenda.current = id;
            agenda.owner = Some(task.owner);
        }
        let head = {
            let mut world = self.world();
            let (now, head) = (world.now, world.log.head());
            world.trace.step([now.unsigned_abs(), id as u64, head.unsigned_abs()]);
            let (owner, name) = (task.owner, task.name);
            world.trace.note(now, || match owner {
                Owner::World => format!("  step of {name} {id}"),
                Owner::Server(server, _) => format!("  step of {name} {id} on server {server}"),
            });
            head
        };
        let mut context = Context::from_waker(Waker::noop());
        if let Some(actor) = &mut task.actor
            && actor.as_mut().poll(&mut context).is_ready()
        {
            task.actor = None;
        }
        if self.world().log.head() > head {
            self.wake_watchers();
        }
    }

    /// Perhaps something happens to a server.
    fn strike(&self, server: ServerId) {
        let mut world = self.world();
        if !world.is_chaos() || world.rng.u32(0..8) != 0 {
            return;
        }
        let (crashes, pauses, jumps) = (world.shape.crashes, world.shape.pauses, world.shape.clock_jumps);
        if world.strikes(crashes) {
            drop(world);
            crate::actors::chaos::crash(self, server);
        } else if world.strikes(pauses) {
            drop(world);
            crate::actors::chaos::pause(self, server);
        } else if world.strikes(jumps) {
            let jump = match world.rng.u32(0..12) {
                0 | 1 => world.rng.i64(-24..=24) * 3_600_000_000,
                2..6 => world.rng.i64(-1_200..=1_200) * 1_000_000,
                _ => world.rng.i64(-8_000_000..=8_000_000),
            };
            world.see(Sight::ClockJump);
            let now = world.now;
            world.trace.note(now, || format!("the clock of server {server} jumps to {jump} microseconds beside the true time"));
            if let Some(server) = world.servers.get_mut(server) {
                server.clock_offset = jump;
            }
            drop(world);
            self.wake_watchers();
        }
    }
}

/// See [`Sim::until`].
pub(crate) struct Until {
    sim: Sim,
    at: i64,
    is_set: bool,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.is_set && self.sim.world().now >= self.at {
            return Poll::Ready(());
        }
        if !self.is_set {
            self.is_set = true;
            self.sim.wake(self.sim.current_task(), self.at);
        }
        Poll::Pending
    }
}

/// See [`Sim::park`].
pub(crate) struct Park {
    sim: Sim,
    until: Option<i64>,
    is_set: bool,
}

impl Future for Park {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let task = self.sim.current_task();
        if self.is_set {
            self.sim.agenda.borrow_mut().parked.remove(&task);
            return Poll::Ready(());
        }
        self.is_set = true;
        let park = {
            let mut agenda = self.sim.agenda.borrow_mut();
            if !agenda.watchers.contains(&task) {
                agenda.watchers.push(task);
            }
            agenda.parks += 1;
            let park = agenda.parks;
            agenda.parked.insert(task, park);
            park
        };
        if let Some(at) = self.until {
            let at = at.max(self.sim.world().now + 1);
            self.sim.wake_from(task, at, park);
        }
        Poll::Pending
    }
}

/// Where an answer will be: for one who waits, from one who answers.
pub(crate) struct Slot<T>(Rc<RefCell<Inner<T>>>);

struct Inner<T> {
    value: Option<T>,
    waits: Option<TaskId>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Slot<T> {
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(Inner { value: None, waits: None })))
    }

    /// Answers, unless there is an answer already.
    pub fn answer(&self, sim: &Sim, value: T) {
        let mut inner = self.0.borrow_mut();
        inner.value.get_or_insert(value);
        if let Some(task) = inner.waits {
            let now = sim.world().now;
            sim.wake(task, now);
        }
    }

    /// Waits for the answer, up to a true time.
    pub async fn wait(&self, sim: &Sim, until: i64) -> Option<T> {
        let mut is_set = false;
        std::future::poll_fn(|_| {
            let mut inner = self.0.borrow_mut();
            if let Some(value) = inner.value.take() {
                return Poll::Ready(Some(value));
            }
            if sim.world().now >= until {
                return Poll::Ready(None);
            }
            inner.waits = Some(sim.current_task());
            if !is_set && until < i64::MAX {
                sim.wake(sim.current_task(), until);
            }
            is_set = true;
            Poll::Pending
        })
        .await
    }
}
