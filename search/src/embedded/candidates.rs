//! What another index has found, in the order that this one would give it.
//!
//! A server that finds fast may order less well. Its best few are put into an index in memory, which then answers the query by the same rules
//! as if it had all documents; only how telling a word is must be told it.

use tantivy::{Index, directory::RamDirectory};

use super::{
    fields::Fields,
    matching::{Statistics, matching},
    prices,
    rank::{Ranked, Vocabulary, ranked},
    slots,
};
use crate::{
    Document, Error,
    query::{Sort, Words},
};

/// The memory that an index in memory may take while it is filled.
const WRITER_BYTES: usize = 16 << 20;

/// The numbers of `documents` in the order of how well they match `words`; those that do not match are left out.
///
/// # Errors
/// There is no memory for them.
pub fn in_order(documents: &[Document], words: &Words, vocabulary: &Vocabulary) -> Result<Vec<usize>, Error> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let fields = Fields::new();
    let mut writer = Index::builder().schema(fields.schema.clone()).single_segment_index_writer(RamDirectory::default(), WRITER_BYTES)?;
    for document in documents {
        writer.add_document(fields.document(document))?;
    }
    let searcher = writer.finalize()?.reader()?.searcher();
    let slots = slots::of(&searcher, &fields, &fields.sources(), words)?;
    let matched = matching(&searcher, &slots, &Statistics::Vocabulary(vocabulary))?;
    let mut ranked = ranked(&searcher, &matched, (Sort::Relevance, Some(&slots), prices::Asked::default()), vocabulary, documents.len())?;
    ranked.sort_unstable_by_key(Ranked::order);
    // One segment has its documents in the order in which they came.
    Ok(ranked.into_iter().filter_map(|found| usize::try_from(found.doc).ok()).collect())
}
