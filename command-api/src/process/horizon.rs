//! The moment up to which what is due may be seen to: once the log was seen as far as it reached then, and what followed from that.
//!
//! Whoever was away finds everything due at once, and what would have made it superfluous still before it in the log. A payment that was captured
//! in time leads to a confirmation, and only that has units leave stock: so the log is seen up to its head at the time that counts, and
//! then up to where it reaches once all that was seen has been answered.

use event_schemas::Timestamp;

/// The time whose reminders are waited for, and how far the log must be seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    now: Timestamp,
    head: i64,
    includes_what_followed: bool,
}

impl Horizon {
    /// For what is due at `now`, with the log's head, which was read after that.
    #[must_use]
    pub fn new(now: Timestamp, head: i64) -> Self {
        Self { now, head, includes_what_followed: false }
    }

    /// The time whose reminders may be seen to, by one who has answered everything up to `position`, where the log's `head` was read after that;
    /// none as long as there is more to see.
    pub fn seen(&mut self, position: i64, head: i64) -> Option<Timestamp> {
        if !self.includes_what_followed && position >= self.head {
            *self = Self { head, includes_what_followed: true, ..*self };
        }
        (self.includes_what_followed && position >= self.head).then_some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_waits_for_the_log_up_to_then_and_for_what_followed_from_it() {
        let now = Timestamp::from_micros(1);
        let mut horizon = Horizon::new(now, 100);
        assert_eq!(horizon.seen(99, 120), None);
        // Everything up to then is answered, which added events up to 130.
        assert_eq!(horizon.seen(100, 130), None);
        assert_eq!(horizon.seen(129, 140), None);
        // What was added since then is no concern of this moment.
        assert_eq!(horizon.seen(130, 150), Some(now));
    }

    #[test]
    fn at_the_head_nothing_is_waited_for() {
        let now = Timestamp::from_micros(1);
        assert_eq!(Horizon::new(now, 7).seen(7, 7), Some(now));
        assert_eq!(Horizon::new(now, 0).seen(0, 0), Some(now));
    }
}
