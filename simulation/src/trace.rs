//! What happened in a run, step by step: always as a hash, as text only where somebody is to read it.

use std::collections::VecDeque;

/// How many lines are kept.
const LINES: usize = 20_000;

/// The trace of a run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// A trace that is kept as a hash alone, or also as the last lines of its text.
    pub fn new(is_kept: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: is_kept.then(VecDeque::new) }
    }

    /// Takes a step's numbers into the hash (FNV-1a, a word at a time).
    pub fn step(&mut self, numbers: [u64; 3]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        }
    }

    /// Notes a line.
    pub fn note(&mut self, now: i64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES {
                lines.pop_front();
            }
            let at = now - crate::shape::Shape::BEGINS_AT;
            lines.push_back(format!("{:>6}.{:06} {}", at / 1_000_000, at % 1_000_000, line()));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
