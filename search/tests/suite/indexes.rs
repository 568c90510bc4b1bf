//! The indexes that the suite is run against.

use std::sync::Arc;

use search::{Embedded, Index};

/// An empty index for one test, and what must outlive it.
pub struct Made {
    pub index: Arc<dyn Index>,
    _folder: tempfile::TempDir,
}

/// One of each kind that can be had here.
pub async fn all() -> Vec<Made> {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::open(folder.path()).expect("an index");
    vec![Made { index: Arc::new(embedded), _folder: folder }]
}
