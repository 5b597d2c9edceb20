-- The terms of a product, as it was opened with them; null where it has none. A release before this one writes its rows without them:
-- open products with terms once every process runs this release.

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
                            add column min_invest_amount   bigint,
                            add column invest_amount_unit  bigint,
                            add column max_amount_per_user bigint', schema);
    end loop;
end
$$;
