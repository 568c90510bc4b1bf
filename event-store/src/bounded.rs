//! Answers of Postgres that have more than is to be taken.

use futures::{TryStreamExt as _, stream::BoxStream};
use sqlx::{Postgres, pool::PoolConnection};

/// The most bytes that are read and thrown away, so that a connection can be used again. For more than these a new one costs less.
const DISCARD_BYTES: usize = 8 << 20;

/// The rows that were taken of an answer.
#[derive(Debug)]
pub struct Taken<T> {
    /// In the order in which they came.
    pub rows: Vec<T>,
    /// True where there may have been more, for which there was no room.
    pub is_cut: bool,
    /// The part of the answer that was not taken.
    pub rest: Rest,
}

impl<T> Taken<T> {
    /// The rows, and whether there may have been more. What is left of the answer is thrown away with its `connection`, if it is too much.
    pub fn over(self, mut connection: PoolConnection<Postgres>) -> (Vec<T>, bool) {
        if self.rest == Rest::TooMuch {
            connection.close_on_drop();
        }
        (self.rows, self.is_cut)
    }
}

/// Takes `rows`, each of which has about so many `bytes`, up to the one that makes it `most_bytes`.
///
/// # Errors
/// The database can't be reached.
pub async fn take<T>(
    mut rows: BoxStream<'_, Result<T, sqlx::Error>>,
    bytes: impl Fn(&T) -> usize,
    most_bytes: usize,
) -> Result<Taken<T>, sqlx::Error> {
    let (mut taken, mut taken_bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        taken_bytes += bytes(&row);
        taken.push(row);
        if taken_bytes >= most_bytes {
            return Ok(Taken { rows: taken, is_cut: true, rest: leave(rows, bytes).await? });
        }
    }
    Ok(Taken { rows: taken, is_cut: false, rest: Rest::Nothing })
}

/// The part of an answer that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the connection is free.
    Nothing,
    /// So much that the connection had better be closed. Who goes on to use it waits until all of it has come.
    TooMuch,
}

/// Leaves what is left of `rows`, each of which has about so many `bytes`: throws it away, if it is not too much.
///
/// # Errors
/// The database can't be reached.
pub async fn leave<T>(mut rows: BoxStream<'_, Result<T, sqlx::Error>>, bytes: impl Fn(&T) -> usize) -> Result<Rest, sqlx::Error> {
    let mut discarded = 0;
    while let Some(row) = rows.try_next().await? {
        discarded += bytes(&row);
        if discarded > DISCARD_BYTES {
            return Ok(Rest::TooMuch);
        }
    }
    Ok(Rest::Nothing)
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn no_more_is_thrown_away_than_a_connection_is_worth() {
        let answer = |rows: usize, bytes: usize| leave(Box::pin(stream::iter((0..rows).map(move |_| Ok(bytes)))), |bytes: &usize| *bytes);
        assert_eq!(answer(0, 0).await.unwrap(), Rest::Nothing);
        assert_eq!(answer(8, 1 << 20).await.unwrap(), Rest::Nothing);
        assert_eq!(answer(9, 1 << 20).await.unwrap(), Rest::TooMuch);
    }

    #[tokio::test]
    async fn rows_are_taken_up_to_the_one_that_has_no_more_room_after_it() {
        let answer = |rows: usize| take(Box::pin(stream::iter((0..rows).map(Ok))), |_: &usize| 10, 25);
        let all = answer(2).await.unwrap();
        assert_eq!((all.rows, all.is_cut, all.rest), (vec![0, 1], false, Rest::Nothing));
        let some = answer(5).await.unwrap();
        assert_eq!((some.rows, some.is_cut, some.rest), (vec![0, 1, 2], true, Rest::Nothing));
        let one = take(Box::pin(stream::iter((0..3).map(Ok))), |_: &usize| 9 << 20, 25).await.unwrap();
        assert_eq!((one.rows, one.is_cut, one.rest), (vec![0], true, Rest::TooMuch));
    }
}
