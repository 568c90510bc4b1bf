-- What has been published and is sent to Kafka once more, beside what is new: for topics that were lost. The checkpoint `publisher` and the places
-- of partitions stay as they are, so that nobody who follows the log notices. Whoever publishes carries it out; one request at a time.
create table kafka_sent_again (
    only_row boolean primary key default true check (only_row),
    -- Grows with each request: who works on an older one stops.
    request bigint not null,
    from_position bigint not null check (from_position >= 1),
    -- Everything from `from_position` up to here has been acknowledged once more: whoever leads next goes on from it.
    position bigint not null check (position >= from_position - 1),
    -- Null until it has come to what is sent for the first time, or an operator has stopped it.
    ended_at timestamptz,
    asked_at timestamptz not null default now()
);
