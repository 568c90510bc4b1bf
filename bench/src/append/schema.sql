-- The same columns as the log's, and no more indexes than the version check needs.
create table version_only (
    stream_id text collate "C" not null,
    version bigint not null,
    event_id uuid not null,
    type text collate "C" not null,
    schema_version smallint not null,
    payload json not null,
    metadata json not null,
    recorded_at timestamptz not null,
    hash bytea not null,
    primary key (stream_id, version)
);

create function append_version_only(
    stream text, expected bigint, id uuid, type text, schema_version smallint, payload text, metadata text, recorded_at timestamptz, hash bytea
) returns bigint language plpgsql as $$
declare
    current bigint;
begin
    select coalesce(max(e.version), 0) into current from version_only e where e.stream_id = stream;
    if current <> expected then
        raise exception 'stream % is at version %, not %', stream, current, expected;
    end if;
    insert into version_only values (stream, expected + 1, id, type, schema_version, payload::json, metadata::json, recorded_at, hash);
    return expected + 1;
end
$$;

-- The same with positions that have no gaps and are in commit order, as the log's are.
create table head (position bigint not null) with (fillfactor = 10);
insert into head values (0);

create table gap_free (
    position bigint primary key,
    stream_id text collate "C" not null,
    version bigint not null,
    event_id uuid not null,
    type text collate "C" not null,
    schema_version smallint not null,
    payload json not null,
    metadata json not null,
    recorded_at timestamptz not null,
    hash bytea not null,
    unique (stream_id, version)
);

create function append_gap_free(
    stream text, expected bigint, id uuid, type text, schema_version smallint, payload text, metadata text, recorded_at timestamptz, hash bytea
) returns bigint language plpgsql as $$
declare
    current bigint;
    next bigint;
begin
    select coalesce(max(e.version), 0) into current from gap_free e where e.stream_id = stream;
    if current <> expected then
        raise exception 'stream % is at version %, not %', stream, current, expected;
    end if;
    update head set position = position + 1 returning position into next;
    insert into gap_free values (next, stream, expected + 1, id, type, schema_version, payload::json, metadata::json, recorded_at, hash);
    return expected + 1;
end
$$;
