//! Categories of the catalogue: a name, and a place in a tree.

#[cfg(test)]
mod tests;

use event_schemas::{
    Event as LogEvent, Timestamp,
    events::category::{CategoryCreated, CategoryMoved, CategoryRenamed, Event},
    ids::CategoryId,
    resource,
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;

/// The deepest that categories are nested, the one at the top counted.
pub const MAX_DEPTH: usize = 32;

/// A category of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Category;

/// What is known of a category.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet.
    #[default]
    Nothing,
    /// It exists.
    Created(Place),
}

/// A category's name and place in the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The client's code.
    pub id: CategoryId,
    /// What people read.
    pub name: String,
    /// The category it is below; none at the top.
    pub parent: Option<CategoryId>,
}

/// Requests that may be made of a category. `lineage` is the new parent followed by its ancestors, and `height` the number of levels below
/// the category, as the caller looked them up.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Make it.
    Create {
        /// The client's code.
        id: CategoryId,
        /// What people read.
        name: String,
        /// The category it is below; none at the top.
        parent: Option<CategoryId>,
        /// The parent and its ancestors.
        lineage: Vec<CategoryId>,
    },
    /// Rename it, move it, or both.
    Change {
        /// Another name.
        name: Option<String>,
        /// Another parent; `Some(None)` moves it to the top.
        parent: Option<Option<CategoryId>>,
        /// The new parent and its ancestors.
        lineage: Vec<CategoryId>,
        /// The number of levels below the category.
        height: usize,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It was never created.
    #[error("there is no such category: create it first")]
    Unknown,
    /// It exists already.
    #[error("category {id} exists already: choose another id, or change the one that exists")]
    Taken {
        /// The category.
        id: CategoryId,
    },
    /// It would be its own ancestor.
    #[error("category {id} can't be below {parent}, which is the category itself or stands below it: choose a parent outside of it")]
    Circle {
        /// The category.
        id: CategoryId,
        /// The parent that was asked for.
        parent: CategoryId,
    },
    /// It, or what stands below it, would be nested deeper than [`MAX_DEPTH`].
    #[error("categories are nested up to {MAX_DEPTH} deep, and below {parent} this would come to {depth}: choose a parent further up")]
    TooDeep {
        /// The parent that was asked for.
        parent: CategoryId,
        /// The depth at which the deepest of them would stand, more than [`MAX_DEPTH`].
        depth: usize,
    },
}

impl Refusal {
    /// The code that clients match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "not_found",
            Self::Taken { .. } => "category_taken",
            Self::Circle { .. } => "category_circle",
            Self::TooDeep { .. } => "too_deep",
        }
    }
}

impl State {
    /// Its name and place, once it exists.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Nothing => None,
            Self::Created(place) => Some(place),
        }
    }

    /// What clients see of it.
    #[must_use]
    pub fn resource(&self, version: i64) -> Option<resource::Category> {
        self.place().map(|Place { id, name, parent }| resource::Category {
            id: id.clone(),
            name: name.clone(),
            parent: parent.clone(),
            version,
        })
    }
}

impl Aggregate for Category {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (state, command) {
            (State::Nothing, Command::Create { id, name, parent, lineage }) => {
                refuse_misplaced(id, parent.as_ref(), lineage, 0)?;
                Ok(vec![CategoryCreated { id: id.clone(), name: name.clone(), parent: parent.clone() }.into()])
            }
            (State::Created(place), Command::Create { .. }) => Err(Refusal::Taken { id: place.id.clone() }),
            (State::Nothing, Command::Change { .. }) => Err(Refusal::Unknown),
            (State::Created(place), Command::Change { name, parent, lineage, height }) => {
                change(place, name.as_ref(), parent.as_ref(), lineage, *height)
            }
        }
    }

    fn evolve(state: State, event: &Event, _: Timestamp) -> State {
        match (state, event) {
            (State::Nothing, Event::Created(CategoryCreated { id, name, parent })) => {
                State::Created(Place { id: id.clone(), name: name.clone(), parent: parent.clone() })
            }
            (State::Created(place), Event::Renamed(CategoryRenamed { name })) => State::Created(Place { name: name.clone(), ..place }),
            (State::Created(place), Event::Moved(CategoryMoved { parent })) => State::Created(Place { parent: parent.clone(), ..place }),
            (state, _) => state,
        }
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Category(event) => Some(event),
            _ => None,
        }
    }
}

fn change(
    place: &Place,
    name: Option<&String>,
    parent: Option<&Option<CategoryId>>,
    lineage: &[CategoryId],
    height: usize,
) -> Result<Vec<Event>, Refusal> {
    let mut events = Vec::new();
    if let Some(name) = name.filter(|name| **name != place.name) {
        events.push(CategoryRenamed { name: name.clone() }.into());
    }
    if let Some(parent) = parent.filter(|parent| **parent != place.parent) {
        refuse_misplaced(&place.id, parent.as_ref(), lineage, height)?;
        events.push(CategoryMoved { parent: parent.clone() }.into());
    }
    Ok(events)
}

fn refuse_misplaced(id: &CategoryId, parent: Option<&CategoryId>, lineage: &[CategoryId], height: usize) -> Result<(), Refusal> {
    let Some(parent) = parent else { return Ok(()) };
    if parent == id || lineage.contains(id) {
        return Err(Refusal::Circle { id: id.clone(), parent: parent.clone() });
    }
    let depth = lineage.len().saturating_add(1).saturating_add(height);
    if depth > MAX_DEPTH { Err(Refusal::TooDeep { parent: parent.clone(), depth }) } else { Ok(()) }
}
