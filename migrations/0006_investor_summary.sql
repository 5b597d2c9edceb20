-- investor_summary: what each user has invested, in one row for each partition, so that consumers never wait for each
-- other's rows; a reader adds them up. Filled from the log's first event on by the consumer that bears its name.
create table investor_summary (
    user_id           text        not null,
    partition         integer     not null,
    products          bigint      not null, -- in which the user has anything reserved or settled
    settled_amount    bigint      not null,
    reserved_amount   bigint      not null, -- without a fate yet
    failed_invests    bigint      not null,
    first_invest_date timestamptz not null, -- of a reservation, whatever became of it
    last_invest_date  timestamptz not null,
    primary key (user_id, partition)
) with (fillfactor = 70);

-- The same of one user in one product. Feeds `products`.
create table investor_summary_product (
    user_id         text   not null,
    product_id      bigint not null,
    settled_amount  bigint not null check (settled_amount >= 0),
    reserved_amount bigint not null check (reserved_amount >= 0),
    primary key (user_id, product_id)
) with (fillfactor = 70);

insert into generations (projection, generation, code_version, state) values ('investor_summary', 1, 1, 'LIVE');
