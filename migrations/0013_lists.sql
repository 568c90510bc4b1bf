-- What makes each list cost its page, however much there is beside it.

-- Products: by status; by category, of which the page's documents are read only once it is known which they are.
create index products_by_status on read_model.products (status, created_position);
drop index read_model.products_by_category;
create index products_by_category on read_model.products (category, created_position) include (sku);
create index products_by_category_and_status on read_model.products (category, status, created_position) include (sku);

-- Projection `sales`: what the cells of the other tables come to. Of `day` the key is the day (2010-12-01), and each order counts once over all
-- days; of `country`, `product` and `category` the sums are over all days.
create table read_model.sales_totals (
    "by" text collate "C" not null check ("by" in ('day', 'country', 'product', 'category')),
    currency text collate "C" not null,
    key text collate "C" not null,
    orders bigint not null,
    units bigint not null,
    gross numeric not null,
    returned numeric not null,
    net numeric not null,
    primary key ("by", currency, key)
);

create index sales_totals_by_net on read_model.sales_totals ("by", currency, net desc, key);

-- Right at once; version 2 of the projection keeps them, and makes them again.
insert into read_model.sales_totals
    select 'day', currency, to_char(day, 'YYYY-MM-DD'), sum(orders), sum(units), sum(gross), sum(returned), sum(net)
    from read_model.sales_by_country group by currency, day
    union all
    select 'country', currency, country, sum(orders), sum(units), sum(gross), sum(returned), sum(net)
    from read_model.sales_by_country group by currency, country
    union all
    select 'product', currency, product, sum(orders), sum(units), sum(gross), sum(returned), sum(net)
    from read_model.sales_by_product group by currency, product
    union all
    select 'category', currency, category, sum(orders), sum(units), sum(gross), sum(returned), sum(net)
    from read_model.sales_by_category group by currency, category;

-- States that long streams had on their way: whoever asks for an old one folds a few thousand events and not all. Made by those who ask; a
-- speed-up and never truth, as `snapshots` are, whose columns these are.
create table past_snapshots (
    stream_id text collate "C" not null,
    version bigint not null check (version >= 1),
    state_version int not null check (state_version >= 1),
    event_hash bytea not null check (length(event_hash) = 32),
    state json not null,
    seal bytea not null check (length(seal) = 32),
    taken_at timestamptz not null default now(),
    primary key (stream_id, version)
);
