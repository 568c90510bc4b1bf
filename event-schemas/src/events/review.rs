//! Reviews of products.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::ids::Sku;

events! { "review",
    /// Somebody wrote one.
    Posted(ReviewPosted, 1),
}

/// Somebody wrote a review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewPosted {
    /// The product.
    pub sku: Sku,
    /// 1 (poor) to 5 (splendid).
    pub rating: u8,
    /// In a few words.
    pub title: String,
    /// In more words.
    pub text: String,
    /// Who wrote it.
    pub author: String,
}
