-- What lets a log be believed: the database itself refuses a forged hash, the head of the log can't leave its events, and a program that is
-- older than the log can tell.

-- The hash counts bytes of UTF-8.
do $$
begin
    if current_setting('server_encoding') not in ('UTF8', 'SQL_ASCII') then
        raise exception 'the database has the encoding %, and merx needs UTF8: make it with "create database … encoding ''UTF8'' template template0"',
            current_setting('server_encoding');
    end if;
end
$$;

-- The hash that docs/event-hash.md specifies. A plain SQL function: the planner puts its expression in the place of its call. The time is
-- whole microseconds as Postgres keeps it, moved from its epoch (2000) to that of Unix.
create function event_hash(
    stream_id text, version bigint, event_id uuid, type text, schema_version smallint, recorded_at timestamptz, metadata json, payload json
) returns bytea language sql stable parallel safe as $$
    select sha256(
        '\x00000000000000000c6d6572782e6576656e742e31'::bytea
        || int8send(octet_length(stream_id)) || convert_to(stream_id, 'UTF8')
        || int8send(version) || uuid_send(event_id)
        || int8send(octet_length(type)) || convert_to(type, 'UTF8')
        || int2send(schema_version)
        || timestamptz_send(recorded_at + interval '946684800 seconds')
        || int8send(octet_length(metadata::text)) || convert_to(metadata::text, 'UTF8')
        || int8send(octet_length(payload::text)) || convert_to(payload::text, 'UTF8')
    )
$$;

-- As before, and hashes besides (MX003): all of it in one query, since what costs is to start one. It runs for every group in the one
-- backend that appends. Scalar subqueries, not `exists`: those are never planned as a hash of all events.
create or replace function check_appended() returns trigger language plpgsql as $$
declare
    found record;
    wrong record;
begin
    select x.*, (select h.position from log_head h) as head,
           x.first = 1 or (select true from events e where e.position = x.first - 1) is not null as follows
        into found
        from (
            select min(a.position) as first, max(a.position) as last, count(*) as many,
                   bool_and(case when a.version > 1 then
                       (select true from events e where e.stream_id = a.stream_id and e.version = a.version - 1) is not null
                   else true end) as continuous,
                   bool_and(a.hash = event_hash(a.stream_id, a.version, a.event_id, a.type, a.schema_version, a.recorded_at, a.metadata, a.payload)
                            and isfinite(a.recorded_at)) as hashed
            from added a
        ) x;
    if found.last <> found.head or found.first <> found.head - found.many + 1 then
        raise exception 'positions % to % do not end at the head of the log, %', found.first, found.last, found.head using errcode = 'MX002';
    end if;
    if not found.follows then
        raise exception 'position % has no event before it', found.first using errcode = 'MX002';
    end if;
    if not found.continuous then
        select a.stream_id, a.version into wrong from added a
            where a.version > 1 and (select true from events e where e.stream_id = a.stream_id and e.version = a.version - 1) is null
            order by a.position limit 1;
        raise exception 'stream % has no version %', wrong.stream_id, wrong.version - 1 using errcode = 'MX001';
    end if;
    if not found.hashed then
        select a.stream_id, a.version into wrong from added a
            where a.hash <> event_hash(a.stream_id, a.version, a.event_id, a.type, a.schema_version, a.recorded_at, a.metadata, a.payload)
               or not isfinite(a.recorded_at)
            order by a.position limit 1;
        raise exception 'version % of stream % has a hash that is not its own', wrong.version, wrong.stream_id using errcode = 'MX003';
    end if;
    return null;
end
$$;

-- The head never goes back. The condition is looked at without a call, so that it costs nothing. To say that it may not go forward without
-- events either takes a deferred trigger, which costs every group 45 µs; so it is not said here: such a head makes no gap, since no event is
-- accepted after it (MX002 above), and `merx verify` names it.
create function refuse_to_go_back() returns trigger language plpgsql as $$
begin
    raise exception 'the head of the log is %, and never goes back to %', old.position, new.position using errcode = 'MX002';
end
$$;

create trigger log_head_never_goes_back before update on log_head
    for each row when (new.position < old.position) execute function refuse_to_go_back();
alter table log_head enable always trigger log_head_never_goes_back;

-- Which version of merx first brought a migration here, and which one first wrote a version of an event type. Each program fills in, when it
-- starts, what it knows; an older one finds what it does not know, refuses to start and names the version that it takes.
create table program_migrations (
    migration bigint primary key,
    program_version text not null
);

create table program_event_schemas (
    event_type text collate "C" not null,
    schema_version smallint not null check (schema_version >= 1),
    program_version text not null,
    primary key (event_type, schema_version)
);
