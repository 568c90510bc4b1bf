//! How far consumers have applied the partitions of their topics, and what has been published of these.
//!
//! A [`Place`] is committed with the rows that its consumer wrote, as a checkpoint is. Who owns a partition has its fence; whoever owned it
//! before finds another fence and writes nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{partition, topics::category_of_stream};
use crate::{
    Error,
    mark::{Hash, Mark},
};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Part {
    /// The topic: a prefix, a dot and a category.
    pub topic: Arc<str>,
    /// Its number in the topic, from 0.
    pub partition: i32,
}

/// How far a consumer has applied a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What comes after `position` comes at or after this offset.
    pub next_offset: i64,
    /// Every event of the partition up to this position in the log is applied.
    pub position: i64,
    /// Of the event there.
    pub hash: Hash,
    /// Of the partition's owner.
    pub fence: i64,
}

/// The places of a consumer.
pub type Places = BTreeMap<Part, Place>;

/// What has been published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Every event of the log up to here has been acknowledged by Kafka.
    pub position: i64,
    /// Of the event there.
    pub hash: Hash,
    /// The timeline that the log is on, as of that.
    pub timeline: Uuid,
    /// As of that: of each partition the offset after its last event, and that event's position.
    pub parts: BTreeMap<Part, (i64, i64)>,
}

/// Where the streams of a consumer's topics go.
#[derive(Debug, Clone, Default)]
pub struct Layout(HashMap<String, (Arc<str>, i32)>);

impl Part {
    /// The category of the streams in it.
    #[must_use]
    pub fn category(&self) -> &str {
        self.topic.rsplit_once('.').map_or(&self.topic, |(_, category)| category)
    }
}

impl Layout {
    /// That of all partitions of some topics.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Self {
        let mut layout = HashMap::new();
        for part in parts {
            let topic = layout.entry(part.category().to_owned()).or_insert_with(|| (part.topic.clone(), 0));
            topic.1 = topic.1.max(part.partition + 1);
        }
        Self(layout)
    }

    /// The partition of `stream`; none where its topic is not among these.
    #[must_use]
    pub fn part_of(&self, stream: &str) -> Option<Part> {
        let (topic, partitions) = self.0.get(category_of_stream(stream))?;
        Some(Part { topic: topic.clone(), partition: partition::of(stream, *partitions) })
    }
}

/// The places of `consumer`; none where it reads the log.
///
/// # Errors
/// The database can't be reached.
pub async fn read(connection: &mut PgConnection, consumer: &str) -> Result<Places, Error> {
    let rows = sqlx::query!("select topic, partition, next_offset, position, hash, fence from kafka_places where consumer = $1", consumer)
        .fetch_all(connection)
        .await?;
    let places = rows.into_iter().map(|row| {
        let part = Part { topic: row.topic.into(), partition: row.partition };
        (part, Place { next_offset: row.next_offset, position: row.position, hash: Mark::new(0, &row.hash).hash, fence: row.fence })
    });
    Ok(places.collect())
}

/// The greatest position among the places of `consumer` whose events the log does not have; none where it has them all.
///
/// # Errors
/// The database can't be reached.
pub async fn astray(connection: &mut PgConnection, consumer: &str) -> Result<Option<i64>, Error> {
    let furthest =
        sqlx::query_scalar!("select max(position) from kafka_places where consumer = $1 and not log_has(position, hash)", consumer);
    Ok(furthest.fetch_one(connection).await?)
}

/// Makes the caller the owner of `parts`: their places from now on. Those of which there is none are left out.
///
/// # Errors
/// The database can't be reached.
pub async fn open(connection: &mut PgConnection, consumer: &str, parts: &[Part]) -> Result<Places, Error> {
    let (topics, partitions) = columns(parts);
    let rows = sqlx::query!(
        r#"
        update kafka_places p set fence = p.fence + 1
        from unnest($2::text[], $3::int[]) as o (topic, partition)
        where p.consumer = $1 and p.topic = o.topic and p.partition = o.partition
        returning p.topic, p.partition, p.next_offset, p.position, p.hash, p.fence
        "#,
        consumer,
        &topics as &[&str],
        &partitions,
    )
    .fetch_all(connection)
    .await?;
    let places = rows.into_iter().map(|row| {
        let part = Part { topic: row.topic.into(), partition: row.partition };
        (part, Place { next_offset: row.next_offset, position: row.position, hash: Mark::new(0, &row.hash).hash, fence: row.fence })
    });
    Ok(places.collect())
}

fn columns<'a>(parts: impl IntoIterator<Item = &'a Part>) -> (Vec<&'a str>, Vec<i32>) {
    parts.into_iter().map(|part| (&*part.topic, part.partition)).unzip()
}

/// A step forward of the place of a partition: as it was, and as it will be.
pub type Step = (Place, Place);

/// Moves places of `consumer`, within the caller's transaction; whether all of them stood as they were read, fences included, and the log has
/// the events that they move to. Where not, somebody else has them or has moved them, or the log has gone back, and the caller must write nothing.
///
/// # Errors
/// The database can't be reached.
pub async fn advance(connection: &mut PgConnection, consumer: &str, steps: &BTreeMap<Part, Step>) -> Result<bool, Error> {
    let (topics, partitions) = columns(steps.keys());
    let column = |of: fn(&Step) -> i64| steps.values().map(of).collect::<Vec<i64>>();
    let hashes = |of: fn(&Step) -> Hash| steps.values().map(|step| of(step).to_vec()).collect::<Vec<Vec<u8>>>();
    let moved = sqlx::query!(
        r#"
        update kafka_places p set next_offset = s.next_offset, position = s.position, hash = s.hash
        from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bigint[], $8::bigint[], $9::bytea[])
            as s (topic, partition, fence, was, was_hash, next_offset, position, hash)
        where p.consumer = $1 and p.topic = s.topic and p.partition = s.partition and p.fence = s.fence and p.position = s.was
          and p.hash = s.was_hash and log_has(s.position, s.hash)
        "#,
        consumer,
        &topics as &[&str],
        &partitions,
        &column(|(was, _)| was.fence),
        &column(|(was, _)| was.position),
        &hashes(|(was, _)| was.hash) as &[Vec<u8>],
        &column(|(_, next)| next.next_offset),
        &column(|(_, next)| next.position),
        &hashes(|(_, next)| next.hash) as &[Vec<u8>],
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == steps.len() as u64)
}

/// What has been published, of these topics in particular; as of one moment.
///
/// # Errors
/// The database can't be reached.
pub async fn published(connection: &mut PgConnection, topics: &[String]) -> Result<Published, Error> {
    let rows = sqlx::query!(
        r#"
        select coalesce(c.position, 0) as "published!", c.hash as "hash?", k.topic as "topic?", k.partition as "partition?", k.next_offset as "next_offset?",
               k.position as "position?", (select id from timelines order by id desc limit 1) as "timeline?"
        from (select from log_head) one
        left join checkpoints c on c.name = 'publisher'
        left join kafka_published k on k.topic = any($1)
        "#,
        topics
    )
    .fetch_all(connection)
    .await?;
    let Mark { position, hash } = rows.first().map_or(Mark::START, |row| Mark::new(row.published, row.hash.as_deref().unwrap_or_default()));
    let timeline = rows.first().and_then(|row| row.timeline).unwrap_or_default();
    let mut published = Published { position, hash, timeline, parts: BTreeMap::new() };
    for row in rows {
        if let (Some(topic), Some(partition), Some(offset), Some(position)) = (row.topic, row.partition, row.next_offset, row.position) {
            published.parts.insert(Part { topic: topic.into(), partition }, (offset, position));
        }
    }
    Ok(published)
}

/// Hands `consumer`, which has applied everything up to `position`, over from the log to the partitions of `published`. `position` must not be
/// below what is published.
///
/// # Errors
/// The database can't be reached.
pub async fn seat(connection: &mut PgConnection, consumer: &str, published: &Published, position: i64) -> Result<(), Error> {
    let (topics, partitions) = columns(published.parts.keys());
    let offsets: Vec<i64> = published.parts.values().map(|(offset, _)| *offset).collect();
    sqlx::query!(
        r#"
        insert into kafka_places (consumer, topic, partition, next_offset, position)
        select $1, topic, partition, next_offset, $2
        from unnest($3::text[], $4::int[], $5::bigint[]) as p (topic, partition, next_offset)
        "#,
        consumer,
        position,
        &topics as &[&str],
        &partitions,
        &offsets,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Hands `consumer` back to the log: its places go.
///
/// # Errors
/// The database can't be reached.
pub async fn unseat(connection: &mut PgConnection, consumer: &str) -> Result<(), Error> {
    sqlx::query!("delete from kafka_places where consumer = $1", consumer).execute(connection).await?;
    Ok(())
}

/// Says of every place of `consumer` that everything up to `position` is applied. Its owner must learn of it by the checkpoint's revision.
///
/// # Errors
/// The database can't be reached.
pub async fn raise(connection: &mut PgConnection, consumer: &str, position: i64) -> Result<(), Error> {
    // What is published of a partition may be beyond `position` by now: then its offset is, too.
    sqlx::query!(
        r#"
        update kafka_places p set position = $2, next_offset = coalesce((
            select k.next_offset
            from kafka_published k
            where k.topic = p.topic and k.partition = p.partition
              and (select coalesce(max(position), 0) from checkpoints where name = 'publisher') <= $2
        ), p.next_offset)
        where p.consumer = $1 and p.position <= $2
        "#,
        consumer,
        position,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of every place of `consumer` that what is applied is everything up to `position`, wherever it was before, and of no event of another history.
/// Its owner must learn of it by the checkpoint's revision.
///
/// # Errors
/// The database can't be reached.
pub async fn put(connection: &mut PgConnection, consumer: &str, position: i64) -> Result<(), Error> {
    sqlx::query!("update kafka_places set position = $2, hash = hash_at($2) where consumer = $1", consumer, position)
        .execute(&mut *connection)
        .await?;
    raise(connection, consumer, position).await
}

/// Moves the checkpoints of those `consumers` that have places as far as everything is applied, and says where they are. A partition that
/// has all that is published lacks nothing up to what is published; another one lacks nothing up to its place.
///
/// # Errors
/// The database can't be reached.
pub async fn watermarks(connection: &mut PgConnection, consumers: &[String]) -> Result<Vec<(String, i64)>, Error> {
    // One statement, so that published and applied are as of one moment. Whoever holds a checkpoint for long is not waited for.
    let rows = sqlx::query!(
        r#"
        with reached as (
            select p.consumer, least(
                coalesce((select position from checkpoints where name = 'publisher'), 0),
                min(p.position) filter (where k.position is null or p.position < k.position)
            ) as position
            from kafka_places p
            left join kafka_published k on k.topic = p.topic and k.partition = p.partition
            where p.consumer = any($1)
            group by p.consumer
        ), free as (
            select c.name
            from checkpoints c
            join reached r on r.consumer = c.name
            where c.position < r.position
            for no key update of c skip locked
        ), moved as (
            update checkpoints c set position = greatest(c.position, r.position), failure = null, updated_at = now()
            from free f
            join reached r on r.consumer = f.name
            where c.name = f.name
            returning c.name, c.position
        )
        select c.name, coalesce(m.position, c.position) as "position!"
        from checkpoints c
        join reached r on r.consumer = c.name
        left join moved m on m.name = c.name
        "#,
        consumers
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.position)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_finds_the_partition_of_a_stream() {
        let part = |topic: &str, partition| Part { topic: topic.into(), partition };
        let parts: Vec<Part> = (0..12).map(|partition| part("eu.shop.order", partition)).chain([part("eu.shop.cart", 0)]).collect();
        let layout = Layout::of(&parts);
        assert_eq!(layout.part_of("order-7"), Some(part("eu.shop.order", partition::of("order-7", 12))));
        assert_eq!(layout.part_of("cart-7"), Some(part("eu.shop.cart", 0)));
        assert_eq!(layout.part_of("stock-7"), None);
    }
}
