//! The shapes that clients see: what a write answers with, and what a read model keeps.
//!
//! They stand here so that `command-api`, `projections` and `query-api`, which never meet in code, say the same.

mod cart;
mod catalogue;
mod order;

pub use cart::{Cart, CartItem, CartStatus, PricedProduct};
pub use catalogue::{
    Category, FlashSale, FlashSaleState, Product, ProductFlashSale, ProductStatus, ProductStock, Rating, Review, Stock, StockState,
};
pub use order::{
    Cancellation, Order, OrderItem, OrderStatus, Payment, PaymentStatus, Refund, RefundStatus, Return, Shipment, SignedMoney, TimelineEntry,
};
