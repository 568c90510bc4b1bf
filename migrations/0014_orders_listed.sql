-- Lists of orders leave out what checkout refused unless it is asked for by its status. Each way to ask has an index that holds what it lists and
-- nothing else, so that a page costs the same however much was refused.
drop index read_model.orders_by_time;
create index orders_listed_by_time on read_model.orders (placed_at desc, id desc) where status <> 'rejected';

drop index read_model.orders_by_email;
create index orders_listed_by_email on read_model.orders (email, placed_at desc, id desc) where status <> 'rejected';
create index orders_by_email_and_status on read_model.orders (email, status, placed_at desc, id desc);

comment on column read_model.orders.email is 'As addresses are compared: normalised, so that every way to write one finds its orders.';
