-- Read models: what projections fold the log into, and all that GETs answer from. Any of it can be thrown away and made again.
-- Documents are the JSON that clients see, as far as one projection alone can say it.

create schema read_model;

-- Projection `catalogue`: streams category-…, product-….
create table read_model.categories (
    id text collate "C" primary key,
    parent text collate "C",
    version bigint not null,
    document json not null
);

create index categories_by_parent on read_model.categories (parent);

create table read_model.products (
    sku text collate "C" primary key,
    -- The position of its first event: the order in which lists show products.
    created_position bigint not null unique,
    category text collate "C",
    status text not null,
    version bigint not null,
    -- A product without what other projections know: stock, rating and flash sale are empty in it.
    document json not null
);

create index products_by_category on read_model.products (category, created_position);

-- Projection `stock`: streams stock-….
create table read_model.stock (
    sku text collate "C" primary key,
    on_hand bigint not null,
    -- Held by orders, or set aside for flash sales.
    reserved bigint not null,
    version bigint not null
);

-- Projection `flash-sales`: streams flashsale-…, and stock-… for what was sold of them.
create table read_model.flash_sales (
    id uuid primary key,
    sku text collate "C" not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    allotment bigint not null,
    price_amount text not null,
    price_currency text not null,
    limit_per_customer bigint,
    sold bigint not null default 0,
    reserved bigint not null default 0,
    cancelled boolean not null default false,
    -- 0 until its own stream has been seen: the stock's allotment may come first.
    version bigint not null default 0
);

create index flash_sales_by_sku on read_model.flash_sales (sku, ends_at);

-- Projection `reviews`: streams review-….
create table read_model.reviews (
    id uuid primary key,
    sku text collate "C" not null,
    position bigint not null unique,
    rating smallint not null,
    document json not null
);

create index reviews_by_sku on read_model.reviews (sku, position desc);

create table read_model.ratings (
    sku text collate "C" primary key,
    sum bigint not null,
    count bigint not null
);

-- Projection `carts`: streams cart-….
create table read_model.carts (
    id uuid primary key,
    version bigint not null,
    -- A cart without titles and prices, which are those of the moment it is read.
    document json not null
);

-- Projection `orders`: streams order-….
create table read_model.orders (
    id uuid primary key,
    status text not null,
    -- In lower case.
    email text,
    placed_at timestamptz not null,
    version bigint not null,
    document json not null
);

create index orders_by_time on read_model.orders (placed_at desc, id desc);
create index orders_by_status on read_model.orders (status, placed_at desc, id desc);
create index orders_by_email on read_model.orders (email, placed_at desc, id desc);

-- Projection `sales`: streams order-…. An order counts on the day it was placed, a return on the day it came back. Each of the three tables
-- counts an order once in each of its cells, so orders can be added up over days.
create table read_model.sales_by_country (
    day date not null,
    currency text not null,
    country text not null,
    orders bigint not null,
    units bigint not null,
    gross numeric not null,
    returned numeric not null,
    net numeric not null,
    primary key (day, currency, country)
);

create table read_model.sales_by_product (
    day date not null,
    currency text not null,
    -- The SKU, or the code of a charge.
    product text collate "C" not null,
    orders bigint not null,
    units bigint not null,
    gross numeric not null,
    returned numeric not null,
    net numeric not null,
    primary key (day, currency, product)
);

create table read_model.sales_by_category (
    day date not null,
    currency text not null,
    -- Empty where the product had none.
    category text collate "C" not null,
    orders bigint not null,
    units bigint not null,
    gross numeric not null,
    returned numeric not null,
    net numeric not null,
    primary key (day, currency, category)
);

-- What the sales projection must remember of an order that may still be confirmed, cancelled or returned.
create table read_model.sales_orders (
    id uuid primary key,
    document json not null
);
