//! What an order decides.

use std::collections::BTreeMap;

use event_schemas::{
    Money,
    events::order::{
        CancellationCause, Event, OrderCancelled, OrderCapturedLate, OrderConfirmed, OrderPlaced, OrderRefundFailed, OrderRefundRequested,
        OrderRefunded, OrderRejected, RejectionReason,
    },
    ids::{RefundId, Sku},
    resource::RefundStatus,
};

use super::{Command, Purchase, Refusal, Stage, State, ship};

pub(super) fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Nothing, Command::Submit(submitted)) => Ok(vec![(**submitted).clone().into()]),
        (State::Nothing, Command::Import(imported)) => Ok(vec![(**imported).clone().into()]),
        (State::Nothing, Command::ImportReturn(imported)) => Ok(vec![(**imported).clone().into()]),
        (_, Command::Submit(_) | Command::Import(_) | Command::ImportReturn(_)) => Ok(Vec::new()),
        (State::Nothing, _) => Err(Refusal::Unknown),
        (State::Imported(_) | State::ReturnImported(_), _) => Err(Refusal::Imported),
        (State::Purchase(purchase), command) => decide_purchase(purchase, command),
    }
}

fn decide_purchase(purchase: &Purchase, command: &Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Submit(_) | Command::Import(_) | Command::ImportReturn(_) => Ok(Vec::new()),
        Command::Place { payment_deadline } => match &purchase.stage {
            Stage::Submitted => Ok(vec![OrderPlaced { payment_deadline: *payment_deadline }.into()]),
            Stage::Rejected { .. } => Err(Refusal::Rejected),
            Stage::Placed { .. } | Stage::Confirmed | Stage::Cancelled { .. } => Ok(Vec::new()),
        },
        Command::Reject { reason, skus } => Ok(reject(purchase, *reason, skus)),
        Command::Abandon => Ok(reject(purchase, RejectionReason::Abandoned, &[])),
        Command::RecordCapture { amount } => record_capture(purchase, *amount),
        Command::RecordDecline { decline_code } => {
            Ok(cancel_unpaid(purchase, CancellationCause::PaymentDeclined { decline_code: Some(decline_code.clone()) }))
        }
        Command::RecordPaymentExpiry => Ok(cancel_unpaid(purchase, CancellationCause::PaymentExpired)),
        Command::RecordStockLost { skus } => Ok(record_stock_lost(purchase, skus)),
        Command::Cancel { note } => cancel(purchase, note.as_ref()),
        Command::Ship { shipment, items, carrier, tracking_number } => {
            ship::ship(purchase, *shipment, items.as_deref(), carrier.as_ref(), tracking_number.as_ref())
        }
        Command::Deliver { shipment } => ship::deliver(purchase, *shipment),
        Command::Return { return_id, items, reason, restock } => ship::take_back(purchase, *return_id, items, reason, *restock),
        Command::RequestRefund { refund, amount, reason, metadata } => request_refund(purchase, *refund, *amount, reason, metadata),
        Command::RecordRefund { refund, amount, reason } => Ok(if is_over(purchase, *refund) {
            Vec::new()
        } else {
            vec![OrderRefunded { refund: *refund, amount: *amount, reason: reason.clone() }.into()]
        }),
        Command::RecordRefundFailure { refund, amount, reason, failure } => Ok(if is_over(purchase, *refund) {
            Vec::new()
        } else {
            vec![OrderRefundFailed { refund: *refund, amount: *amount, reason: reason.clone(), failure: failure.clone() }.into()]
        }),
    }
}

fn reject(purchase: &Purchase, reason: RejectionReason, skus: &[Sku]) -> Vec<Event> {
    match purchase.stage {
        Stage::Submitted => vec![OrderRejected { reason, skus: skus.to_vec() }.into()],
        _ => Vec::new(),
    }
}

fn record_capture(purchase: &Purchase, captured: Money) -> Result<Vec<Event>, Refusal> {
    match purchase.stage {
        _ if purchase.captured.is_some() => Ok(Vec::new()),
        Stage::Placed { .. } => Ok(vec![OrderConfirmed { captured }.into()]),
        Stage::Cancelled { .. } => Ok(vec![OrderCapturedLate { captured }.into()]),
        Stage::Rejected { .. } => Err(Refusal::Rejected),
        Stage::Submitted | Stage::Confirmed => Err(Refusal::NotPlaced),
    }
}

fn cancel_unpaid(purchase: &Purchase, cause: CancellationCause) -> Vec<Event> {
    match purchase.stage {
        Stage::Placed { .. } => vec![OrderCancelled { cause, note: None, was_confirmed: false }.into()],
        _ => Vec::new(),
    }
}

fn record_stock_lost(purchase: &Purchase, skus: &[Sku]) -> Vec<Event> {
    match purchase.stage {
        Stage::Confirmed if !purchase.has_shipped() => {
            let cause = CancellationCause::StockLost { skus: skus.to_vec() };
            vec![OrderCancelled { cause, note: None, was_confirmed: true }.into()]
        }
        _ => Vec::new(),
    }
}

fn cancel(purchase: &Purchase, note: Option<&String>) -> Result<Vec<Event>, Refusal> {
    let was_confirmed = match purchase.stage {
        Stage::Cancelled { .. } => return Ok(Vec::new()),
        Stage::Submitted => return Err(Refusal::NotPlaced),
        Stage::Rejected { .. } => return Err(Refusal::Rejected),
        Stage::Confirmed if purchase.has_shipped() => return Err(Refusal::Shipped { status: purchase.status() }),
        Stage::Confirmed => true,
        Stage::Placed { .. } => false,
    };
    Ok(vec![OrderCancelled { cause: CancellationCause::Requested, note: note.cloned(), was_confirmed }.into()])
}

fn request_refund(
    purchase: &Purchase,
    refund: RefundId,
    amount: Money,
    reason: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<Event>, Refusal> {
    let expected = purchase.currency();
    let (captured, refunded) = (purchase.captured.unwrap_or_else(|| Money::zero(expected)), purchase.refund_total());
    match () {
        () if purchase.refunds.iter().any(|known| known.id == refund) => Ok(Vec::new()),
        () if purchase.captured.is_none() => Err(Refusal::MoreThanCaptured { captured, refunded }),
        () if amount.currency != expected => Err(Refusal::CurrencyMismatch { expected, found: amount.currency }),
        () if !amount.is_positive() || amount.rounded() != amount => Err(Refusal::InvalidAmount { amount }),
        () if amount.amount > captured.amount - refunded.amount => Err(Refusal::MoreThanCaptured { captured, refunded }),
        () => {
            let (reason, metadata) = (reason.to_owned(), metadata.clone());
            Ok(vec![OrderRefundRequested { refund, amount: amount.rounded(), reason, metadata }.into()])
        }
    }
}

/// Returns true where the purchase has this refund, and it has succeeded or failed.
fn is_over(purchase: &Purchase, refund: RefundId) -> bool {
    purchase.refunds.iter().any(|known| known.id == refund && known.status != RefundStatus::Pending)
}
