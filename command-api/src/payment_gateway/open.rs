//! Which payments are not settled, and what of that must be written down for whoever comes after a crash. Nothing here looks at all of them:
//! what changes, and what is due first, is known without.

use std::collections::{BTreeMap, BTreeSet};

use event_schemas::{Timestamp, ids::OrderId};

/// The payments, by their orders, that wait for their next attempt or are being worked on, and what of it is written down.
#[derive(Debug, Clone)]
pub struct Open<Order = OrderId> {
    /// The time at which each that waits is due; none for one that is being worked on.
    due_at: BTreeMap<Order, Option<Timestamp>>,
    /// Those that wait, the first due first.
    waiting: BTreeSet<(Timestamp, Order)>,
    /// Those that are written down.
    written: BTreeSet<Order>,
    /// Those of which what is written down is no longer so.
    changed: BTreeSet<Order>,
    position: i64,
}

/// What is to be written down, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing<Order = OrderId> {
    /// Where the checkpoint must stand.
    pub from: i64,
    /// Where it goes.
    pub to: i64,
    /// Payments that are open from now on, in order.
    pub added: Vec<Order>,
    /// Payments that no longer are, in order.
    pub gone: Vec<Order>,
}

impl<Order: Ord + Copy> Open<Order> {
    /// The payments as the worker before this one left them, written down at `position`: whoever takes over begins with all of them.
    #[must_use]
    pub fn found(position: i64, written: impl IntoIterator<Item = Order>) -> Self {
        let written: BTreeSet<Order> = written.into_iter().collect();
        Self { due_at: BTreeMap::new(), waiting: BTreeSet::new(), changed: written.clone(), written, position }
    }

    /// What is written down, in order.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        self.written.iter().copied().collect()
    }

    /// The number of payments that wait or are being worked on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due_at.len()
    }

    /// Returns true where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due_at.is_empty()
    }

    /// A payment is being worked on.
    pub fn begin(&mut self, order: Order) {
        self.put(order, Some(None));
    }

    /// A payment waits for its next attempt.
    pub fn wait(&mut self, order: Order, until: Timestamp) {
        self.put(order, Some(Some(until)));
    }

    /// A payment needs nothing more.
    pub fn settled(&mut self, order: Order) {
        self.put(order, None);
    }

    fn put(&mut self, order: Order, to: Option<Option<Timestamp>>) {
        let before = match to {
            Some(due) => self.due_at.insert(order, due),
            None => self.due_at.remove(&order),
        };
        if let Some(due) = before.flatten() {
            self.waiting.remove(&(due, order));
        }
        if let Some(due) = to.flatten() {
            self.waiting.insert((due, order));
        }
        if to.is_some() == self.written.contains(&order) {
            self.changed.remove(&order);
        } else {
            self.changed.insert(order);
        }
    }

    /// When the first attempt is due that is not under way.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The payments that wait and are due at `now`, in order.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<Order> {
        let mut due: Vec<Order> = self.waiting.iter().take_while(|(due, _)| *due <= now).map(|(_, order)| *order).collect();
        due.sort_unstable();
        due
    }

    /// Whether what is written down is not what is open.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The writing after which what is open is known, and that everything up to `position` is either settled or open; none where that is so
    /// already.
    #[must_use]
    pub fn writing(&self, position: i64) -> Option<Writing<Order>> {
        let (added, gone) = self.changed.iter().partition(|order| self.due_at.contains_key(order));
        let needed = self.is_changed() || position != self.position;
        needed.then_some(Writing { from: self.position, to: position, added, gone })
    }

    /// Notes what has been written down. Whatever has changed meanwhile is still to be written.
    pub fn written(&mut self, writing: &Writing<Order>) {
        for order in &writing.added {
            self.written.insert(*order);
        }
        for order in &writing.gone {
            self.written.remove(order);
        }
        for order in writing.added.iter().chain(&writing.gone) {
            if self.due_at.contains_key(order) == self.written.contains(order) {
                self.changed.remove(order);
            } else {
                self.changed.insert(*order);
            }
        }
        self.position = writing.to;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, cmp::Ordering};

    use super::*;

    thread_local! {
        static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    /// An order that counts how often orders are looked at.
    #[derive(Debug, Clone, Copy)]
    struct Counted(u32);

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for Counted {}

    fn looked_at(work: impl FnOnce()) -> usize {
        LOOKED_AT.set(0);
        work();
        LOOKED_AT.get()
    }

    fn t(second: u32) -> Timestamp {
        Timestamp::from_micros(i64::from(second) * 1_000_000)
    }

    /// So many payments that wait, all of them written down.
    fn waiting(many: u32) -> Open<Counted> {
        let mut open = Open::found(0, (0..many).map(Counted));
        for order in 0..many {
            open.wait(Counted(order), t(1_000 + order));
        }
        let writing = open.writing(7).unwrap();
        open.written(&writing);
        open
    }

    #[test]
    fn forty_thousand_open_payments_cost_nothing_while_nothing_is_due() {
        let open = waiting(40_000);
        let idle = looked_at(|| {
            assert_eq!(open.next_due(), Some(t(1_000)));
            assert!(open.due(t(999)).is_empty() && !open.is_changed());
            assert_eq!(open.writing(7), None);
            assert_eq!(open.writing(9).map(|writing| (writing.from, writing.to, writing.added.len())), Some((7, 9, 0)));
        });
        assert_eq!(idle, 0);
    }

    #[test]
    fn what_happens_to_one_payment_does_not_cost_more_where_many_are_open() {
        let one_more = |many| {
            let mut open = waiting(many);
            looked_at(|| {
                assert_eq!(open.due(t(1_000)).len(), 1);
                open.begin(Counted(0));
                open.wait(Counted(0), t(5_000_000));
                open.begin(Counted(many));
                let writing = open.writing(8).unwrap();
                open.written(&writing);
                open.settled(Counted(many));
                let writing = open.writing(8).unwrap();
                open.written(&writing);
            })
        };
        let (few, many) = (one_more(400), one_more(40_000));
        // The depth of the trees grows with the logarithm: by less than 7 levels of at most 11 comparisons, for some twenty questions.
        assert!(many < 3 * few && many < 1_000, "{few} of 400 and {many} of 40,000 were looked at");
    }

    #[test]
    fn what_was_found_is_open_until_it_is_settled() {
        let mut open = Open::found(3, [1, 2]);
        assert_eq!(open.orders(), [1, 2]);
        open.begin(1);
        open.begin(2);
        assert!(!open.is_changed());
        assert_eq!(open.writing(3), None);
        open.settled(2);
        open.wait(1, t(5));
        assert_eq!(open.writing(3), Some(Writing { from: 3, to: 3, added: vec![], gone: vec![2] }));
    }

    #[test]
    fn what_changes_while_it_is_written_is_written_next() {
        let mut open = Open::found(0, []);
        open.begin(1);
        let writing = open.writing(4).unwrap();
        assert_eq!(writing, Writing { from: 0, to: 4, added: vec![1], gone: vec![] });
        open.settled(1);
        open.begin(2);
        open.written(&writing);
        assert_eq!(open.writing(4), Some(Writing { from: 4, to: 4, added: vec![2], gone: vec![1] }));
    }

    #[test]
    fn what_is_due_is_told_in_order_until_it_is_begun() {
        let mut open = Open::found(0, []);
        for (order, due) in [(3, 1), (1, 2), (2, 9)] {
            open.wait(order, t(due));
        }
        assert_eq!(open.due(t(2)), [1, 3]);
        open.begin(1);
        open.wait(3, t(7));
        assert_eq!((open.due(t(2)), open.next_due(), open.len()), (vec![], Some(t(7)), 3));
    }
}
