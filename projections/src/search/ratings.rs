//! How a product is rated.

use std::sync::Arc;

use event_schemas::{Event as LogEvent, Recorded, events::review::Event, ids::ReviewId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, streams};

pub async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let (mut ids, mut skus, mut ratings, mut positions) = (Vec::<Uuid>::new(), Vec::new(), Vec::new(), Vec::new());
    for recorded in events {
        let LogEvent::Review(Event::Posted(posted)) = &recorded.event else { continue };
        let id: ReviewId = streams::key_of(recorded)?;
        ids.push(id.uuid());
        skus.push(posted.sku.to_string());
        ratings.push(i16::from(posted.rating));
        positions.push(recorded.position);
    }
    if ids.is_empty() {
        return Ok(());
    }
    // A review that is there already is not added again.
    sqlx::query!(
        r#"
        with posted as (
            select * from unnest($1::uuid[], $2::text[], $3::smallint[], $4::bigint[]) as r (id, sku, rating, position)
        ), added as (
            insert into search_reviews (id, sku) select id, sku from posted on conflict (id) do nothing returning id
        )
        insert into search_products as p (sku, changed_position, rating_sum, rating_count)
        select sku, max(position), sum(rating), count(*) from posted where id in (select id from added) group by sku
        on conflict (sku) do update
            set changed_position = greatest(p.changed_position, excluded.changed_position),
                rating_sum = p.rating_sum + excluded.rating_sum, rating_count = p.rating_count + excluded.rating_count
        "#,
        &ids,
        &skus,
        &ratings,
        &positions,
    )
    .execute(connection)
    .await?;
    Ok(())
}
