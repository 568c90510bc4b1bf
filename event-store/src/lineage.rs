//! What is decided ahead of its commit hangs together.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Error;

/// The chain of everything decided on one cached state of a stream. Once one link is not committed, none of the later ones may be:
/// they were built on what never happened. Cheap to clone; clones are the same chain.
#[derive(Debug, Clone)]
pub struct Lineage(Arc<watch::Sender<Progress>>);

#[derive(Debug, Clone, Copy)]
struct Progress {
    version: i64,
    position: i64,
    severed: bool,
}

impl Lineage {
    /// A chain that begins at a stream's committed `version`, whose last event has `position` (0 and 0 where there is none).
    #[must_use]
    pub fn new(version: i64, position: i64) -> Self {
        Self(Arc::new(watch::Sender::new(Progress { version, position, severed: false })))
    }

    /// The newest version of the chain that is committed, and the position of its event.
    #[must_use]
    pub fn committed(&self) -> (i64, i64) {
        let progress = self.0.borrow();
        (progress.version, progress.position)
    }

    /// The stream is committed up to `version`, whose event has `position`.
    pub fn advance(&self, version: i64, position: i64) {
        self.0.send_if_modified(|progress| {
            let newer = version > progress.version;
            if newer {
                progress.version = version;
                progress.position = position;
            }
            newer
        });
    }

    /// Ends the chain: whatever of it is not committed yet is refused, and the state it stands for is to be thrown away.
    pub fn sever(&self) {
        self.0.send_if_modified(|progress| !std::mem::replace(&mut progress.severed, true));
    }

    /// Whether the chain has ended.
    #[must_use]
    pub fn is_severed(&self) -> bool {
        self.0.borrow().severed
    }

    /// Waits until the chain is committed up to `version`; the position of its newest committed event.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the chain ended before.
    pub async fn settled(&self, version: i64) -> Result<i64, Error> {
        let mut progress = self.0.subscribe();
        let settled = progress.wait_for(|progress| progress.severed || progress.version >= version).await;
        match settled {
            Ok(progress) if progress.version >= version => Ok(progress.position),
            _ => Err(Error::Conflict),
        }
    }
}

impl Default for Lineage {
    fn default() -> Self {
        Self::new(0, 0)
    }
}
