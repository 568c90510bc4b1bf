//! What to do when a group collides with what is in the log: find out which units do, refuse these, and go on with the rest.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::Waiting;
use crate::{
    Committed, Error, Part, Unit,
    append::{MAX_EVENTS_OF_COMMAND, event_id},
};

/// Stands for the position of a command that is still ahead in the same group: its repetition is refused, and finds it when it
/// comes again.
const AHEAD_IN_GROUP: i64 = 0;

/// Whether a group failed since something in it is in the log already, or does not go on where a stream ended.
pub(super) fn is_collision(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "23505" || code == "MX001")
}

/// The last event of a command.
struct Last {
    position: i64,
    hash: Vec<u8>,
}

/// What the log holds of the things that a group is about.
#[derive(Default)]
pub(super) struct Found {
    /// The versions of its streams.
    versions: HashMap<String, i64>,
    /// The commands that were committed before, and their last event.
    commands: HashMap<Uuid, Last>,
    /// The idempotency keys that were used before.
    scopes: HashSet<Vec<u8>>,
}

/// Reads what the log holds of the things that `group` is about.
pub(super) async fn look_up(connection: &mut PgConnection, group: &[Waiting]) -> Result<Found, sqlx::Error> {
    let parts = || group.iter().flat_map(|waiting| &waiting.unit.parts);
    let streams: Vec<&str> = parts().map(|part| part.stream.as_str()).collect();
    let versions = sqlx::query!(
        r#"
        select s.stream_id as "stream_id!", coalesce((select max(version) from events e where e.stream_id = s.stream_id), 0) as "version!"
        from (select distinct unnest($1::text[]) collate "C" as stream_id) s
        "#,
        &streams as &[&str],
    )
    .fetch_all(&mut *connection)
    .await?;
    let first_ids: Vec<Uuid> = parts().map(|part| part.command.uuid()).collect();
    let last_ids: Vec<Uuid> = parts().map(|part| event_id(part.command, MAX_EVENTS_OF_COMMAND)).collect();
    let commands = sqlx::query!(
        r#"
        select c.first_id as "first_id!", l.position as "position!", l.hash as "hash!"
        from unnest($1::uuid[], $2::uuid[]) as c (first_id, last_id)
        join events f on f.event_id = c.first_id
        cross join lateral (
            select position, hash from events where event_id between c.first_id and c.last_id order by event_id desc limit 1
        ) l
        "#,
        &first_ids,
        &last_ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let scopes: Vec<&[u8]> = group.iter().filter_map(|w| w.unit.answer.as_ref()).map(|answer| answer.scope.as_slice()).collect();
    let taken =
        sqlx::query_scalar!("select scope from idempotency_keys where scope = any($1)", &scopes as &[&[u8]]).fetch_all(connection).await?;
    Ok(Found {
        versions: versions.into_iter().map(|row| (row.stream_id, row.version)).collect(),
        commands: commands.into_iter().map(|row| (row.first_id, Last { position: row.position, hash: row.hash })).collect(),
        scopes: taken.into_iter().collect(),
    })
}

impl Found {
    /// Answers every unit that can't be committed; the ones that can, as far as is known.
    pub(super) fn refuse_what_collides(mut self, group: Vec<Waiting>) -> Vec<Waiting> {
        let mut rest = Vec::with_capacity(group.len());
        for waiting in group {
            match self.verdict(&waiting) {
                Verdict::GoesOn => {
                    self.take_in(&waiting);
                    rest.push(waiting);
                }
                Verdict::Committed(position) => {
                    self.note_committed(&waiting);
                    let _ = waiting.answer.send(Ok(Committed { position, repeated: false }));
                }
                Verdict::Repeated(position) => {
                    // The state that this was decided on did not know of the first time, and now counts it twice.
                    waiting.unit.sever();
                    let _ = waiting.answer.send(Ok(Committed { position, repeated: true }));
                }
                Verdict::Refused(error) => waiting.refuse(error),
            }
        }
        rest
    }

    fn verdict(&self, waiting: &Waiting) -> Verdict {
        let unit = &waiting.unit;
        // First of all: where the connection broke, the whole group may have been committed, also what hangs on another of its units.
        let repeated = unit.parts.iter().filter_map(|part| self.commands.get(&part.command.uuid())).map(|last| last.position).max();
        if let Some(position) = repeated {
            return match position {
                AHEAD_IN_GROUP => Verdict::Refused(Error::Conflict),
                position if self.is_in_log(unit) => Verdict::Committed(position),
                position => Verdict::Repeated(position),
            };
        }
        if unit.parts.iter().any(|part| part.lineage.is_severed()) {
            return Verdict::Refused(Error::Conflict);
        }
        if unit.answer.as_ref().is_some_and(|answer| self.scopes.contains(answer.scope.as_slice())) {
            return Verdict::Refused(Error::KeyTaken);
        }
        let moved = |stream: &str, expected: i64| self.versions.get(stream).copied().unwrap_or(0) != expected;
        if unit.parts.iter().any(|part| !part.events.is_empty() && moved(part.stream.as_str(), part.expected_version)) {
            return Verdict::Refused(Error::Conflict);
        }
        Verdict::GoesOn
    }

    /// Whether the very events of `unit` are in the log: a hash is over all that an event says, its stream and version included.
    fn is_in_log(&self, unit: &Unit) -> bool {
        let is_last = |part: &Part| match (part.events.last(), self.commands.get(&part.command.uuid())) {
            (Some(event), Some(last)) => last.hash == event.hash,
            (event, last) => event.is_none() && last.is_none(),
        };
        unit.parts.iter().all(is_last)
    }

    /// What was decided on `waiting` may be committed too.
    fn note_committed(&self, waiting: &Waiting) {
        for part in &waiting.unit.parts {
            if let Some(last) = self.commands.get(&part.command.uuid()) {
                part.lineage.advance(part.expected_version + part.events.len() as i64, last.position);
            }
        }
    }

    /// Later units of the group are judged as if `waiting` were committed.
    fn take_in(&mut self, waiting: &Waiting) {
        for part in waiting.unit.parts.iter().filter(|part| !part.events.is_empty()) {
            self.versions.insert(part.stream.as_str().to_owned(), part.expected_version + part.events.len() as i64);
            self.commands.entry(part.command.uuid()).or_insert(Last { position: AHEAD_IN_GROUP, hash: Vec::new() });
        }
        if let Some(answer) = &waiting.unit.answer {
            self.scopes.insert(answer.scope.to_vec());
        }
    }
}

enum Verdict {
    GoesOn,
    /// It was committed before the connection broke.
    Committed(i64),
    /// Its command was committed before, by somebody who decided it otherwise or elsewhere.
    Repeated(i64),
    Refused(Error),
}
