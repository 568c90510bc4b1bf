-- How far each consumer of the log has come, and who may move it.

-- A checkpoint is committed with what its consumer wrote, so that nothing is applied twice.
create table checkpoints (
    name text primary key,
    version int not null,
    position bigint not null check (position >= 0),
    updated_at timestamptz not null default now()
);

-- Several servers share one database: of each name one server at a time works, until its lease ends. The fence grows with every
-- change of holder, so that an old holder that wakes up late can tell.
create table leases (
    name text primary key,
    holder uuid not null,
    fence bigint not null,
    expires_at timestamptz not null
);

-- What process managers must do at a time to come, at the latest. A reminder is set and cleared in the transaction that moves the
-- checkpoint of the process manager that set it.
create table reminders (
    kind text not null,
    subject text collate "C" not null,
    due_at timestamptz not null,
    primary key (kind, subject)
);

create index reminders_by_time on reminders (due_at);
