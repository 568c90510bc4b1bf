-- The log: what happened, in the order in which it was committed. Everything else can be made from it again.

-- The number of the newest event, in one row. A writer locks it for as long as it inserts and commits a group of events, and so
-- positions have no gaps and are in commit order: a reader that has seen position n has seen everything up to n.
create table log_head (
    only_row boolean primary key default true check (only_row),
    position bigint not null check (position >= 0)
) with (fillfactor = 10); -- room for heap-only updates: this row changes with every group

insert into log_head (position) values (0);

create table events (
    position bigint primary key,
    stream_id text collate "C" not null check (stream_id ~ '^[a-z]+-.' and length(stream_id) <= 80),
    version bigint not null check (version >= 1),
    -- The first event of a command has the command's id, the next ones that id plus 1, 2, …: this index is also what makes a
    -- repeated command be seen.
    event_id uuid not null,
    type text collate "C" not null,
    schema_version smallint not null check (schema_version >= 1),
    -- json, not jsonb: the bytes that were hashed are the bytes that are kept.
    payload json not null,
    metadata json not null,
    recorded_at timestamptz not null,
    -- SHA-256 over the canonical encoding that docs/event-hash.md specifies.
    hash bytea not null check (length(hash) = 32),
    constraint events_stream_version unique (stream_id, version),
    constraint events_event_id unique (event_id)
);

-- Payloads are read whole or not at all, and compressing them costs the one backend that appends.
alter table events alter column payload set storage external;

-- Nothing in the log is ever changed: not by the application, not by the owner, not by a replication role.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% of % is refused: the log only grows', tg_op, tg_table_name using errcode = 'insufficient_privilege';
end
$$;

create trigger events_are_never_changed before update or delete or truncate on events
    for each statement execute function refuse_change();
alter table events enable always trigger events_are_never_changed;

create trigger log_head_is_never_removed before delete or truncate on log_head
    for each statement execute function refuse_change();
alter table log_head enable always trigger log_head_is_never_removed;

-- The law of the log, for every writer: positions go on where they ended, versions too. The unique index alone would let a
-- version be skipped. Errors have SQLSTATE MX001 (a stream has moved) and MX002 (a position is wrong).
create function check_appended() returns trigger language plpgsql as $$
declare
    wrong record;
begin
    select min(a.position) as first, max(a.position) as last, count(*) as many, h.position as head into wrong
        from added a cross join log_head h group by h.position;
    if wrong.last <> wrong.head or wrong.first <> wrong.head - wrong.many + 1 then
        raise exception 'positions % to % do not end at the head of the log, %', wrong.first, wrong.last, wrong.head using errcode = 'MX002';
    end if;
    if wrong.first > 1 and not exists (select from events where position = wrong.first - 1) then
        raise exception 'position % has no event before it', wrong.first using errcode = 'MX002';
    end if;
    select a.stream_id, a.version into wrong from added a
        where a.version > 1
          and not exists (select from events e where e.stream_id = a.stream_id and e.version = a.version - 1)
        limit 1;
    if found then
        raise exception 'stream % has no version %', wrong.stream_id, wrong.version - 1 using errcode = 'MX001';
    end if;
    return null;
end
$$;

create trigger appended_events_go_on_where_the_log_ended after insert on events
    referencing new table as added for each statement execute function check_appended();
alter table events enable always trigger appended_events_go_on_where_the_log_ended;

-- Answers to writes that bore an Idempotency-Key, committed with the events they led to. Kept for seven days.
create table idempotency_keys (
    -- SHA-256 of the credential (a guest's: the path) and the key.
    scope bytea primary key,
    -- SHA-256 of method, path and body: another request with the same key is refused.
    fingerprint bytea not null,
    -- What the resource looked like, and what else was answered.
    status smallint not null,
    location text,
    version bigint not null,
    position bigint not null,
    body text not null,
    created_at timestamptz not null
);

create index idempotency_keys_by_age on idempotency_keys (created_at);
