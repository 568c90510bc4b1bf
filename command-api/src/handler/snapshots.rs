//! When an entity's state is worth keeping as a snapshot, and how it is taken: of committed events only, in the background, and never
//! twice at one time.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use domain::Aggregate;
use event_store::{EventStore, NewSnapshot, snapshots::MAX_STATE_BYTES};

use super::Entity;

/// A load that folded this many events since the last snapshot is worth a new one: loads are rare.
const FOLDED_EVENTS: i64 = 100;
/// On a stream that is in memory, one is taken after so many events at the earliest.
const DECIDED_EVENTS: i64 = 1_000;
/// And after one event for so many bytes of the last one: copying and writing a large state then costs each event about a microsecond.
const BYTES_FOR_EVENT: usize = 50;
/// After so many events it is tried again where too many others were waiting.
const RETRY_EVENTS: i64 = 50;

/// When the next snapshot of an entity is due.
pub struct Schedule {
    /// The version from which on it is; the largest while one is being taken.
    due_version: AtomicI64,
}

impl Schedule {
    /// For a stream without a snapshot.
    pub const fn new() -> Self {
        Self { due_version: AtomicI64::new(FOLDED_EVENTS) }
    }

    /// A snapshot of `version` was read.
    pub fn read(&self, version: i64) {
        self.due_version.store(version.saturating_add(FOLDED_EVENTS), Ordering::Relaxed);
    }

    /// A state of so many `bytes` was written at `version`.
    fn written(&self, version: i64, bytes: usize) {
        let for_size = i64::try_from(bytes / BYTES_FOR_EVENT).unwrap_or(i64::MAX);
        self.due_version.store(version.saturating_add(for_size.max(DECIDED_EVENTS)), Ordering::Relaxed);
    }

    /// Whether one is due at `version`; then it is the caller's to take, and nobody else's.
    fn begin(&self, version: i64) -> bool {
        let due = self.due_version.load(Ordering::Relaxed);
        version >= due && self.due_version.compare_exchange(due, i64::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What was begun at `version` can't be done now.
    fn put_off(&self, version: i64) {
        self.due_version.store(version.saturating_add(RETRY_EVENTS), Ordering::Relaxed);
    }
}

/// Has a snapshot of `entity`, which is committed up to `version`, taken in the background if one is due. Costs a glance where none is.
pub fn consider<A: Aggregate>(store: &EventStore, entity: &Arc<Entity<A>>, version: i64) {
    if entity.schedule().begin(version) {
        let taken = Arc::clone(entity);
        if !store.offer_snapshot(move || take(&taken)) {
            entity.schedule().put_off(version);
        }
    }
}

fn take<A: Aggregate>(entity: &Entity<A>) -> Option<NewSnapshot> {
    let (state, version) = entity.committed();
    let mut writer = Bounded(Vec::new());
    let written = serde_json::to_writer(&mut writer, &state);
    entity.schedule().written(version, writer.0.len());
    if let Err(error) = written {
        tracing::debug!(stream = %entity.stream(), version, %error, "no snapshot is taken");
        return None;
    }
    let state = String::from_utf8(writer.0).ok()?;
    Some(NewSnapshot { stream: entity.stream().clone(), version, state_version: A::STATE_VERSION, state })
}

/// Takes up to [`MAX_STATE_BYTES`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_STATE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the state is larger than what is kept"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_after_a_long_fold_then_after_many_decisions_or_as_many_as_its_size_asks_for() {
        let schedule = Schedule::new();
        assert!(!schedule.begin(99));
        assert!(schedule.begin(100));
        assert!(!schedule.begin(101), "one is under way");
        schedule.written(501, 49_999);
        assert!(!schedule.begin(1_500) && schedule.begin(1_501));
        schedule.written(1_600, 500_000);
        assert!(!schedule.begin(11_599) && schedule.begin(11_600));
        schedule.put_off(11_600);
        assert!(!schedule.begin(11_649) && schedule.begin(11_650));
        schedule.read(20_000);
        assert!(!schedule.begin(20_099) && schedule.begin(20_100));
    }

    #[test]
    fn no_more_is_written_than_is_kept() {
        let mut writer = Bounded(Vec::new());
        assert!(serde_json::to_writer(&mut writer, &"x".repeat(MAX_STATE_BYTES - 2)).is_ok());
        assert_eq!(writer.0.len(), MAX_STATE_BYTES);
        let mut writer = Bounded(Vec::new());
        assert!(serde_json::to_writer(&mut writer, &"x".repeat(MAX_STATE_BYTES - 1)).is_err());
    }
}
