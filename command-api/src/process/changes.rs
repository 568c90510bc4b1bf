//! What process managers want changed about their reminders.

use std::collections::HashMap;

use event_schemas::Timestamp;

use super::Reminder;

/// What a batch of reactions wants set and forgotten: of each reminder the last word counts, and of several times the earliest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes(HashMap<Reminder, Option<Timestamp>>);

impl Changes {
    /// The reminder is wanted at a time; where it is already, at the earlier one.
    pub fn set(&mut self, reminder: Reminder, at: Timestamp) {
        let slot = self.0.entry(reminder).or_insert(Some(at));
        *slot = Some(slot.map_or(at, |earlier| earlier.min(at)));
    }

    /// The reminder is not wanted any more.
    pub fn forget(&mut self, reminder: Reminder) {
        self.0.insert(reminder, None);
    }

    /// Takes in what was wanted later.
    pub fn merge(&mut self, other: Self) {
        for (reminder, change) in other.0 {
            match change {
                Some(at) => self.set(reminder, at),
                None => self.forget(reminder),
            }
        }
    }

    /// Drops what is so already: a time not earlier than the one that is set, forgetting what is not set.
    pub fn drop_what_stands(&mut self, set: &HashMap<Reminder, Timestamp>) {
        self.0.retain(|reminder, change| match (change, set.get(reminder)) {
            (Some(at), Some(standing)) => *at < *standing,
            (Some(_), None) | (None, Some(_)) => true,
            (None, None) => false,
        });
    }

    /// Notes in `set` what has been written.
    pub fn note(self, set: &mut HashMap<Reminder, Timestamp>) {
        for (reminder, change) in self.0 {
            match change {
                Some(at) => set.insert(reminder, at),
                None => set.remove(&reminder),
            };
        }
    }

    /// Whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each reminder with its time, or none where it is to be forgotten; in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Reminder, Option<Timestamp>)> {
        self.0.iter().map(|(reminder, change)| (reminder, *change))
    }
}
