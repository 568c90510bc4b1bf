//! Importers: other shops' history and catalogues, written through the same commands as everything else.
//!
//! A file is read twice, as a stream both times. The first reading finds damage (a wrong header, a file that was cut off, broken quotes,
//! another encoding) before anything is changed; the second one writes. A row that is readable but fits nowhere is reported and counted,
//! and the rows around it are imported. Every command of an import has an id made from what it is about (see [`identity`]), so an import
//! that is repeated, or goes on after it was killed, appends only what is not there yet.

pub mod catalogue;
pub mod demo;
mod identity;
pub mod online_retail;
pub mod progress;
mod rejected;
mod rows;
mod run;
mod source;
#[cfg(test)]
mod tests;

pub use rejected::{Rejection, Rejections};
pub use rows::Damage;
pub use run::{Products, Tally};

/// Why an import stopped. What is written stays written: importing the file again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be opened.
    #[error("{file} can't be opened: {source}")]
    Open {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A pipe or a folder: a file is read twice.
    #[error("{file} is no ordinary file: an import reads it twice, so save it first and give its name")]
    NotAFile {
        /// What was named.
        file: String,
    },
    /// It is no CSV file, nor one that is packed in a way that is read here.
    #[error("{file} {reason}. Nothing was imported")]
    Foreign {
        /// The file.
        file: String,
        /// Description of what it is instead, and of what to do about it.
        reason: &'static str,
    },
    /// Its first line is not what the importer reads.
    #[error("{file}: {reason}. Nothing was imported")]
    Header {
        /// The file.
        file: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// It names more categories than a shop has.
    #[error("{file} names more than {most} categories: is the column of categories the right one? Nothing was imported")]
    TooManyCategories {
        /// The file.
        file: String,
        /// The most there may be.
        most: usize,
    },
    /// It can't be read to its end.
    #[error("{file}, line {line}: {damage}. Nothing of this run was imported; import the mended file")]
    Damaged {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// It was whole at the first reading, and not at the second.
    #[error("{file} was changed while it was imported. Import it again: it goes on where it stopped")]
    ChangedMeanwhile {
        /// The file.
        file: String,
    },
    /// The log did not take an event.
    #[error("{0}. Import the file again: it goes on where it stopped")]
    Store(#[from] event_store::Error),
    /// Our bug.
    #[error("the import broke down: {0}")]
    Internal(String),
}

impl Error {
    /// What the same error means at the second reading.
    fn at_second_reading(self) -> Self {
        match self {
            Self::Damaged { file, .. } | Self::Header { file, .. } | Self::Foreign { file, .. } => Self::ChangedMeanwhile { file },
            other => other,
        }
    }
}
