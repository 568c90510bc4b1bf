-- A payment gateway to try the shop with. It stands for another company's system: nothing of Merx reads these tables but the simulation
-- itself, which must remember what it charged across restarts, as a real one would.

create schema simulated_gateway;

create table simulated_gateway.charges (
    idempotency_key uuid primary key,
    token text not null,
    amount text not null,
    currency text not null,
    -- How often the charge was asked for.
    calls int not null,
    state text not null check (state in ('open', 'captured', 'declined', 'voided'))
);

create table simulated_gateway.refunds (
    idempotency_key uuid primary key,
    charge uuid not null,
    amount text not null,
    currency text not null
);
