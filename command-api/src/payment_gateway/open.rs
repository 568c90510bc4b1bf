//! Which payments are not settled, and what of that must be written down for whoever comes after a crash.

use std::collections::{HashMap, HashSet};

use event_schemas::{Timestamp, ids::OrderId};

/// What waits for its next attempt, and what of it is written down.
#[derive(Debug, Clone, Default)]
pub struct Open {
    waiting: HashMap<OrderId, Timestamp>,
    written: HashSet<OrderId>,
    position: i64,
}

/// What is to be written down, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// Where the checkpoint must stand.
    pub from: i64,
    /// Where it goes.
    pub to: i64,
    /// Payments that are open from now on, in order.
    pub added: Vec<OrderId>,
    /// Payments that no longer are, in order.
    pub gone: Vec<OrderId>,
}

impl Open {
    /// What was open when the worker before this one stopped.
    #[must_use]
    pub fn found(position: i64, written: impl IntoIterator<Item = OrderId>) -> Self {
        Self { waiting: HashMap::new(), written: written.into_iter().collect(), position }
    }

    /// What is written down, in order.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderId> {
        sorted(self.written.iter().copied())
    }

    /// How many wait for their next attempt.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits for its next attempt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A payment waits for its next attempt.
    pub fn wait(&mut self, order: OrderId, until: Timestamp) {
        self.waiting.insert(order, until);
    }

    /// A payment needs nothing more.
    pub fn settled(&mut self, order: OrderId) {
        self.waiting.remove(&order);
    }

    /// When the first attempt is due that is not under way.
    pub fn next_due(&self, is_busy: impl Fn(&OrderId) -> bool) -> Option<Timestamp> {
        self.waiting.iter().filter(|(order, _)| !is_busy(order)).map(|(_, at)| *at).min()
    }

    /// Takes out what is due at `now`, in order.
    pub fn due(&mut self, now: Timestamp) -> Vec<OrderId> {
        sorted(self.waiting.extract_if(|_, at| *at <= now).map(|(order, _)| order))
    }

    /// Whether what is written down is not what is open.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.waiting.len() != self.written.len() || self.waiting.keys().any(|order| !self.written.contains(order))
    }

    /// What must be written down so that what is open (`busy` is, too) is known, and that everything up to `position` is either settled or
    /// open; none where that is so.
    #[must_use]
    pub fn writing(&self, busy: &[OrderId], position: i64) -> Option<Writing> {
        let open: HashSet<OrderId> = self.waiting.keys().chain(busy).copied().collect();
        let added = sorted(open.difference(&self.written).copied());
        let gone = sorted(self.written.difference(&open).copied());
        let needed = !added.is_empty() || !gone.is_empty() || position != self.position;
        needed.then_some(Writing { from: self.position, to: position, added, gone })
    }

    /// Notes what has been written down.
    pub fn written(&mut self, writing: &Writing) {
        self.written.extend(&writing.added);
        self.written.retain(|order| writing.gone.binary_search(order).is_err());
        self.position = writing.to;
    }
}

fn sorted(orders: impl Iterator<Item = OrderId>) -> Vec<OrderId> {
    let mut orders: Vec<OrderId> = orders.collect();
    orders.sort_unstable();
    orders
}
