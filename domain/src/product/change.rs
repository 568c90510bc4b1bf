//! Merging a patch onto a product, and saying what really changes.

use std::collections::BTreeMap;

use event_schemas::{
    Money,
    events::product::{Description, Event, ProductActivated, ProductArchived, ProductDescribed, ProductRepriced},
};

use super::{Change, Listing, MAX_ATTRIBUTES, MAX_METADATA, MapPatch, Refusal};

pub(super) fn decide(listing: &Listing, archived: bool, change: &Change) -> Result<Vec<Event>, Refusal> {
    let mut events = Vec::new();
    let description = merged(&listing.description, change);
    refuse_too_many(&description)?;
    if description != listing.description {
        events.push(ProductDescribed { description }.into());
    }
    if let Some(to) = change.price.filter(|to| !same_as_written(listing.price, *to)) {
        events.push(ProductRepriced { from: listing.price, to }.into());
    }
    match change.archived {
        Some(true) if !archived => events.push(ProductArchived {}.into()),
        Some(false) if archived => events.push(ProductActivated {}.into()),
        _ => {}
    }
    Ok(events)
}

pub(super) fn refuse_too_many(description: &Description) -> Result<(), Refusal> {
    let (attributes, metadata) = (description.attributes.len(), description.metadata.len());
    match () {
        () if attributes > MAX_ATTRIBUTES => Err(Refusal::TooManyAttributes { count: attributes }),
        () if metadata > MAX_METADATA => Err(Refusal::TooManyMetadata { count: metadata }),
        () => Ok(()),
    }
}

fn merged(description: &Description, change: &Change) -> Description {
    let Description { title, description: text, category, brand, images, attributes, metadata } = description.clone();
    Description {
        title: change.title.clone().unwrap_or(title),
        description: change.description.clone().unwrap_or(text),
        category: change.category.clone().unwrap_or(category),
        brand: change.brand.clone().unwrap_or(brand),
        images: change.images.clone().unwrap_or(images),
        attributes: merged_map(attributes, change.attributes.as_ref()),
        metadata: merged_map(metadata, change.metadata.as_ref()),
    }
}

fn merged_map(mut entries: BTreeMap<String, String>, patch: Option<&MapPatch>) -> BTreeMap<String, String> {
    match patch {
        None => {}
        Some(None) => entries.clear(),
        Some(Some(patch)) => {
            for (key, value) in patch {
                match value {
                    Some(value) => entries.insert(key.clone(), value.clone()),
                    None => entries.remove(key),
                };
            }
        }
    }
    entries
}

/// Prices come back as they were sent, so 2.5 and 2.50 are two prices.
fn same_as_written(one: Money, other: Money) -> bool {
    one == other && one.amount.scale() == other.amount.scale()
}
