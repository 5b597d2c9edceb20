-- The three read models. Each owns all the tables that bear its name and shares none, so each can be dropped and made
-- anew from the log alone. Who writes a row is the consumer of the row's partition; nobody else.

-- product_list: every product with what is taken of it.
create table product_list (
    product_id     bigint      primary key,
    title          text        not null,
    total_amount   bigint      not null,
    current_amount bigint      not null default 0, -- reserved + settled
    invest_users   bigint      not null default 0, -- distinct users with either
    started_at     timestamptz not null,
    finished_at    timestamptz not null,
    closed         boolean     not null default false
) with (fillfactor = 50);
-- What can be open now lies at this index's end; the finished past is never read.
create index product_list_by_end on product_list (finished_at, product_id) where not closed;

-- Reserved + settled of one user in one product; a row goes when it reaches zero. Feeds `invest_users`.
create table product_list_user (
    product_id bigint not null,
    user_id    text   not null,
    amount     bigint not null check (amount > 0),
    primary key (product_id, user_id)
);

-- holdings: what each user holds, settled only.
create table holdings (
    user_id     text        not null,
    product_id  bigint      not null,
    amount      bigint      not null,
    invest_date timestamptz not null, -- of the latest settlement
    primary key (user_id, product_id)
);
create index holdings_latest_first on holdings (user_id, invest_date desc, product_id desc);

create table holdings_product (
    product_id   bigint primary key,
    title        text   not null,
    total_amount bigint not null
);

-- How many holdings a user has: a list's totalCount without counting. Per partition, so that consumers never wait for
-- each other's rows.
create table holdings_count (
    user_id   text    not null,
    partition integer not null,
    holdings  bigint  not null,
    primary key (user_id, partition)
) with (fillfactor = 70);

-- invest_log: every invest that was accepted, and what became of it.
create table invest_log (
    invest_id       uuid        primary key,
    product_id      bigint      not null,
    user_id         text        not null,
    amount          bigint      not null,
    state           text        not null check (state in ('RESERVED', 'SETTLED', 'FAILED')),
    fail_code       text,
    fail_detail     text,
    accrued_user    bigint      not null, -- reserved + settled of this user in this product, just after this reservation
    accrued_product bigint      not null, -- the same of all users
    requested_at    timestamptz not null,
    updated_at      timestamptz not null
) with (fillfactor = 60);                 -- each row is updated once, in place: no indexed column changes
create index invest_log_latest_first on invest_log (user_id, requested_at desc, invest_id desc);
create index invest_log_of_product on invest_log (user_id, product_id, requested_at desc, invest_id desc);

create table invest_log_product (
    product_id bigint primary key,
    title      text   not null,
    accrued    bigint not null default 0
) with (fillfactor = 50);

-- Per user and product: what is accrued now, and how many log rows there are (a list's totalCount without counting).
create table invest_log_user (
    user_id    text   not null,
    product_id bigint not null,
    accrued    bigint not null,
    invests    bigint not null,
    primary key (user_id, product_id)
) with (fillfactor = 80);
