//! What is decided ahead of its commit hangs together.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tokio::sync::Notify;

use crate::Error;

/// The chain of everything decided on one cached state of a stream. Once one link is not committed, none of the later ones may be:
/// they were built on what never happened. Cheap to clone; clones are the same chain.
#[derive(Debug, Clone)]
pub struct Lineage(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    /// The version is written after its position and read before it, so that a version that is seen has its position, or a later one.
    version: AtomicI64,
    position: AtomicI64,
    severed: AtomicBool,
    moved: Notify,
}

impl Lineage {
    /// A chain that begins at a stream's committed `version`, whose last event has `position` (0 and 0 where there is none).
    #[must_use]
    pub fn new(version: i64, position: i64) -> Self {
        Self(Arc::new(Progress {
            version: AtomicI64::new(version),
            position: AtomicI64::new(position),
            severed: AtomicBool::new(false),
            moved: Notify::new(),
        }))
    }

    /// The newest version of the chain that is committed, and a position at which it can be read.
    #[must_use]
    pub fn committed(&self) -> (i64, i64) {
        let version = self.0.version.load(Ordering::Acquire);
        (version, self.0.position.load(Ordering::Acquire))
    }

    /// The stream is committed up to `version`, whose event has `position`.
    pub fn advance(&self, version: i64, position: i64) {
        self.0.position.fetch_max(position, Ordering::AcqRel);
        if self.0.version.fetch_max(version, Ordering::AcqRel) < version {
            self.0.moved.notify_waiters();
        }
    }

    /// Ends the chain: whatever of it is not committed yet is refused, and the state it stands for is to be thrown away.
    pub fn sever(&self) {
        if !self.0.severed.swap(true, Ordering::AcqRel) {
            self.0.moved.notify_waiters();
        }
    }

    /// Whether the chain has ended.
    #[must_use]
    pub fn is_severed(&self) -> bool {
        self.0.severed.load(Ordering::Acquire)
    }

    /// Waits until the chain is committed up to `version`; a position at which it can be read.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the chain ended before.
    pub async fn settled(&self, version: i64) -> Result<i64, Error> {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            // Waits from here on: what happens between the look and the wait is not missed.
            moved.as_mut().enable();
            let (committed, position) = self.committed();
            if committed >= version {
                return Ok(position);
            }
            if self.is_severed() {
                return Err(Error::Conflict);
            }
            moved.await;
        }
    }
}

impl Default for Lineage {
    fn default() -> Self {
        Self::new(0, 0)
    }
}
