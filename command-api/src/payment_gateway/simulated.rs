//! A gateway to try the shop with. Its tokens behave as `API.md` says: `tok_ok` captures, `tok_declined` declines, `tok_slow` takes two
//! seconds, `tok_flaky` fails twice, `tok_lost` captures but loses its first answer, `tok_down` is never reached.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::PgPool;

use super::{ChargeOutcome, ChargeRequest, NoAnswer, PaymentGateway, RefundRequest, VoidOutcome};

/// The tokens that it knows.
pub const TOKENS: [&str; 6] = ["tok_ok", "tok_declined", "tok_slow", "tok_flaky", "tok_lost", "tok_down"];

/// The simulation. What it charged stands in tables of its own, since a real gateway remembers too.
pub struct Gateway {
    pool: PgPool,
}

impl Gateway {
    /// A gateway that remembers in the database behind `pool`.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn ask(&self, request: &ChargeRequest) -> Result<ChargeOutcome, NoAnswer> {
        match request.token.as_str() {
            "tok_down" => return Err(NoAnswer("the gateway is unreachable".into())),
            "tok_slow" => tokio::time::sleep(Duration::from_secs(2)).await,
            _ => {}
        }
        let charge = sqlx::query!(
            r#"
            insert into simulated_gateway.charges as c (idempotency_key, token, amount, currency, calls, state)
            values ($1, $2, $3, $4, 1,
                    case when $2 in ('tok_ok', 'tok_slow', 'tok_lost') then 'captured' when $2 = 'tok_flaky' then 'open' else 'declined' end)
            on conflict (idempotency_key) do update
                set calls = c.calls + 1,
                    state = case when c.state = 'open' and c.token = 'tok_flaky' and c.calls >= 2 then 'captured' else c.state end
            returning calls, state
            "#,
            request.idempotency_key,
            request.token,
            request.amount.amount.to_string(),
            request.amount.currency.code(),
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| NoAnswer(error.to_string()))?;
        let declined = |code: &str| Ok(ChargeOutcome::Declined { code: code.into() });
        match charge.state.as_str() {
            "captured" if request.token == "tok_lost" && charge.calls == 1 => Err(NoAnswer("the gateway's answer was lost".into())),
            "captured" => Ok(ChargeOutcome::Captured { reference: reference("ch", request.idempotency_key) }),
            "open" => Err(NoAnswer("the gateway failed for a moment".into())),
            "voided" => declined("voided"),
            _ if request.token == "tok_declined" => declined("card_declined"),
            _ => declined("unknown_token"),
        }
    }

    async fn give_up(&self, request: &ChargeRequest) -> Result<VoidOutcome, NoAnswer> {
        if request.token == "tok_down" {
            return Ok(VoidOutcome::Voided); // what never reached it can't have been captured
        }
        let state = sqlx::query_scalar!(
            r#"
            insert into simulated_gateway.charges as c (idempotency_key, token, amount, currency, calls, state)
            values ($1, $2, $3, $4, 0, 'voided')
            on conflict (idempotency_key) do update set state = case when c.state = 'captured' then 'captured' else 'voided' end
            returning state
            "#,
            request.idempotency_key,
            request.token,
            request.amount.amount.to_string(),
            request.amount.currency.code(),
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| NoAnswer(error.to_string()))?;
        match state.as_str() {
            "captured" => Ok(VoidOutcome::Captured { reference: reference("ch", request.idempotency_key) }),
            _ => Ok(VoidOutcome::Voided),
        }
    }

    async fn send_back(&self, request: &RefundRequest) -> Result<String, NoAnswer> {
        sqlx::query!(
            r#"
            insert into simulated_gateway.refunds (idempotency_key, charge, amount, currency) values ($1, $2, $3, $4)
            on conflict (idempotency_key) do nothing
            "#,
            request.idempotency_key,
            request.charge,
            request.amount.amount.to_string(),
            request.amount.currency.code(),
        )
        .execute(&self.pool)
        .await
        .map_err(|error| NoAnswer(error.to_string()))?;
        Ok(reference("re", request.idempotency_key))
    }
}

fn reference(kind: &str, key: uuid::Uuid) -> String {
    format!("sim_{kind}_{}", key.simple())
}

impl PaymentGateway for Gateway {
    fn charge<'a>(&'a self, request: &'a ChargeRequest) -> BoxFuture<'a, Result<ChargeOutcome, NoAnswer>> {
        Box::pin(self.ask(request))
    }

    fn void<'a>(&'a self, request: &'a ChargeRequest) -> BoxFuture<'a, Result<VoidOutcome, NoAnswer>> {
        Box::pin(self.give_up(request))
    }

    fn refund<'a>(&'a self, request: &'a RefundRequest) -> BoxFuture<'a, Result<String, NoAnswer>> {
        Box::pin(self.send_back(request))
    }
}
