//! Who acts: servers answer [requests](requests), run the [process managers](processes) and ask the gateway for [payments](payments);
//! [buyers] and [staff] ask them; [chaos] strikes them.

pub(crate) mod buyers;
pub(crate) mod chaos;
pub(crate) mod checkout;
pub(crate) mod payments;
pub(crate) mod processes;
pub(crate) mod requests;
pub(crate) mod staff;
pub(crate) mod stepwise;
