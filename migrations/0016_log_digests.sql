-- What shows that the log is still the one that it was: a running digest, kept at some positions.

-- The digest at a position is SHA-256 over the byte 2, the digest at the position before (32 zero bytes before the first), the position and the
-- hash of its event; docs/event-hash.md says it exactly. Whoever removes, moves or changes events must write every digest from there on anew, and
-- then they are not those that an auditor has noted. A server that takes writes keeps one after each thousand events, and after a minute
-- for fewer: beside the appends, never within them.
create table log_digests (
    position bigint primary key check (position >= 1),
    digest bytea not null check (length(digest) = 32),
    kept_at timestamptz not null default now()
);

create trigger log_digests_are_never_changed before update or delete or truncate on log_digests
    for each statement execute function refuse_change();
alter table log_digests enable always trigger log_digests_are_never_changed;
