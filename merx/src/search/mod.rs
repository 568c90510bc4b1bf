//! Search in this process: the index, and the worker that keeps it.

mod indexer;
mod rows;

use std::{path::Path, sync::Arc};

use search::{Embedded, Index};

pub use indexer::run;

/// The index of this process, in the data directory. Several processes that share one have an index each.
pub fn open(data_dir: &Path) -> Result<Arc<dyn Index>, search::Error> {
    Ok(Arc::new(Embedded::open(&data_dir.join("search"))?))
}
