//! What people write of products, and the sum of their ratings.

use std::sync::Arc;

use event_schemas::{Event as LogEvent, Recorded, events::review::Event, ids::ReviewId, resource::Review};
use futures::FutureExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Applied, Error, Projection, streams, to_document};

pub(crate) struct Reviews;

impl Projection for Reviews {
    fn name(&self) -> &'static str {
        "reviews"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["reviews", "ratings"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["review"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let (mut ids, mut skus, mut positions, mut ratings, mut documents) =
        (Vec::<Uuid>::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for recorded in events {
        let LogEvent::Review(Event::Posted(posted)) = &recorded.event else { continue };
        let id: ReviewId = streams::key_of(recorded)?;
        let posted = posted.clone();
        let review = Review {
            id,
            sku: posted.sku,
            rating: posted.rating,
            title: posted.title,
            text: posted.text,
            author: posted.author,
            created_at: recorded.recorded_at,
            version: recorded.version,
        };
        documents.push(to_document(id, &review)?);
        ids.push(id.uuid());
        skus.push(review.sku.to_string());
        positions.push(recorded.position);
        ratings.push(i16::from(review.rating));
    }
    // A review that is there already is not added to the ratings again. Sorted, since others may add to the same ratings at the same time.
    sqlx::query!(
        r#"
        with added as (
            insert into reviews (id, sku, position, rating, document)
            select r.id, r.sku, r.position, r.rating, r.document::json
            from unnest($1::uuid[], $2::text[], $3::bigint[], $4::smallint[], $5::text[]) as r (id, sku, position, rating, document)
            on conflict (id) do nothing
            returning sku, rating
        )
        insert into ratings as r (sku, sum, count)
        select sku, sum(rating), count(*) from added group by sku order by sku
        on conflict (sku) do update set sum = r.sum + excluded.sum, count = r.count + excluded.count
        "#,
        &ids,
        &skus,
        &positions,
        &ratings,
        &documents,
    )
    .execute(connection)
    .await?;
    Ok(())
}
