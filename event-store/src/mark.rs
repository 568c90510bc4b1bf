//! Positions and the events that stood there: by these it is told that a log has gone back.

use std::collections::VecDeque;

/// SHA-256 of an event, as [`crate::hash`] makes it.
pub type Hash = [u8; 32];

/// A position, and the hash of the event there. Whoever remembers a position remembers it as one of these: a log that was restored from a
/// backup has another event there, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The position; 0 is before the first event.
    pub position: i64,
    /// Of the event there; zeros where there is none.
    pub hash: Hash,
}

impl Mark {
    /// Before the first event.
    pub const START: Self = Self { position: 0, hash: [0; 32] };

    /// `hash` as the database gives it; zeros where it is none.
    #[must_use]
    pub fn new(position: i64, hash: &[u8]) -> Self {
        Self { position, hash: Hash::try_from(hash).unwrap_or_default() }
    }
}

/// The most marks that are kept.
const MOST_MARKS: usize = 1_024;
/// So many of the newest are kept however near they lie.
const NEAR_MARKS: usize = 256;
/// Older ones lie at most this part of their age apart, and two of them at least.
const SPACING: i64 = 16;

/// Marks of a log in order: many of its newest events, ever fewer the older they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Past(VecDeque<Mark>);

impl Past {
    /// The newest; the start where there is none.
    pub fn newest(&self) -> Mark {
        self.0.back().copied().unwrap_or(Mark::START)
    }

    /// Takes note of `mark`, unless something newer is known, or no event stands there.
    pub fn note(&mut self, mark: Mark) {
        if mark.position <= self.newest().position || mark.hash == Mark::START.hash {
            return;
        }
        self.0.push_back(mark);
        if self.0.len() > MOST_MARKS {
            self.0 = Self::thinned(self.0.make_contiguous()).into();
        }
    }

    /// Forgets what is beyond `position`.
    pub fn cut(&mut self, position: i64) {
        self.0.retain(|mark| mark.position <= position);
    }

    /// All there are, oldest first.
    pub fn all(&self) -> impl Iterator<Item = Mark> {
        self.0.iter().copied()
    }

    /// Of `marks`, oldest first, those that are worth keeping: all of them where there are few.
    pub fn thinned(marks: &[Mark]) -> Vec<Mark> {
        if marks.len() <= MOST_MARKS {
            return marks.to_vec();
        }
        let newest = marks.last().map_or(0, |mark| mark.position);
        let mut kept: Vec<Mark> = Vec::with_capacity(MOST_MARKS);
        for (nth, mark) in marks.iter().enumerate().rev() {
            // Between its neighbours there would be too wide a gap without it.
            let gap = kept
                .last()
                .zip(nth.checked_sub(1).and_then(|before| marks.get(before)))
                .map(|(next, before)| next.position - before.position);
            if nth + NEAR_MARKS >= marks.len() || gap.is_none_or(|gap| gap > (newest - mark.position) / SPACING) {
                kept.push(*mark);
            }
        }
        kept.reverse();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(position: i64) -> Mark {
        Mark { position, hash: [1; 32] }
    }

    #[test]
    fn few_marks_reach_far_back() {
        let mut past = Past::default();
        for position in 1..=2_000_000 {
            past.note(mark(position));
            assert!(past.0.len() <= MOST_MARKS);
        }
        past.note(mark(1));
        assert_eq!(past.newest(), mark(2_000_000), "an older one is no news");
        let all: Vec<i64> = past.all().map(|mark| mark.position).collect();
        assert!(all.is_sorted());
        assert!((2_000_000 - 255..=2_000_000).all(|position| all.binary_search(&position).is_ok()), "the newest are all there");
        for back in [1_000, 10_000, 100_000, 1_000_000] {
            let at = 2_000_000 - back;
            let nearest = all.iter().rev().find(|position| **position <= at).unwrap();
            assert!(at - nearest <= back / 8, "{back} back there is one at {nearest}");
        }
        past.cut(1_999_990);
        assert_eq!(past.newest(), mark(1_999_990));
    }
}
