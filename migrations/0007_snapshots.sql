-- Snapshots: the newest state of a long stream that a server kept, so that whoever loads it next folds only what came after. A speed-up
-- and never truth: any of it may be deleted at any time, and nothing but the time of a load changes.

create table snapshots (
    stream_id text collate "C" primary key,
    -- The last event in it.
    version bigint not null check (version >= 1),
    -- The version of the state's shape and of the rules that made it. Of another one it is not read.
    state_version int not null check (state_version >= 1),
    -- The hash of the event at `version`: where the log has another event there (a restored database), this is of another history and not read.
    event_hash bytea not null check (length(event_hash) = 32),
    -- json, not jsonb: the bytes that were sealed are the bytes that are kept.
    state json not null,
    -- SHA-256 over all of the above but for the event's hash (event-store/src/snapshots.rs says how): what was changed or damaged is not read.
    seal bytea not null check (length(seal) = 32),
    taken_at timestamptz not null default now()
);
