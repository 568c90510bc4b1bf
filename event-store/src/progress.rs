//! Progress of the consumers of the log, and if they keep up: the one rule behind `/v1/projections`, `/readyz`, the metrics and
//! `merx projections`.

use event_schemas::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use crate::Error;

/// Whoever lacks only what was recorded within this time has come as far as can be asked, in seconds.
const LIVE_LAG_S: f64 = 5.0;
/// Whoever lacks something and has not moved for this long does not move, in seconds.
const STALL_S: f64 = 10.0;

/// Progress of all consumers, as of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// The position of the newest event.
    pub head: i64,
    /// Every consumer that has ever begun, by name.
    pub consumers: Vec<Consumer>,
}

/// Progress of one consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// The version of its code.
    pub version: i32,
    /// The position that it has come to.
    pub position: i64,
    /// Number of events that it lacks up to the head of the log; at least 0.
    pub lag: i64,
    /// Age of the oldest event that it lacks, in seconds; 0 where it lacks none.
    pub lag_seconds: f64,
    /// Its state, which tells if it keeps up.
    pub state: State,
    /// The reason why it does not go on, where it is failing.
    pub failure: Option<String>,
    /// Progress of a new read model, where one is being built beside the one in use.
    pub rebuild: Option<Rebuild>,
    /// Number of streams that it has parked.
    pub parked: i64,
    /// Time at which it last moved, or noted a failure or its end.
    pub updated_at: Timestamp,
    /// The holder of its lease, who works for it; none where nobody holds it.
    pub holder: Option<Uuid>,
}

/// A read model that is being built anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// The version of the projection that it is built by.
    pub version: i32,
    /// The position that it has come to.
    pub position: i64,
    /// Number of events that it lacks up to the head of the log; at least 0.
    pub lag: i64,
}

/// State of a consumer, from keeping up to failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has nothing to do, or lacks no more than the last moment's events.
    Live,
    /// It lacks more than that, and moves.
    Behind,
    /// It lacks something, and does not move.
    Stalled,
    /// It can't go on, and tries again and again.
    Failing,
}

impl State {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Live, Self::Behind, Self::Stalled, Self::Failing];

    fn of(lag_seconds: f64, unmoved_seconds: f64, is_failing: bool) -> Self {
        if is_failing {
            Self::Failing
        } else if lag_seconds <= LIVE_LAG_S {
            Self::Live
        } else if unmoved_seconds <= STALL_S || lag_seconds <= STALL_S {
            Self::Behind
        } else {
            Self::Stalled
        }
    }

    /// Its name, as clients see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Behind => "behind",
            Self::Stalled => "stalled",
            Self::Failing => "failing",
        }
    }

    /// Returns true where its consumer does what it is for, if late.
    #[must_use]
    pub const fn is_moving(self) -> bool {
        matches!(self, Self::Live | Self::Behind)
    }
}

impl Consumer {
    /// Trouble that it is in, for people; none where it moves.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self.state {
            State::Live | State::Behind => None,
            State::Stalled => Some(format!("{} lacks {} events and does not move", self.name, self.lag)),
            State::Failing => Some(format!("{}: {}", self.name, self.failure.as_deref().unwrap_or("it can't go on"))),
        }
    }
}

/// Reads the progress of all consumers, as of now.
///
/// # Errors
/// The database can't be reached.
pub async fn read(pool: &PgPool) -> Result<Progress, Error> {
    let rows = sqlx::query!(
        r#"
        select h.position as "head!", c.name as "name?", c.version as "version?", c.position as "position?", c.updated_at as "updated_at?",
               c.failure, r.version as "rebuild_version?", r.position as "rebuild_position?", l.holder as "holder?",
               coalesce(greatest(extract(epoch from now() - e.recorded_at), 0), 0)::float8 as "lag_seconds!",
               coalesce(extract(epoch from now() - c.updated_at), 0)::float8 as "unmoved_seconds!",
               (select count(*) from parked_streams p where p.consumer = c.name) as "parked!"
        from log_head h
        left join checkpoints c on c.name not like '%:rebuild'
        left join checkpoints r on r.name = c.name || ':rebuild'
        left join events e on e.position = c.position + 1
        left join leases l on l.expires_at > now()
            and l.name = any(array[c.name, 'projection:' || c.name, case c.name when 'search-index' then 'search-indexer' end])
        order by c.name
        "#
    )
    .fetch_all(pool)
    .await?;
    let head = rows.first().map_or(0, |row| row.head);
    let lag = |position| i64::max(head - position, 0);
    let consumers = rows.into_iter().filter_map(|row| {
        let position = row.position?;
        let rebuild = row.rebuild_version.zip(row.rebuild_position);
        Some(Consumer {
            name: row.name?,
            version: row.version?,
            position,
            lag: lag(position),
            lag_seconds: row.lag_seconds,
            state: State::of(row.lag_seconds, row.unmoved_seconds, row.failure.is_some()),
            failure: row.failure,
            rebuild: rebuild.map(|(version, position)| Rebuild { version, position, lag: lag(position) }),
            parked: row.parked,
            updated_at: row.updated_at?.into(),
            holder: row.holder,
        })
    });
    Ok(Progress { head, consumers: consumers.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_means_that_it_moves_or_has_nothing_to_do() {
        for (lag_seconds, unmoved_seconds, state) in [
            (0.0, 86_400.0, State::Live),
            (0.2, 86_400.0, State::Live),
            (8.0, 86_400.0, State::Behind),
            (3_600.0, 0.1, State::Behind),
            (11.0, 11.0, State::Stalled),
        ] {
            assert_eq!(State::of(lag_seconds, unmoved_seconds, false), state, "{lag_seconds} {unmoved_seconds}");
            assert_eq!(State::of(lag_seconds, unmoved_seconds, true), State::Failing);
        }
    }
}
