//! A payment gateway that remembers, as another company's system does: what it charged under which idempotency key, and what it sent back.
//! Its tokens behave as `API.md` says. The network before it ([`crate::actors::payments`]) delays, loses and repeats besides.

use std::collections::BTreeMap;

use command_api::payment_gateway::{ChargeOutcome, ChargeRequest, NoAnswer, RefundOutcome, RefundRequest, VoidOutcome};
use event_schemas::Money;
use uuid::Uuid;

use crate::counts::{Counts, Sight};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Captured,
    Declined,
    Voided,
}

#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub amount: Money,
    pub stage: Stage,
    refuses_refunds: bool,
    calls: u32,
}

impl Charge {
    fn of(request: &ChargeRequest) -> Self {
        Self { amount: request.amount, stage: Stage::Open, refuses_refunds: request.token == "tok_no_refund", calls: 0 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Refund {
    pub charge: Uuid,
    pub amount: Money,
}

/// The gateway's book.
#[derive(Default)]
pub(crate) struct Gateway {
    pub charges: BTreeMap<Uuid, Charge>,
    pub refunds: BTreeMap<Uuid, Refund>,
}

impl Gateway {
    pub fn charge(&mut self, request: &ChargeRequest, counts: &mut Counts) -> Result<ChargeOutcome, NoAnswer> {
        if request.token == "tok_down" {
            return Err(NoAnswer("unreachable".into()));
        }
        let charge = self.charges.entry(request.idempotency_key).or_insert_with(|| Charge::of(request));
        charge.calls += 1;
        match charge.stage {
            Stage::Open if request.token == "tok_declined" => charge.stage = Stage::Declined,
            Stage::Open if request.token != "tok_flaky" || charge.calls > 2 => charge.stage = Stage::Captured,
            Stage::Open => {}
            Stage::Voided => counts.see(Sight::ChargedAfterVoid),
            Stage::Captured | Stage::Declined => counts.see(Sight::GatewayRepeated),
        }
        match charge.stage {
            Stage::Open => Err(NoAnswer("failed for a moment".into())),
            Stage::Captured if request.token == "tok_lost" && charge.calls == 1 => Err(NoAnswer("the answer was lost".into())),
            Stage::Captured => Ok(ChargeOutcome::Captured { reference: reference("ch", request.idempotency_key) }),
            Stage::Declined => Ok(ChargeOutcome::Declined { code: "card_declined".into() }),
            Stage::Voided => Ok(ChargeOutcome::Declined { code: "voided".into() }),
        }
    }

    pub fn void(&mut self, request: &ChargeRequest, counts: &mut Counts) -> VoidOutcome {
        if request.token == "tok_down" {
            return VoidOutcome::Voided; // what never reached it can't have been captured
        }
        let charge = self.charges.entry(request.idempotency_key).or_insert_with(|| Charge::of(request));
        if charge.stage == Stage::Captured {
            return VoidOutcome::Captured { reference: reference("ch", request.idempotency_key) };
        }
        counts.see(Sight::Voided);
        charge.stage = Stage::Voided;
        VoidOutcome::Voided
    }

    pub fn refund(&mut self, request: &RefundRequest, counts: &mut Counts) -> RefundOutcome {
        if self.charges.get(&request.charge).is_some_and(|charge| charge.refuses_refunds) {
            return RefundOutcome::Failed { failure: "refunds_refused".into() };
        }
        let refund = Refund { charge: request.charge, amount: request.amount };
        if self.refunds.insert(request.idempotency_key, refund).is_some() {
            counts.see(Sight::GatewayRepeated);
        }
        RefundOutcome::Succeeded { reference: reference("re", request.idempotency_key) }
    }
}

fn reference(kind: &str, key: Uuid) -> String {
    format!("sim_{kind}_{}", key.simple())
}
