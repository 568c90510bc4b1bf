-- What an operator sees of consumers that could not go on, and what a read model that is built anew needs.

-- Grows whenever somebody else than the consumer itself changes what the consumer knows of its place: a parked stream that was retried or
-- skipped, a rebuilt read model that was swapped in. A checkpoint moves only where the revision is the one that its consumer has read, so
-- the consumer learns of it before it writes anything more.
alter table checkpoints add column revision bigint not null default 0;

-- Why the consumer does not go on at all, while it does not; null while it does.
alter table checkpoints add column failure text;

-- A rebuild of the read model of a projection has a checkpoint of its own, `<projection>:rebuild`, and its tables in a schema of its own,
-- `rebuild_<projection>`; both go when it is swapped in.

-- An event that a consumer can't take parks its stream for this consumer: the events of that stream from this one on are left out, until an
-- operator retries or skips it. The rest goes on.
create table parked_streams (
    -- The name of a checkpoint.
    consumer text not null,
    stream_id text collate "C" not null,
    -- The event that it could not take.
    position bigint not null,
    version bigint not null,
    type text not null,
    reason text not null,
    since timestamptz not null default now(),
    primary key (consumer, stream_id)
);
