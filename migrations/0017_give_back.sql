-- What is given back: invests that were withdrawn or refunded, and products that were cancelled or missed their target. A release
-- before this one knows none of their events: withdraw, cancel and open with these terms once every process runs this release.

-- Every generation, because a rollback or a switch makes another one live.
do $$
declare
    schema text;
begin
    for schema in
        select relnamespace::regnamespace::text from pg_class
         where relkind = 'r' and relname = 'product_list'
           and (relnamespace = 'public'::regnamespace or starts_with(relnamespace::regnamespace::text, 'product_list_'))
    loop
        execute format('alter table %s.product_list
                            add column target_amount      bigint,
                            add column withdrawable_until timestamptz,
                            add column cancel_reason      text,
                            add column failed             boolean not null default false', schema);
    end loop;
    for schema in
        select relnamespace::regnamespace::text from pg_class
         where relkind = 'r' and relname = 'invest_log'
           and (relnamespace = 'public'::regnamespace or starts_with(relnamespace::regnamespace::text, 'invest_log_'))
    loop
        -- Valid at once, which reads every row: a generation that is created like this one has it valid, and they are compared.
        execute format('alter table %s.invest_log
                            drop constraint invest_log_state_check,
                            add constraint invest_log_state_check
                                check (state in (''RESERVED'', ''SETTLED'', ''FAILED'', ''WITHDRAWN'', ''REFUNDED''))', schema);
    end loop;
end
$$;
