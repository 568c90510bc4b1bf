//! What the projection `search` has written, read for an index.

use std::collections::HashMap;

use event_schemas::resource::{Category as StoredCategory, Product};
use event_store::bounded::{self, Rest, Taken};
use search::{Category, Place, Sale, document::Facts};
use sqlx::PgPool;

/// The most steps from a category to the top: a circle, which the rules refuse, ends here too.
const MOST_LEVELS: usize = 100;

/// The bytes of rows with which a page ends.
pub const PAGE_BYTES: usize = 4 << 20;

/// Rows that follow on each other.
pub struct Page {
    pub rows: Vec<Row>,
    /// True where there were no more.
    pub is_last: bool,
}

impl Page {
    fn of(taken: Taken<Row>, most: i64) -> Self {
        let is_last = !taken.is_cut && (taken.rows.len() as i64) < most;
        Self { rows: taken.rows, is_last }
    }
}

/// A row of `search_products`.
#[derive(Debug)]
pub struct Row {
    pub sku: String,
    pub changed_position: i64,
    created_position: Option<i64>,
    document: Option<String>,
    on_hand: i64,
    reserved: i64,
    rating_sum: i64,
    rating_count: i64,
    sales: String,
}

impl Row {
    fn bytes(&self) -> usize {
        self.document.as_ref().map_or(0, String::len) + self.sales.len()
    }

    /// The product, its sales and what other streams say of it; none where its own stream was not seen yet.
    pub fn product(self) -> Result<Option<(Product, Vec<Sale>, Facts)>, serde_json::Error> {
        let Some((document, created)) = self.document.zip(self.created_position) else { return Ok(None) };
        let facts =
            Facts { available: self.on_hand - self.reserved, rating_sum: self.rating_sum, rating_count: self.rating_count, created };
        Ok(Some((serde_json::from_str(&document)?, serde_json::from_str(&self.sales)?, facts)))
    }
}

/// Place that the rows have come to; none before the first of them, and while they are of events that the log has lost. Whoever has
/// reason to doubt the index adds to the revision of its checkpoint.
pub async fn place(pool: &PgPool) -> Result<Option<Place>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select c.version, c.revision + coalesce(i.revision, 0) as "revision!", c.position, c.hash,
               (select event_id from events where position = 1) as log
        from checkpoints c left join checkpoints i on i.name = $1
        where c.name = 'search' and log_has(c.position, c.hash)
        "#,
        super::NAME,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Place {
        log: row.log,
        version: row.version,
        revision: row.revision,
        position: row.position,
        hash: row.hash.try_into().unwrap_or_default(),
    }))
}

/// Returns true where the log has the event that an index has come to.
pub async fn is_in_log(pool: &PgPool, place: Place) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select log_has($1, $2) as "has!""#, place.position, &place.hash[..]).fetch_one(pool).await
}

/// The newest version of the rows that this program knows.
pub fn kept_version() -> i32 {
    projections::all().iter().find(|projection| projection.name() == "search").map_or(0, |projection| projection.version())
}

/// The rows that have changed after `after`, in the order of changes: at most `most` of them, and [`PAGE_BYTES`].
pub async fn changed(pool: &PgPool, after: &(i64, String), most: i64) -> Result<Page, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        select sku, changed_position, created_position, document::text as document, on_hand, reserved, rating_sum, rating_count,
               sales::text as "sales!"
        from read_model.search_products
        where (changed_position, sku) > ($1, $2)
        order by changed_position, sku limit $3
        "#,
        after.0,
        after.1,
        most,
    )
    .fetch(&mut *connection);
    let taken = bounded::take(rows, Row::bytes, PAGE_BYTES).await?;
    if taken.rest == Rest::TooMuch {
        connection.close_on_drop();
    }
    Ok(Page::of(taken, most))
}

/// The row of a product.
pub async fn one(pool: &PgPool, sku: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select sku, changed_position, created_position, document::text as document, on_hand, reserved, rating_sum, rating_count,
               sales::text as "sales!"
        from read_model.search_products
        where sku = $1
        "#,
        sku,
    )
    .fetch_optional(pool)
    .await
}

/// The rows after `after`, by SKU: at most `most` of them, and [`PAGE_BYTES`].
pub async fn all(pool: &PgPool, after: &str, most: i64) -> Result<Page, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        select sku, changed_position, created_position, document::text as document, on_hand, reserved, rating_sum, rating_count,
               sales::text as "sales!"
        from read_model.search_products
        where sku > $1
        order by sku limit $2
        "#,
        after,
        most,
    )
    .fetch(&mut *connection);
    let taken = bounded::take(rows, Row::bytes, PAGE_BYTES).await?;
    if taken.rest == Rest::TooMuch {
        connection.close_on_drop();
    }
    Ok(Page::of(taken, most))
}

/// The categories of some products, and those above them.
pub struct Categories(HashMap<String, StoredCategory>);

impl Categories {
    /// `id` and all above it, the nearest first.
    pub fn from(&self, id: &str) -> Vec<Category> {
        let mut above = Vec::new();
        let mut at = Some(id);
        while let Some(category) = at.and_then(|id| self.0.get(id)).filter(|_| above.len() < MOST_LEVELS) {
            above.push(Category { id: category.id.to_string(), name: category.name.clone() });
            at = category.parent.as_ref().map(event_schemas::ids::CategoryId::as_str);
        }
        above
    }
}

/// Those of `rows`.
pub async fn categories(pool: &PgPool, rows: &[Row]) -> Result<Categories, super::indexer::Error> {
    let skus: Vec<String> = rows.iter().map(|row| row.sku.clone()).collect();
    let found = sqlx::query!(
        r#"
        with recursive above as (
            select c.id, c.parent, c.document::text as document from read_model.search_categories c
            where c.id in (select category from read_model.search_products where sku = any($1))
            union
            select c.id, c.parent, c.document::text from read_model.search_categories c join above a on c.id = a.parent
        )
        select id as "id!", document as "document!" from above
        "#,
        &skus,
    )
    .fetch_all(pool)
    .await?;
    let category = |(id, document): (String, String)| Ok((id, serde_json::from_str(&document)?));
    let categories: Result<_, serde_json::Error> = found.into_iter().map(|row| category((row.id, row.document))).collect();
    Ok(Categories(categories?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: usize) -> Row {
        let document = Some("x".repeat(bytes));
        let (sku, sales) = ("A".to_owned(), "[]".to_owned());
        Row {
            sku,
            changed_position: 1,
            created_position: Some(1),
            document,
            on_hand: 0,
            reserved: 0,
            rating_sum: 0,
            rating_count: 0,
            sales,
        }
    }

    async fn page(rows: usize, bytes: usize) -> (usize, bool) {
        let answer = futures::stream::iter((0..rows).map(move |_| Ok(row(bytes))));
        let page = Page::of(bounded::take(Box::pin(answer), Row::bytes, PAGE_BYTES).await.unwrap(), 10);
        (page.rows.len(), page.is_last)
    }

    #[tokio::test]
    async fn a_page_is_the_last_where_neither_its_number_nor_its_bytes_end_it() {
        assert_eq!(page(9, 100).await, (9, true));
        assert_eq!(page(10, 100).await, (10, false));
        assert_eq!(page(9, PAGE_BYTES / 4).await, (4, false));
        assert_eq!(page(1, 2 * PAGE_BYTES).await, (1, false));
    }
}
