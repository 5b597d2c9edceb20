-- investor_summary, version 2: one row for each user and product, where there were two for each new one: half the writes. A reader
-- adds up a user's rows, with the statement that adds up those of version 1. The rows of a user in a product are written by the consumer of
-- the product's partition alone.
create schema investor_summary_v2;
create table investor_summary_v2.investor_summary (
    user_id           text collate "C" not null,
    product_id        bigint           not null,
    products          bigint           not null check (products in (0, 1)), -- 1 while anything in it is reserved or settled
    settled_amount    bigint           not null check (settled_amount >= 0),
    reserved_amount   bigint           not null check (reserved_amount >= 0), -- without a fate yet
    failed_invests    bigint           not null,
    first_invest_date timestamptz      not null, -- of a reservation, whatever became of it
    last_invest_date  timestamptz      not null,
    primary key (user_id, product_id)
) with (fillfactor = 70);

-- Where nothing was ever written there is nothing to rebuild. Elsewhere the rows stay as they are until an operator rebuilds them: docs/replay.md.
do $$
begin
    -- A consumer of the release before, if it takes a step just now, has ended it then.
    perform from checkpoints where consumer = 'investor_summary' for update;
    if exists (select from checkpoints where consumer = 'investor_summary' and position > 0) then
        -- In a partition without events until now too, so that nobody begins there with rows of the other version.
        insert into checkpoints (consumer, partition, code_version)
        select 'investor_summary', partition, 1 from log_identity cross join generate_series(0, partitions - 1) as partition
            on conflict do nothing;
        return;
    end if;
    drop table investor_summary, investor_summary_product;
    alter table investor_summary_v2.investor_summary set schema public;
    drop schema investor_summary_v2;
    update generations set code_version = 2 where projection = 'investor_summary' and state = 'LIVE';
    update checkpoints set code_version = 2 where consumer = 'investor_summary';
end
$$;

select moa_grant_roles();
