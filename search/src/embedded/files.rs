//! The files of the embedded index: opened, or made anew where they are damaged or of another shape.

use std::{
    fs::{self, File, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use serde::{Deserialize, Serialize};
use tantivy::{
    Index, IndexSettings, IndexWriter, TantivyError,
    directory::MmapDirectory,
    indexer::{IndexWriterOptions, LogMergePolicy},
};

use super::fields::Fields;
use crate::{Error, Place};

/// The shape of what is in the files. Raise it with every change of the fields, or of how words are cut: an index of another shape is made
/// anew.
const SHAPE: u32 = 2; // since prices are those of flash sales too
/// The most processes that have an index below one directory.
const MOST_PROCESSES: u32 = 64;
/// Segments with fewer documents than this count as equally small. Those that were merged already must soon be no longer: they would be merged
/// again and again with every few commits.
const SMALL_SEGMENT: u32 = 500;
/// The memory that documents are gathered in before they are written.
const WRITER_BYTES: usize = 16 << 20;

/// What is kept with each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    shape: u32,
    #[serde(flatten)]
    pub place: Place,
}

impl Payload {
    pub fn text(place: Place) -> String {
        serde_json::to_string(&Self { shape: SHAPE, place }).unwrap_or_default()
    }
}

/// An index that nobody else has.
pub struct Opened {
    pub index: Index,
    pub place: Option<Place>,
    /// Locked for as long as it is open; the operating system unlocks it when the process ends, however it ends.
    pub lock: File,
}

/// Opens the first index below `directory` that no other process has. What can't be read, or is of another shape, is removed, and an empty
/// index made.
pub fn open(directory: &Path, fields: &Fields) -> Result<Opened, Error> {
    fs::create_dir_all(directory)?;
    for nth in 1..=MOST_PROCESSES {
        let lock = File::create(directory.join(format!("{nth}.lock")))?;
        match lock.try_lock() {
            Ok(()) => return open_locked(&directory.join(nth.to_string()), fields, lock),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Err(Error::Unavailable(format!("{MOST_PROCESSES} processes have an index in {} already", directory.display())))
}

fn open_locked(directory: &Path, fields: &Fields, lock: File) -> Result<Opened, Error> {
    fs::create_dir_all(directory)?;
    match try_open(directory, fields) {
        Ok(Some((index, place))) => return Ok(Opened { index, place, lock }),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, directory = %directory.display(), "the search index is damaged, and made anew"),
    }
    clear(directory)?;
    let files = MmapDirectory::open(directory).map_err(TantivyError::from)?;
    let index = Index::create(files, fields.schema.clone(), IndexSettings::default())?;
    Ok(Opened { index, place: None, lock })
}

/// None where there is nothing, or nothing of use.
fn try_open(directory: &Path, fields: &Fields) -> Result<Option<(Index, Option<Place>)>, Error> {
    if !directory.join("meta.json").exists() {
        return Ok(None);
    }
    // Damaged files may make the library panic.
    let tried = catch_unwind(AssertUnwindSafe(|| -> Result<_, Error> {
        let files = MmapDirectory::open(directory).map_err(TantivyError::from)?;
        let index = Index::open(files)?;
        if index.schema() != fields.schema {
            return Ok(None);
        }
        if !index.validate_checksum()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a file's checksum is wrong").into());
        }
        let place = match index.load_metas()?.payload.map(|text| serde_json::from_str::<Payload>(&text)) {
            Some(Ok(payload)) if payload.shape == SHAPE => Some(payload.place),
            Some(_) => return Ok(None),
            None => None,
        };
        index.reader()?;
        Ok(Some((index, place)))
    }));
    tried.unwrap_or_else(|_| Err(Error::Panicked("its files can't be read".to_owned())))
}

/// The writer of `index`: one thread that writes and one that merges, since a shop's server has other work, and memory.
pub fn writer(index: &Index) -> Result<IndexWriter, Error> {
    let options = IndexWriterOptions::builder().num_worker_threads(1).memory_budget_per_thread(WRITER_BYTES).num_merge_threads(1).build();
    let writer = index.writer_with_options(options)?;
    let mut policy = LogMergePolicy::default();
    policy.set_min_layer_size(SMALL_SEGMENT);
    writer.set_merge_policy(Box::new(policy));
    Ok(writer)
}

/// Removes files, and nothing that somebody else may have put there.
fn clear(directory: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
