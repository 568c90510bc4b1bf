//! How far the log has been published, as the database keeps it.

use sqlx::PgConnection;

use super::{
    NAME,
    flight::{Place, Progress},
    health::Trouble,
};
use crate::{
    Checkpoint, EventStore,
    kafka::{Settings, partition, topics},
    lease,
};

/// The topics of the publisher and the partitions that are used of each. A place is the number of a topic times that, and the partition.
#[derive(Debug, Clone)]
pub struct Layout {
    pub prefix: String,
    pub topics: Vec<String>,
    pub partitions: i32,
}

impl Layout {
    pub fn new(settings: &Settings, categories: &[String]) -> Self {
        let topics = categories.iter().map(|category| topics::of_category(&settings.prefix, category)).collect();
        Self { prefix: settings.prefix.clone(), topics, partitions: settings.partitions }
    }

    pub fn places(&self) -> usize {
        self.topics.len() * usize::try_from(self.partitions).unwrap_or(0)
    }

    /// The place of a partition.
    pub fn place(&self, topic: usize, partition: i32) -> usize {
        topic * usize::try_from(self.partitions).unwrap_or(0) + usize::try_from(partition).unwrap_or(0)
    }

    /// The place of the events of `stream`; none where its category has no topic here.
    pub fn place_of(&self, stream: &str) -> Option<usize> {
        let topic = topics::of_stream(&self.prefix, stream);
        let topic = self.topics.iter().position(|known| *known == topic)?;
        Some(self.place(topic, partition::of(stream, self.partitions)))
    }

    /// The partition of a place.
    pub fn partition(&self, place: usize) -> (&str, i32) {
        let partitions = usize::try_from(self.partitions).unwrap_or(1).max(1);
        (&self.topics[place / partitions], i32::try_from(place % partitions).unwrap_or(0))
    }
}

/// Where publishing goes on from.
#[derive(Debug)]
pub struct Start {
    pub checkpoint: Checkpoint,
    pub places: Vec<Place>,
}

/// The categories that have been published so far, by topic.
pub async fn published_topics(store: &EventStore) -> Result<Vec<(String, i64)>, Trouble> {
    let rows = sqlx::query!(r#"select topic, count(*) as "partitions!" from kafka_published group by topic order by topic"#);
    let rows = rows.fetch_all(store.pool()).await?;
    Ok(rows.into_iter().map(|row| (row.topic, row.partitions)).collect())
}

/// What speaks against publishing with `settings` a log that has been published to `topics`.
pub fn contradiction(settings: &Settings, published: &[(String, i64)]) -> Option<Trouble> {
    let Settings { prefix, partitions, .. } = settings;
    for (topic, before) in published {
        if topics::category(prefix, topic).is_none_or(|category| category.contains('.')) {
            return Some(Trouble::Topics(format!(
                "this log is published to {topic} and others, and KAFKA_TOPIC_PREFIX is {prefix}: set it as it was, since what has been published is not there"
            )));
        }
        if *before != i64::from(*partitions) {
            return Some(Trouble::Topics(format!(
                "this log is published to {before} partitions of each topic, and KAFKA_PARTITIONS is {partitions}: set it to {before}, since \
                 streams would change their partition"
            )));
        }
    }
    None
}

/// Keeps `ends`, the offsets after the last message, as the beginning of the partitions of a topic that nothing has been published to.
pub async fn begin(store: &EventStore, fence: i64, topic: &str, ends: &[i64]) -> Result<bool, Trouble> {
    let mut transaction = store.pool().begin().await?;
    if !lease::stands(&mut transaction, NAME, fence).await? {
        return Ok(false);
    }
    sqlx::query!(
        r#"
        insert into kafka_published (topic, partition, next_offset, position)
        select $1, e.nth::int - 1, e.next_offset, 0 from unnest($2::bigint[]) with ordinality e (next_offset, nth)
        on conflict do nothing
        "#,
        topic,
        ends,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

/// Where the log has been published to, all of it as of one moment.
pub async fn read(store: &EventStore, layout: &Layout) -> Result<Start, Trouble> {
    let mut transaction = store.pool().begin().await?;
    Checkpoint::open(&mut transaction, NAME, 1).await?;
    // Whoever changes the places holds this lock. Places that are older than the checkpoint would let consumers miss what is between.
    let checkpoint = Checkpoint::lock(&mut transaction, NAME).await?;
    let checkpoint = checkpoint.ok_or_else(|| crate::Error::Unavailable(format!("the checkpoint {NAME} has just been removed")))?;
    let rows = sqlx::query!("select topic, partition, next_offset, position from kafka_published where topic = any($1)", &layout.topics)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    let mut places = vec![None; layout.places()];
    for row in rows {
        if let Some(topic) = layout.topics.iter().position(|topic| *topic == row.topic)
            && row.partition < layout.partitions
        {
            places[layout.place(topic, row.partition)] = Some(Place { next_offset: row.next_offset, position: row.position });
        }
    }
    let places: Option<Vec<Place>> = places.into_iter().collect();
    let places = places.ok_or_else(|| Trouble::Topics("partitions are missing in kafka_published, and are made again".into()))?;
    Ok(Start { checkpoint, places })
}

/// What became of a step forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was committed.
    Done,
    /// Somebody else has had the lease meanwhile.
    NotOurs,
    /// Somebody else has moved the checkpoint.
    Revised,
}

/// Moves `checkpoint` and the places of partitions to where everything has been acknowledged, if the lease still has `fence`.
pub async fn step(
    store: &EventStore,
    fence: i64,
    checkpoint: &mut Checkpoint,
    layout: &Layout,
    progress: &Progress,
) -> Result<Step, Trouble> {
    let mut transaction = store.pool().begin().await?;
    if !lease::stands(&mut transaction, NAME, fence).await? {
        return Ok(Step::NotOurs);
    }
    if !checkpoint.advance(&mut transaction, progress.position).await? {
        return Ok(Step::Revised);
    }
    write(&mut transaction, layout, progress).await?;
    transaction.commit().await?;
    checkpoint.position = progress.position;
    Ok(Step::Done)
}

async fn write(connection: &mut PgConnection, layout: &Layout, progress: &Progress) -> Result<(), Trouble> {
    let mut topics = Vec::with_capacity(progress.moved.len());
    let mut partitions = Vec::with_capacity(progress.moved.len());
    for (place, _) in &progress.moved {
        let (topic, partition) = layout.partition(*place);
        topics.push(topic.to_owned());
        partitions.push(partition);
    }
    let offsets: Vec<i64> = progress.moved.iter().map(|(_, place)| place.next_offset).collect();
    let positions: Vec<i64> = progress.moved.iter().map(|(_, place)| place.position).collect();
    sqlx::query!(
        r#"
        update kafka_published p set next_offset = m.next_offset, position = m.position
        from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) m (topic, partition, next_offset, position)
        where p.topic = m.topic and p.partition = m.partition
        "#,
        &topics,
        &partitions,
        &offsets,
        &positions,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says in the checkpoint why publishing does not go on, or that it does.
pub async fn note(store: &EventStore, trouble: Option<&Trouble>) -> Result<(), crate::Error> {
    let failure = trouble.map(ToString::to_string);
    sqlx::query!("update checkpoints set failure = $2 where name = $1 and failure is distinct from $2", NAME, failure)
        .execute(store.pool())
        .await?;
    Ok(())
}

/// How many events are in the log that Kafka has not acknowledged.
pub async fn lag(store: &EventStore) -> Result<i64, crate::Error> {
    let lag = sqlx::query_scalar!(
        r#"
        select greatest(h.position - coalesce((select position from checkpoints where name = $1), 0), 0) as "lag!" from log_head h
        "#,
        NAME,
    );
    Ok(lag.fetch_one(store.pool()).await?)
}
