-- What search must know to filter and sort by the price that is charged: the flash sales of a product that are not closed, in the order in which they
-- start: [{"id", "starts_at", "ends_at", "price": {"amount", "currency"}}]. From stock-….
alter table read_model.search_products add column sales json not null default '[]';
