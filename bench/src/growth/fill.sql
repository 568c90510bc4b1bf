-- Events as a shop has them, in rows of ten: five begin a stream with a time-ordered id, three go on with one begun a little earlier, and two
-- go on with one of the old streams of stock, which are taken in turns. `base_ms` is the time at the beginning, and less than a million events
-- come in a second of it.
create function time_ordered(ms bigint, nth bigint, salt text) returns uuid language sql immutable as $$
    select (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(salt || nth), 1, 3) || '8' || substr(md5(salt || nth), 4, 15))::uuid
$$;

-- Where the streams of stock are.
create table stock_versions (nth bigint primary key, stream_id text collate "C" not null, version bigint not null);

create function shop_events(first bigint, many bigint, base_ms bigint)
returns table (nth bigint, stream_id text, version bigint, event_id uuid, kind text) language sql stable as $$
    select i.nth,
           case kind when 'received' then s.stream_id else 'order-' || time_ordered(base_ms + begun / 1000, begun, 'stream') end,
           case kind when 'received' then s.version + 1 + taken / 1024 when 'placed' then 2 else 1 end,
           time_ordered(base_ms + i.nth / 1000, i.nth, 'event'),
           kind
    from (
        select nth,
               case when nth % 10 < 5 or (nth % 10 < 8 and nth < 10000) then 'submitted' when nth % 10 < 8 then 'placed' else 'received' end as kind,
               -- One of 10,000 events ago began the stream that is gone on with.
               case when nth % 10 < 5 or nth < 10000 then nth else nth - 10000 - 5 end as begun,
               nth / 10 * 2 + nth % 10 - 8 as taken
        from generate_series(first, first + many - 1) nth
    ) i
    left join stock_versions s on i.kind = 'received' and s.nth = i.taken % 1024
$$;
