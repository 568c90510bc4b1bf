-- What search knows of products: one row for each, that the indexes are filled from.

-- Projection `search`: streams product-…, stock-…, review-…, category-…. Each source has columns of its own and writes no others, since they may
-- be folded by different processes at once.
create table read_model.search_products (
    sku text collate "C" primary key,
    -- The last event that changes what is found of it. An index takes in what is greater than where it stands.
    changed_position bigint not null,
    -- From product-…; null until its own stream has been seen.
    created_position bigint,
    category text collate "C",
    product_version bigint not null default 0,
    document json,
    -- From stock-….
    on_hand bigint not null default 0,
    reserved bigint not null default 0,
    stock_version bigint not null default 0,
    -- From review-….
    rating_sum bigint not null default 0,
    rating_count bigint not null default 0
);

create index search_products_by_change on read_model.search_products (changed_position, sku);
create index search_products_by_category on read_model.search_products (category);

-- Reviews that are counted in, so that none is counted twice.
create table read_model.search_reviews (
    id uuid primary key,
    sku text collate "C" not null
);

create table read_model.search_categories (
    id text collate "C" primary key,
    parent text collate "C",
    version bigint not null,
    document json not null
);

create index search_categories_by_parent on read_model.search_categories (parent);
