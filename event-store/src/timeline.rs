//! Timelines, the histories of the log, and the check that it is still the one that is remembered.
//!
//! A log that is restored from a backup, or whose standby took over without the newest events, goes on with others in their place. Whoever
//! remembers [`Mark`]s finds out, by the first that the log does not have; a new [`Timeline`] begins then at the last that it has. Consumers on
//! Kafka tell by it which messages are of events that were lost.

use event_schemas::Timestamp;
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    Error,
    mark::{Mark, Past},
};

/// One unbroken history of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// Its id. That of a later one is greater.
    pub id: Uuid,
    /// Everything up to here is as it was in the one before; 0 for the first.
    pub since: i64,
    /// Time at which it was found to have begun.
    pub begun_at: Timestamp,
}

/// Outcome of comparing a log with what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// It has all of it.
    Fits,
    /// It has gone back. The last event that it has in common with what is remembered, as far as that is known.
    WentBack(Mark),
}

/// Compares the log with `remembered`, oldest first.
///
/// # Errors
/// The database can't be reached.
pub async fn compare(connection: &mut PgConnection, remembered: &[Mark]) -> Result<Compared, Error> {
    let positions: Vec<i64> = remembered.iter().map(|mark| mark.position).collect();
    let hashes: Vec<&[u8]> = remembered.iter().map(|mark| mark.hash.as_slice()).collect();
    // How many fit before the first that does not: what lies behind that is of another history, whatever stands there.
    let fitting = sqlx::query_scalar!(
        r#"
        select coalesce(min(m.nth) - 1, $3) as "fitting!"
        from unnest($1::bigint[], $2::bytea[]) with ordinality as m (position, hash, nth)
        where not log_has(m.position, m.hash)
        "#,
        &positions,
        &hashes as &[&[u8]],
        remembered.len() as i64,
    )
    .fetch_one(connection)
    .await?;
    let fitting = usize::try_from(fitting).unwrap_or(0);
    if fitting == remembered.len() {
        return Ok(Compared::Fits);
    }
    Ok(Compared::WentBack(fitting.checked_sub(1).and_then(|last| remembered.get(last)).copied().unwrap_or(Mark::START)))
}

/// The timelines of a log, the first one first: there is one at least, and the last is the one that the log is on.
#[derive(Debug, Clone)]
pub struct Timelines(Vec<Timeline>);

impl Timelines {
    /// Those of the log behind `connection`.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn read(connection: &mut PgConnection) -> Result<Self, Error> {
        let rows = sqlx::query!("select id, since, begun_at from timelines order by id").fetch_all(connection).await?;
        Ok(Self(rows.into_iter().map(|row| Timeline { id: row.id, since: row.since, begun_at: row.begun_at.into() }).collect()))
    }

    /// The one that the log is on.
    #[must_use]
    pub fn current(&self) -> Timeline {
        self.0.last().copied().unwrap_or(Timeline { id: Uuid::nil(), since: 0, begun_at: Timestamp::from_micros(0) })
    }

    /// Returns `Some(true)` where the event that stood at `position` on the timeline `id` is in the log; `None` where there is no such
    /// timeline here. Messages without an id are of the first: there was no other when they were written.
    #[must_use]
    pub fn have(&self, id: Option<Uuid>, position: i64) -> Option<bool> {
        let nth = id.map_or(Some(0), |id| self.0.iter().position(|timeline| timeline.id == id))?;
        Some(self.0.iter().skip(nth + 1).all(|later| position <= later.since))
    }
}

/// The timeline that the log is on.
///
/// # Errors
/// The database can't be reached.
pub async fn current(connection: &mut PgConnection) -> Result<Timeline, Error> {
    Ok(Timelines::read(connection).await?.current())
}

/// Findings about a log that has gone back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parting {
    /// The timeline that it is on now.
    pub timeline: Timeline,
    /// The last event that it has in common with what was remembered, as far as that is known.
    pub common: Mark,
    /// Its newest event.
    pub head: Mark,
    /// True where nobody else had found out before.
    pub is_new: bool,
}

/// Compares the log with `remembered`, oldest first, which was of the timeline `of` or one before; where it has gone back, has a new timeline
/// begin at the last common event, unless somebody else has done so. None where it has not.
///
/// # Errors
/// The database can't be reached.
pub async fn part(pool: &PgPool, remembered: &[Mark], of: Uuid) -> Result<Option<Parting>, Error> {
    let mut connection = pool.acquire().await?;
    if compare(&mut connection, remembered).await? == Compared::Fits {
        return Ok(None);
    }
    let mut transaction = connection.begin().await?;
    // Of several who find out one at a time begins a timeline.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('merx timelines', 0))").execute(&mut *transaction).await?;
    let Compared::WentBack(common) = compare(&mut transaction, remembered).await? else { return Ok(None) };
    let head = head(&mut transaction).await?;
    let told = sqlx::query!("select id from timelines where id > $1 and since <= $2 limit 1", of, common.position);
    let is_new = told.fetch_optional(&mut *transaction).await?.is_none();
    if is_new {
        begin(&mut transaction, common, of).await?;
    }
    let timeline = current(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Some(Parting { timeline, common, head, is_new }))
}

/// Begins a timeline after `common`; its id is greater than that of any there is, and than `beyond`. The caller has looked that none begins there.
///
/// # Errors
/// The database can't be reached.
pub async fn begin(connection: &mut PgConnection, common: Mark, beyond: Uuid) -> Result<(), Error> {
    let before = current(connection).await?;
    let least = before.id.max(beyond).as_u128() + 1;
    let id = Uuid::from_u128(Uuid::now_v7().as_u128().max(least));
    sqlx::query!(
        "insert into timelines (id, since, hash, predecessor) values ($1, $2, $3, $4)",
        id,
        common.position,
        &common.hash[..],
        before.id
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from log_marks where position > $1", common.position).execute(&mut *connection).await?;
    // What stands on Kafka of the timelines before is of no use beyond here: all of it is sent again under the new one, whoever publishes.
    sqlx::query!(
        r#"
        update checkpoints set position = least(position, $1), hash = hash_at(least(position, $1)), revision = revision + 1, updated_at = now()
        where name = 'publisher'
        "#,
        common.position
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("update kafka_published set position = $1 where position > $1", common.position).execute(&mut *connection).await?;
    sqlx::query!(
        "update kafka_sent_again set position = greatest(from_position - 1, $1) where ended_at is null and position > $1",
        common.position
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest event.
async fn head(connection: &mut PgConnection) -> Result<Mark, Error> {
    let row = sqlx::query!(r#"select position, hash_at(position) as "hash!" from log_head"#).fetch_one(connection).await?;
    Ok(Mark::new(row.position, &row.hash))
}

/// The marks that the database keeps, up to `position`, oldest first.
///
/// # Errors
/// The database can't be reached.
pub async fn kept_marks(connection: &mut PgConnection, position: i64) -> Result<Vec<Mark>, Error> {
    let rows = sqlx::query!("select position, hash from log_marks where position <= $1 order by position", position);
    let rows = rows.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| Mark::new(row.position, &row.hash)).collect())
}

/// Keeps `mark` in the database, where the log has it, and no more of the older ones than are worth it.
///
/// # Errors
/// The database can't be reached.
pub(crate) async fn keep_mark(pool: &PgPool, mark: Mark) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    sqlx::query!(
        r#"
        insert into log_marks (position, hash) select position, hash from events where position = $1 and hash = $2
        on conflict do nothing
        "#,
        mark.position,
        &mark.hash[..]
    )
    .execute(&mut *connection)
    .await?;
    let kept = kept_marks(&mut connection, i64::MAX).await?;
    let worth = Past::thinned(&kept);
    if worth.len() < kept.len() {
        let positions: Vec<i64> = worth.iter().map(|mark| mark.position).collect();
        sqlx::query!("delete from log_marks where position <> all($1) and position <= $2", &positions, mark.position)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_timeline_does_not_have_is_lost() {
        let timeline = |id: u128, since| Timeline { id: Uuid::from_u128(id), since, begun_at: Timestamp::from_micros(0) };
        let timelines = Timelines(vec![timeline(1, 0), timeline(4, 95), timeline(6, 80)]);
        let have = |id: u128, position| timelines.have(Some(Uuid::from_u128(id)), position);
        assert_eq!([have(1, 80), have(1, 81), have(1, 96)], [Some(true), Some(false), Some(false)]);
        assert_eq!([have(4, 80), have(4, 90)], [Some(true), Some(false)]);
        assert_eq!([have(6, 80), have(6, 1_000)], [Some(true), Some(true)]);
        assert_eq!([have(5, 3), have(7, 3)], [None, None], "of a history that this log was put back before, or does not know of yet");
        assert_eq!([timelines.have(None, 80), timelines.have(None, 81)], [Some(true), Some(false)]);
        assert_eq!(timelines.current(), timeline(6, 80));
    }
}
