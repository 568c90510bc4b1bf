//! Categories of the catalogue.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::ids::CategoryId;

events! { "category",
    /// It was created.
    Created(CategoryCreated, 1),
    /// It got another name.
    Renamed(CategoryRenamed, 1),
    /// It got another parent, or none.
    Moved(CategoryMoved, 1),
}

/// A category was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CategoryCreated {
    /// The client's code.
    pub id: CategoryId,
    /// What people read.
    pub name: String,
    /// The category it is below; none at the top.
    pub parent: Option<CategoryId>,
}

/// A category got another name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CategoryRenamed {
    /// What people read from now on.
    pub name: String,
}

/// A category was hung below another, or at the top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CategoryMoved {
    /// The category it is below from now on; none at the top.
    pub parent: Option<CategoryId>,
}
