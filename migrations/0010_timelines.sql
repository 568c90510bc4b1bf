-- What lets everybody tell that the log has gone back: it was restored from a backup, or a standby took over that lacked the newest events.
-- Whoever remembers a position remembers the hash of the event there, and compares.

-- The unbroken histories that this log has been. A new one begins where events were found to be lost; the newest is the one that has the
-- greatest id.
create table timelines (
    -- A UUID of version 7: it grows.
    id uuid primary key,
    -- Everything up to this position is as it was in the one before.
    since bigint not null check (since >= 0),
    -- Of the event there; zeros at position 0.
    hash bytea not null check (length(hash) = 32),
    predecessor uuid references timelines (id),
    begun_at timestamptz not null default now()
);

insert into timelines (id, since, hash)
select encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid()) placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6
    ), 52, 1), 53, 1), 'hex')::uuid, 0, decode(repeat('00', 32), 'hex');

-- Positions that were there, and the hashes of their events: a few, ever fewer the older they are. Where the log was put back and the rest of
-- the database was not, the last event that both have in common is found by them.
create table log_marks (
    position bigint primary key check (position > 0),
    hash bytea not null check (length(hash) = 32)
);

insert into log_marks (position, hash)
select e.position, e.hash from log_head h cross join generate_series(0, 40) as k join events e on e.position = h.position + 1 - (1::bigint << k);

-- The event that a checkpoint stands at. Zeros where there is none: at position 0, and where the log does not reach as far.
create function hash_at(at bigint) returns bytea language sql stable parallel safe as $$
    select coalesce((select hash from events where position = at), '\x0000000000000000000000000000000000000000000000000000000000000000'::bytea)
$$;

-- Whether the log has this event at this position. A position without an event has no hash that it has.
create function log_has(at bigint, this bytea) returns boolean language sql stable parallel safe as $$
    select at = 0 or exists (select from events where position = at and hash = this)
$$;

alter table checkpoints add column hash bytea not null default '\x0000000000000000000000000000000000000000000000000000000000000000'
    check (length(hash) = 32);
update checkpoints set hash = hash_at(position);

-- How far a consumer has applied a partition: of the event there likewise.
alter table kafka_places add column hash bytea not null default '\x0000000000000000000000000000000000000000000000000000000000000000'
    check (length(hash) = 32);
update kafka_places set hash = hash_at(position);

-- Whoever moves a checkpoint or a place without naming the event, as programs older than this migration do, means the one that stands there.
create function fill_in_hash() returns trigger language plpgsql as $$
begin
    new.hash := hash_at(new.position);
    return new;
end
$$;

create trigger checkpoints_know_their_event before update on checkpoints
    for each row when (new.position <> old.position and new.hash = old.hash) execute function fill_in_hash();
create trigger new_checkpoints_know_their_event before insert on checkpoints
    for each row when (new.position > 0 and new.hash = '\x0000000000000000000000000000000000000000000000000000000000000000') execute function fill_in_hash();
create trigger places_know_their_event before update on kafka_places
    for each row when (new.position <> old.position and new.hash = old.hash) execute function fill_in_hash();
create trigger new_places_know_their_event before insert on kafka_places
    for each row when (new.position > 0 and new.hash = '\x0000000000000000000000000000000000000000000000000000000000000000') execute function fill_in_hash();
