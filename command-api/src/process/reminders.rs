//! What process managers must do at a time to come: kept in Postgres, moved in the transaction that moves the checkpoint.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use event_schemas::{
    Timestamp,
    ids::{FlashSaleId, OrderId, Sku},
};
use sqlx::{PgConnection, PgPool};

use super::changes::Changes;

/// What is to be looked at when its time comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reminder {
    /// Whether a submitted order was placed.
    Placement(OrderId),
    /// Whether a payment succeeded.
    PaymentDeadline(OrderId),
    /// Which reservations of a SKU have run out.
    Reservations(Sku),
    /// A flash sale starts.
    SaleStart(FlashSaleId, Sku),
    /// A flash sale ends.
    SaleEnd(FlashSaleId, Sku),
}

/// The kinds that a process manager sets, as the table names them.
const KINDS: [&str; 5] = ["placement", "payment-deadline", "reservations", "sale-start", "sale-end"];

impl Reminder {
    fn row(&self) -> (&'static str, String) {
        match self {
            Self::Placement(order) => (KINDS[0], order.to_string()),
            Self::PaymentDeadline(order) => (KINDS[1], order.to_string()),
            Self::Reservations(sku) => (KINDS[2], sku.to_string()),
            Self::SaleStart(sale, sku) => (KINDS[3], format!("{sale} {sku}")),
            Self::SaleEnd(sale, sku) => (KINDS[4], format!("{sale} {sku}")),
        }
    }

    fn from_row(kind: &str, subject: &str) -> Option<Self> {
        let sale = || subject.split_once(' ').and_then(|(sale, sku)| Some((sale.parse().ok()?, sku.parse().ok()?)));
        match KINDS.iter().position(|known| *known == kind)? {
            0 => subject.parse().ok().map(Self::Placement),
            1 => subject.parse().ok().map(Self::PaymentDeadline),
            2 => subject.parse().ok().map(Self::Reservations),
            3 => sale().map(|(sale, sku)| Self::SaleStart(sale, sku)),
            _ => sale().map(|(sale, sku)| Self::SaleEnd(sale, sku)),
        }
    }
}

/// Writes what is to change.
pub(super) async fn write(changes: &Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (mut kinds, mut subjects, mut due, mut gone_kinds, mut gone) =
        (Vec::new(), Vec::new(), Vec::<DateTime<Utc>>::new(), Vec::new(), Vec::new());
    for (reminder, change) in changes.iter() {
        let (kind, subject) = reminder.row();
        if let Some(at) = change {
            kinds.push(kind);
            subjects.push(subject);
            due.push(at.utc());
        } else {
            gone_kinds.push(kind);
            gone.push(subject);
        }
    }
    if !gone.is_empty() {
        sqlx::query!(
            "delete from reminders r using unnest($1::text[], $2::text[]) as g (kind, subject) where r.kind = g.kind and r.subject = g.subject",
            &gone_kinds as &[&str],
            &gone,
        )
        .execute(&mut *connection)
        .await?;
    }
    if !kinds.is_empty() {
        sqlx::query!(
            r#"
            insert into reminders as r (kind, subject, due_at) select * from unnest($1::text[], $2::text[], $3::timestamptz[])
            on conflict (kind, subject) do update set due_at = excluded.due_at where excluded.due_at < r.due_at
            "#,
            &kinds as &[&str],
            &subjects,
            &due,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// All that is set.
pub(super) async fn all(pool: &PgPool) -> Result<HashMap<Reminder, Timestamp>, sqlx::Error> {
    let rows = sqlx::query!("select kind, subject, due_at from reminders where kind <> 'payment'").fetch_all(pool).await?;
    Ok(rows.iter().filter_map(|row| Some((Reminder::from_row(&row.kind, &row.subject)?, row.due_at.into()))).collect())
}

/// The reminders that are due, the longest overdue first.
pub(super) async fn due(pool: &PgPool, now: Timestamp, most: i64) -> Result<Vec<Reminder>, sqlx::Error> {
    let rows = sqlx::query!(
        // Open payments are there too, any number of them: the index leaves them out by the same condition.
        "select kind, subject from reminders where due_at <= $1 and kind <> 'payment' order by due_at limit $2",
        now.utc(),
        most
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.iter().filter_map(|row| Reminder::from_row(&row.kind, &row.subject)).collect())
}

/// Those that were due at `now` and have been seen to are forgotten; what was set anew meanwhile, for later, stays.
pub(super) async fn done(connection: &mut PgConnection, now: Timestamp, seen_to: &[Reminder]) -> Result<(), sqlx::Error> {
    let (kinds, subjects): (Vec<&str>, Vec<String>) = seen_to.iter().map(Reminder::row).unzip();
    sqlx::query!(
        r#"
        delete from reminders r using unnest($1::text[], $2::text[]) as g (kind, subject)
        where r.kind = g.kind and r.subject = g.subject and r.due_at <= $3
        "#,
        &kinds as &[&str],
        &subjects,
        now.utc(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
