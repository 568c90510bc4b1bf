-- The log on Kafka: how far it has been published, and how far consumers have applied it. Topics are `<prefix>.<category>`; the key of a
-- message is its stream, so that a stream is in order in one partition.
--
-- The checkpoint `publisher` says up to which position every event has been acknowledged by Kafka: P. The two tables below say the same of
-- single partitions, whose events are not numbered without gaps: position 7 may be followed by 12.

-- As of P: the last event of each partition, and the offset after it. Committed together with the checkpoint, under the lease of the publisher.
-- There is a row for each partition from the start on, so the number of partitions that a log was first published with is kept here.
create table kafka_published (
    topic text collate "C" not null,
    partition int not null check (partition >= 0),
    -- Every event after P comes (perhaps again) at or after this offset.
    next_offset bigint not null check (next_offset >= 0),
    -- 0 where the partition has none.
    position bigint not null check (position >= 0),
    primary key (topic, partition)
) with (fillfactor = 50); -- room for heap-only updates: rows change many times a second

-- How far a consumer has applied a partition, committed with the rows that it wrote. A consumer drops what is at or below its position, and
-- each message says which position stands before it in its partition: what is missing is seen, and read from the log. So the offset only
-- saves reading; the position is what makes each event be applied once.
create table kafka_places (
    -- The name of a checkpoint.
    consumer text not null,
    topic text collate "C" not null,
    partition int not null check (partition >= 0),
    next_offset bigint not null check (next_offset >= 0),
    position bigint not null check (position >= 0),
    -- Grows with each new owner of the partition: an old one that is late finds another number here and writes nothing.
    fence bigint not null default 0,
    primary key (consumer, topic, partition)
) with (fillfactor = 50);
