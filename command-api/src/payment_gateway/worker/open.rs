//! The payments that are not settled: kept in memory, and in Postgres for whoever comes after a crash.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use event_schemas::{Timestamp, ids::OrderId};
use event_store::checkpoint;
use sqlx::PgPool;

use super::Busy;
use crate::shop::now;

const KIND: &str = "payment";

/// What waits for its next attempt, and what of it is written down.
pub(super) struct Open {
    waiting: HashMap<OrderId, Timestamp>,
    written: HashSet<OrderId>,
    position: i64,
}

impl Open {
    /// What was open when the worker before this one stopped.
    pub async fn read(pool: &PgPool) -> Result<Self, event_store::Error> {
        let position = sqlx::query_scalar!("select position from checkpoints where name = $1", super::NAME).fetch_one(pool).await?;
        let subjects = sqlx::query_scalar!("select subject from reminders where kind = $1", KIND).fetch_all(pool).await?;
        let written = subjects.iter().filter_map(|subject| subject.parse().ok()).collect();
        Ok(Self { waiting: HashMap::new(), written, position })
    }

    pub fn orders(&self) -> Vec<OrderId> {
        self.written.iter().copied().collect()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn wait(&mut self, order: OrderId, until: Timestamp) {
        self.waiting.insert(order, until);
    }

    pub fn settled(&mut self, order: OrderId) {
        self.waiting.remove(&order);
    }

    /// When the first attempt is due that is not under way.
    pub fn next_due(&self, busy: &HashMap<OrderId, Busy>) -> Option<Timestamp> {
        self.waiting.iter().filter(|(order, _)| !busy.contains_key(order)).map(|(_, at)| *at).min()
    }

    /// Takes out what is due at `now`.
    pub fn due(&mut self, now: Timestamp) -> Vec<OrderId> {
        self.waiting.extract_if(|_, at| *at <= now).map(|(order, _)| order).collect()
    }

    /// Whether what is written down is not what is open.
    pub fn is_changed(&self) -> bool {
        self.waiting.len() != self.written.len() || self.waiting.keys().any(|order| !self.written.contains(order))
    }

    /// Writes down what is open (`busy` is, too) and that everything up to `position` is either settled or open.
    pub async fn write(&mut self, pool: &PgPool, busy: &[OrderId], name: &str, position: i64) -> Result<(), event_store::Error> {
        let open: HashSet<OrderId> = self.waiting.keys().chain(busy).copied().collect();
        let added: Vec<String> = open.difference(&self.written).map(ToString::to_string).collect();
        let gone: Vec<String> = self.written.difference(&open).map(ToString::to_string).collect();
        if added.is_empty() && gone.is_empty() && position == self.position {
            return Ok(());
        }
        let at: DateTime<Utc> = now().utc();
        let mut transaction = pool.begin().await?;
        sqlx::query!("set local synchronous_commit = off").execute(&mut *transaction).await?;
        if !checkpoint::advance(&mut transaction, name, self.position, position).await? {
            return Err(event_store::Error::Conflict); // another server has taken over
        }
        if !added.is_empty() {
            sqlx::query!(
                "insert into reminders (kind, subject, due_at) select $1, subject, $3 from unnest($2::text[]) as a (subject) on conflict do nothing",
                KIND,
                &added,
                at
            )
            .execute(&mut *transaction)
            .await?;
        }
        if !gone.is_empty() {
            sqlx::query!("delete from reminders where kind = $1 and subject = any($2)", KIND, &gone).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.written = open;
        self.position = position;
        Ok(())
    }
}
