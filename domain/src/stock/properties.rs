//! What holds of stock whatever is asked of it, checked against a model that counts events.

use std::collections::{BTreeMap, BTreeSet};

use event_schemas::{
    events::stock::{AllotmentEnd, Event},
    ids::{FlashSaleId, OrderId},
};
use proptest::{collection::vec, option, prelude::*};

use super::{
    Command, Sale, State, Stock,
    tests::{order, sale},
};
use crate::harness::{act, gbp, t};

fn customer() -> impl Strategy<Value = String> {
    prop_oneof![Just("ann".to_owned()), Just("bob".to_owned())]
}

/// A command, where it is second `now`.
fn command(now: i64) -> impl Strategy<Value = Command> {
    let order = || (0..5_u128).prop_map(order);
    let sale = || (0..2_u128).prop_map(sale);
    prop_oneof![
        3 => (0..20_u32).prop_map(|quantity| Command::Receive { quantity, reference: String::new() }),
        1 => (-10..10_i64).prop_map(|quantity| Command::Adjust { quantity, reason: String::new() }),
        1 => (0..20_u32).prop_map(|on_hand| Command::Count { on_hand, reason: String::new() }),
        6 => (order(), 1..5_u32, 0..30_i64, customer(), option::of(sale())).prop_map(move |(order, quantity, hold, customer, sale)| {
            Command::Reserve { order, quantity, until: t(now + hold), customer, sale }
        }),
        3 => order().prop_map(|order| Command::Commit { order }),
        2 => (order(), 1..5_u32, customer(), option::of(sale()))
            .prop_map(|(order, quantity, customer, sale)| Command::Fulfil { order, quantity, customer, sale }),
        2 => order().prop_map(|order| Command::Release { order }),
        2 => Just(Command::Expire),
        2 => (order(), 1..5_u32, option::of(sale()), customer())
            .prop_map(|(order, quantity, sale, customer)| Command::Return { order, quantity, return_id: None, sale, customer }),
        3 => (sale(), 1..9_u32, -5..10_i64, 0..30_i64, option::of(1..4_u32)).prop_map(
            move |(sale, quantity, from, length, limit_per_customer)| {
                let (starts_at, ends_at) = (t(now + from), t(now + from + length));
                Command::Allot { sale, quantity, starts_at, ends_at, price: gbp("1"), limit_per_customer }
            }
        ),
        1 => (sale(), prop_oneof![Just(AllotmentEnd::Ended), Just(AllotmentEnd::Cancelled)])
            .prop_map(|(sale, reason)| Command::CloseAllotment { sale, reason }),
    ]
}

/// Commands, each at a second, the seconds never going back.
fn history() -> impl Strategy<Value = Vec<(i64, Command)>> {
    vec(0..4_i64, 1..60).prop_flat_map(|steps| {
        let mut now = 0;
        let at = move |step: i64| {
            now += step;
            (Just(now), command(now))
        };
        steps.into_iter().map(at).collect::<Vec<_>>()
    })
}

/// What the events alone tell.
#[derive(Default)]
struct Model {
    on_hand: i64,
    open: BTreeMap<OrderId, (i64, String)>,
    sales: BTreeMap<FlashSaleId, Allotment>,
}

#[derive(Default)]
struct Allotment {
    left: i64,
    limit: Option<u32>,
    customers: BTreeMap<String, i64>,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Received(received) => self.on_hand += i64::from(received.quantity),
            Event::Adjusted(adjusted) => self.on_hand += adjusted.quantity,
            Event::Reserved(event) => {
                let quantity = i64::from(event.quantity);
                assert!(self.open.insert(event.order, (quantity, event.customer.clone())).is_none(), "held twice");
                if let Some(sale) = event.sale {
                    self.sales.get_mut(&sale).expect("an open sale").take(&event.customer, quantity);
                }
            }
            Event::Committed(event) => self.on_hand -= self.end(event.order, event.quantity, None),
            Event::Released(event) => drop(self.end(event.order, event.quantity, event.sale.filter(|_| event.to_allotment))),
            Event::Expired(event) => drop(self.end(event.order, event.quantity, event.sale.filter(|_| event.to_allotment))),
            Event::Returned(event) => {
                self.on_hand += i64::from(event.quantity);
                if let Some(sale) = event.sale {
                    self.sales.get_mut(&sale).expect("an open sale").take(&event.customer, -i64::from(event.quantity));
                }
            }
            Event::Allotted(event) => {
                let (left, limit) = (i64::from(event.quantity), event.limit_per_customer);
                let known = self.sales.insert(event.sale, Allotment { left, limit, customers: BTreeMap::new() });
                assert!(known.is_none(), "allotted twice");
            }
            Event::AllotmentClosed(event) => {
                let allotment = self.sales.remove(&event.sale).expect("closed once");
                assert_eq!(allotment.left, i64::from(event.unsold));
            }
            Event::CorrectionImported(_) | Event::Withheld(_) => {}
        }
    }

    /// An order's hold ends, once: whoever commits, releases or expires it, nobody else did.
    fn end(&mut self, order: OrderId, quantity: u32, back_to: Option<FlashSaleId>) -> i64 {
        let (held, customer) = self.open.remove(&order).expect("an open hold");
        assert_eq!(held, i64::from(quantity));
        if let Some(sale) = back_to {
            self.sales.get_mut(&sale).expect("an open sale").take(&customer, -held);
        }
        held
    }

    fn held(&self) -> i64 {
        self.open.values().map(|(quantity, _)| quantity).sum()
    }

    fn set_aside(&self) -> i64 {
        self.sales.values().map(|allotment| allotment.left).sum()
    }
}

impl Allotment {
    fn take(&mut self, customer: &str, quantity: i64) {
        self.left -= quantity;
        let held = self.customers.entry(customer.to_owned()).or_default();
        *held += quantity;
        assert!(*held >= 0 && self.left >= 0, "past the allotment");
        assert!(self.limit.is_none_or(|limit| *held <= i64::from(limit)), "past the limit for each customer");
    }
}

fn check(state: &State, model: &Model, now: i64) {
    let now = t(now);
    assert_eq!(state.on_hand(), model.on_hand, "on hand = received + adjusted - committed + returned");
    assert_eq!(state.reserved_units(), model.held() + model.set_aside());
    assert!(state.on_hand() >= 0 && state.reserved_units() >= 0 && state.available(now) >= 0);
    assert!(state.reserved_units() <= state.on_hand(), "more is reserved than is on hand");
    let orders: BTreeSet<_> = state.reservations().map(|(order, _)| order).collect();
    assert_eq!(orders, model.open.keys().copied().collect());
    assert_eq!(state.next_expiry(), state.reservations().map(|(_, held)| held.until).min());
    for sale in state.sales() {
        assert_eq!(sale.remaining(), model.sales[&sale.id].left);
        assert!(sale.sold >= 0 && sale.reserved >= 0 && sale.sold + sale.reserved <= i64::from(sale.allotment));
    }
    let over: i64 = state.sales().filter(|sale| sale.is_over(now)).map(Sale::remaining).sum();
    let ordinary = state.on_hand() - state.reserved_units() + over;
    assert_eq!(state.available(now), state.running_sale(now).map_or(ordinary, Sale::remaining));
}

proptest! {
    #[test]
    fn stock_is_never_oversold(history in history()) {
        let (mut state, mut model) = (State::default(), Model::default());
        for (now, command) in history {
            for event in act::<Stock>(&mut state, &command, t(now)).unwrap_or_default() {
                model.apply(&event);
            }
            check(&state, &model, now);
        }
    }

    #[test]
    fn what_is_asked_for_and_available_is_reserved(history in history(), quantity in 1..9_u32) {
        let (mut state, mut end) = (State::default(), 0);
        for (now, command) in history {
            end = now;
            act::<Stock>(&mut state, &command, t(now)).ok();
        }
        let (available, sale) = (state.available(t(end)), state.running_sale(t(end)).map(|sale| sale.id));
        let command = Command::Reserve { order: order(99), quantity, until: t(end), customer: "cy".to_owned(), sale };
        let limit = state.running_sale(t(end)).and_then(|sale| sale.limit_per_customer).map_or(i64::MAX, i64::from);
        let wanted = i64::from(quantity);
        prop_assert_eq!(act::<Stock>(&mut state, &command, t(end)).is_ok(), wanted <= available && wanted <= limit);
    }

    #[test]
    fn expiry_racing_a_commit_has_one_winner(race in vec((any::<bool>(), 95..105_i64), 1..8)) {
        let mut state = State::default();
        let reserve = Command::Reserve { order: order(1), quantity: 1, until: t(100), customer: "ann".to_owned(), sale: None };
        for command in [Command::Receive { quantity: 1, reference: String::new() }, reserve] {
            act::<Stock>(&mut state, &command, t(0)).unwrap();
        }
        let mut race = race;
        race.sort_by_key(|(_, now)| *now);
        race.extend([(false, 105), (true, 105)]);
        let ended: Vec<_> = race
            .into_iter()
            .flat_map(|(expires, now)| {
                let command = if expires { Command::Expire } else { Command::Commit { order: order(1) } };
                act::<Stock>(&mut state, &command, t(now)).unwrap_or_default()
            })
            .collect();
        prop_assert_eq!(ended.len(), 1);
        prop_assert_eq!(state.on_hand(), i64::from(matches!(ended[0], Event::Expired(_))));
    }
}
