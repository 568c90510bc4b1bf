//! A shop to look at: a catalogue of our own, and an excerpt of the *Online Retail* history. See `demo/README.md`.

use event_store::EventStore;

use super::{Error, catalogue, online_retail, progress, source::Source};

const CATALOGUE: Source = Source::Embedded { name: "demo/catalogue.csv", bytes: include_bytes!("../../../demo/catalogue.csv") };
const HISTORY: Source =
    Source::Embedded { name: "demo/online-retail-excerpt.csv", bytes: include_bytes!("../../../demo/online-retail-excerpt.csv") };
/// How many of each product of the history can be sold.
const STOCK: u32 = 100;

/// What became of the demo's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Of the catalogue.
    pub catalogue: catalogue::Summary,
    /// Of the history.
    pub history: online_retail::Summary,
}

/// Loads the demo's data, as far as it is not there: what somebody has changed since stays changed.
///
/// # Errors
/// The log does not take an event.
pub async fn load(store: &EventStore) -> Result<Loaded, Error> {
    let quiet = progress::silent();
    let catalogue = catalogue::import(store, CATALOGUE, catalogue::Existing::Keep, &quiet).await?;
    let options = online_retail::Options { stock: Some(STOCK) };
    let history = online_retail::import(store, HISTORY, options, &quiet).await?;
    Ok(Loaded { catalogue, history })
}
