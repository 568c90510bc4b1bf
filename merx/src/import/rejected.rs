//! Rows that fit nowhere: every one is counted with its amount, and the first ones are listed.

use std::fmt;

use rust_decimal::Decimal;

/// The most that are listed.
const MAX_LISTED: usize = 50;

/// Rows that fit nowhere, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The line of the first of them; 0 where it is about no line, but about a product as a whole.
    pub line: u64,
    /// How many there are: 1, but for an invoice that is refused whole, and for a product.
    pub rows: u64,
    /// What is wrong with them.
    pub reason: String,
    /// What they come to, where that can be read.
    pub amount: Option<Decimal>,
}

/// All rows that fit nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    listed: Vec<Rejection>,
    /// How many there are.
    pub rows: u64,
    /// What they come to, as far as their amounts can be read.
    pub amount: Decimal,
    /// How many of them have an amount that can't be read, or none.
    pub rows_without_amount: u64,
}

impl Rejections {
    /// Counts one more.
    pub fn add(&mut self, rejection: Rejection) {
        self.rows += rejection.rows;
        match rejection.amount.and_then(|amount| self.amount.checked_add(amount)) {
            Some(amount) => self.amount = amount,
            None => self.rows_without_amount += rejection.rows,
        }
        if self.listed.len() < MAX_LISTED {
            self.listed.push(rejection);
        }
    }

    /// Takes in others.
    pub fn merge(&mut self, others: Self) {
        self.rows += others.rows;
        self.amount = self.amount.saturating_add(others.amount);
        self.rows_without_amount += others.rows_without_amount;
        self.listed.extend(others.listed);
        self.listed.sort_by_key(|rejection| rejection.line);
        self.listed.truncate(MAX_LISTED);
    }

    /// Returns true where everything fits.
    pub fn is_none(&self) -> bool {
        self.rows == 0 && self.listed.is_empty()
    }

    /// Message to whoever asked for the import, and may not read the list.
    pub fn left_out(&self) -> String {
        match self.rows {
            0 => "some products were left as they were, for the reasons above: mend them and import the file again".to_owned(),
            rows => format!("{rows} rows were left out, for the reasons above: mend them and import the file again"),
        }
    }

    /// The first ones, by line.
    #[cfg(test)]
    pub fn listed(&self) -> &[Rejection] {
        &self.listed
    }
}

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows that fit nowhere: {}", self.rows)?;
        if self.is_none() {
            return Ok(());
        }
        write!(f, ", amounting to {}", self.amount)?;
        if self.rows_without_amount > 0 {
            write!(f, " and {} rows whose amount is unknown", self.rows_without_amount)?;
        }
        for Rejection { line, rows, reason, amount } in &self.listed {
            match line {
                0 => write!(f, "\n  {reason}")?,
                line => write!(f, "\n  line {line}: {reason}")?,
            }
            if *rows > 1 {
                write!(f, " ({rows} rows)")?;
            }
            if let Some(amount) = amount {
                write!(f, " [{amount}]")?;
            }
        }
        let listed: u64 = self.listed.iter().map(|rejection| rejection.rows).sum();
        if listed < self.rows { write!(f, "\n  and {} more rows", self.rows - listed) } else { Ok(()) }
    }
}
