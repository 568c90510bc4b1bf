//! A running digest of the log: whoever removes, moves or changes events must write it anew from there on, and then it is not what was noted.
//!
//! It is computed from positions and hashes of events (`docs/event-hash.md`), and kept in the database at some positions by a task beside the
//! appends. [`crate::verify`] computes it again.

use std::{fmt, str::FromStr, time::Duration};

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Error, EventStore};

/// Events after which a digest is kept.
const BLOCK_EVENTS: i64 = 1_000;
/// The longest time that fewer events are left without one.
const OPEN_LIMIT: Duration = Duration::from_mins(1);
/// The pause between two looks for something to be kept.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most blocks of one look: under load appends need the database more.
const BLOCKS_PER_LOOK: usize = 10;
/// The longest time that the last look, at shutdown, may take.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(2);
/// Tells this hash from that of an event (0), so that neither can be taken for the other.
const MARK: u8 = 2;

/// The digest of a log up to a position. Written as `12000:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The last event in it; 0 where there is none.
    pub position: i64,
    /// The digest.
    pub bytes: [u8; 32],
}

impl Digest {
    /// That of no events.
    pub const EMPTY: Self = Self { position: 0, bytes: [0; 32] };

    /// The digest after one more event, at `position` and with `hash`.
    #[must_use]
    pub fn after(self, position: i64, hash: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([MARK]);
        hasher.update(self.bytes);
        hasher.update(position.to_be_bytes());
        hasher.update(hash);
        Self { position, bytes: hasher.finalize().into() }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.position)?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no digest of a log: it must be a position, a colon and 64 hexadecimal digits, as `merx verify` prints it")]
pub struct Malformed;

impl FromStr for Digest {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (position, digits) = text.split_once(':').ok_or(Malformed)?;
        let is_number = !position.is_empty() && position.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Malformed);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| Malformed)?;
        }
        Ok(Self { position: position.parse().map_err(|_| Malformed)?, bytes })
    }
}

/// The events that are to have a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Whole blocks only.
    Blocks,
    /// All that there are.
    All,
}

/// Keeps digests of the events that have none yet, up to ten blocks; the position of the newest one. Any number of processes may do so at once: they
/// come to the same.
///
/// # Errors
/// The database can't be reached, or refuses.
pub async fn close(pool: &PgPool, closing: Closing) -> Result<i64, Error> {
    let newest = sqlx::query!("select position, digest from log_digests order by position desc limit 1").fetch_optional(pool).await?;
    let mut digest = match newest {
        Some(row) => Digest {
            position: row.position,
            bytes: row.digest.try_into().map_err(|_| Error::Refused("a digest of the log has no 32 bytes".to_owned()))?,
        },
        None => Digest::EMPTY,
    };
    for _ in 0..BLOCKS_PER_LOOK {
        let events =
            sqlx::query!("select position, hash from events where position > $1 order by position limit $2", digest.position, BLOCK_EVENTS)
                .fetch_all(pool)
                .await?;
        let is_whole = events.len() as i64 == BLOCK_EVENTS;
        if events.is_empty() || (!is_whole && closing == Closing::Blocks) {
            break;
        }
        digest = events.iter().fold(digest, |digest, event| digest.after(event.position, &event.hash));
        sqlx::query!(
            "insert into log_digests (position, digest) values ($1, $2) on conflict (position) do nothing",
            digest.position,
            &digest.bytes[..],
        )
        .execute(pool)
        .await?;
    }
    Ok(digest.position)
}

/// Keeps digests until `shutdown`, and then of all that is left.
pub async fn keep(store: EventStore, shutdown: CancellationToken) {
    let (mut closed, mut open_since) = (0, None);
    while shutdown.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
        let open = store.known_head() - closed;
        if open < 0 {
            // The log has gone back, and its digests with it: they are read anew.
            closed = 0;
        }
        if open <= 0 {
            open_since = None;
            continue;
        }
        let since = *open_since.get_or_insert_with(Instant::now);
        let closing = if since.elapsed() >= OPEN_LIMIT { Closing::All } else { Closing::Blocks };
        if open < BLOCK_EVENTS && closing == Closing::Blocks && closed > 0 {
            continue;
        }
        match close(store.pool(), closing).await {
            Ok(position) => {
                if position > closed {
                    open_since = None;
                }
                closed = position;
            }
            Err(error) => tracing::warn!(%error, "the digest of the log can't be kept; it is tried again"),
        }
    }
    if let Ok(Err(error)) = timeout(LAST_LOOK_LIMIT, close(store.pool(), Closing::All)).await {
        tracing::debug!(%error, "the newest events have no digest yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_every_event_and_its_place() {
        let of = |events: &[(i64, [u8; 32])]| events.iter().fold(Digest::EMPTY, |digest, (position, hash)| digest.after(*position, hash));
        let events = [(1, [1; 32]), (2, [2; 32]), (3, [3; 32])];
        let whole = of(&events);
        assert_eq!(whole.position, 3);
        for other in [
            &events[1..],
            &[(1, [2; 32]), (2, [1; 32]), (3, [3; 32])],
            &[(1, [1; 32]), (2, [3; 32])],
            &[(1, [1; 32]), (2, [2; 32]), (4, [3; 32])],
        ] {
            assert_ne!(of(other).bytes, whole.bytes, "{other:?}");
        }
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::EMPTY.after(1, &[7; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let digits = "ab".repeat(32);
        for text in [
            "",
            ":",
            "1",
            &format!("-1:{digits}"),
            &format!("+1:{digits}"),
            &format!(":{digits}"),
            &format!("1:{digits}a"),
            &format!("1:{}zz", &digits[2..]),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(Malformed), "{text:?}");
        }
    }
}
