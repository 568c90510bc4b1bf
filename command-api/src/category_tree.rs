//! The tree of categories, as far as a category's new place must be judged by it. Each category knows its parent alone, so whoever changes the
//! tree takes a turn, and looks the rest up meanwhile.

use std::collections::HashMap;

use domain::category::{self, MAX_DEPTH};
use event_schemas::{StreamId, ids::CategoryId};
use event_store::{Error, Turn};
use gateway::Problem;

use crate::{
    refusals::{unstored, wrong_value},
    shop::Shop,
};

/// The most categories that are looked up at once.
const BATCH: usize = 1_000;

/// Waits until nobody else changes the tree, whichever server they reached. Two changes at once could each be right and together make a
/// circle, or a branch that is too deep.
///
/// # Errors
/// The log can't be reached.
pub async fn take_turn(shop: &Shop) -> Result<Turn, Error> {
    shop.store.take_turn("category-tree").await
}

/// `parent` and all that it is below, nearest first: no more of them than tell that it is too deep.
///
/// # Errors
/// 422 where there is no such category; the log can't be reached.
pub async fn lineage(shop: &Shop, parent: Option<&CategoryId>) -> Result<Vec<CategoryId>, Problem> {
    let mut lineage = Vec::new();
    let mut next = parent.cloned();
    while let Some(id) = next.filter(|_| lineage.len() <= MAX_DEPTH) {
        let look = |state: &category::State, _| state.place().map(|place| place.parent.clone());
        let (above, ..) = shop.categories.current(&StreamId::category_of(&id), look).await.map_err(|error| unstored(&error))?;
        let Some(above) = above else {
            return Err(wrong_value("/parent", "unknown_category", format!("There is no category {id}: create it first.")));
        };
        lineage.push(id);
        next = above;
    }
    Ok(lineage)
}

/// The number of levels below `id`, counted up to [`MAX_DEPTH`]: so many are too deep below any parent.
///
/// # Errors
/// The log can't be reached.
pub async fn height(shop: &Shop, id: &CategoryId) -> Result<usize, Error> {
    let children = children(shop).await?;
    let (mut level, mut height) = (vec![id], 0);
    while height < MAX_DEPTH {
        level = level.into_iter().filter_map(|id| children.get(id)).flatten().collect();
        if level.is_empty() {
            break;
        }
        height += 1;
    }
    Ok(height)
}

/// The children of each category that has any.
async fn children(shop: &Shop) -> Result<HashMap<CategoryId, Vec<CategoryId>>, Error> {
    // By the index of streams and versions; `.` is the character after `-`.
    let rows =
        sqlx::query_scalar!("select stream_id from events where stream_id >= 'category-' and stream_id < 'category.' and version = 1");
    let streams: Vec<String> = rows.fetch_all(shop.store.pool()).await?;
    let keys = streams.iter().filter_map(|stream| stream.strip_prefix("category-")?.parse::<CategoryId>().ok());
    let streams: Vec<StreamId> = keys.map(|id| StreamId::category_of(&id)).collect();
    let mut children: HashMap<CategoryId, Vec<CategoryId>> = HashMap::new();
    for batch in streams.chunks(BATCH) {
        let look = |state: &category::State, _| state.place().and_then(|place| Some((place.parent.clone()?, place.id.clone())));
        for (seen, ..) in shop.categories.current_all(batch, look).await? {
            let Some((parent, id)) = seen else { continue };
            children.entry(parent).or_default().push(id);
        }
    }
    Ok(children)
}
