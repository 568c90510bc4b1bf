//! What every index must do: one suite, run against each of them through the trait.

#![expect(clippy::expect_used, reason = "a test that can not be set up has failed")]

mod embedded_files;
mod facets;
mod indexes;
mod keeping;
mod matching;
mod prices;
mod shop;
mod suggestions;
