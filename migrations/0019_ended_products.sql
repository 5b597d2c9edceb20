-- The work of products with a target, and of products that ended and are given back. Kept with open_invest, apply-once from the log.

-- A product with a target, until it is reached for good or the product ends.
create table target_checks (
    product_id     bigint      primary key,
    due_at         timestamptz not null,           -- the end of its window, then the next try
    event_id       uuid        not null,           -- of ProductOpened: the cause of what is commanded
    correlation_id text        not null
);
create index target_checks_by_due on target_checks (due_at);

-- A product that was cancelled or missed its target, until every invest is given back.
create table mass_refunds (
    product_id     bigint      primary key,
    last_sequence  bigint      not null,           -- of the event that ended it, in its stream
    read_sequence  bigint      not null default 0, -- how far the stream is read
    began_at       timestamptz not null,
    due_at         timestamptz not null,           -- of the next step
    event_id       uuid        not null,           -- of the event that ended it: the cause of the refunds
    correlation_id text        not null,
    traceparent    text
);

do $$
declare
    owners constant text := pg_get_functiondef('public.moa_give_owners()'::regprocedure);
    rights constant text := pg_get_functiondef('public.moa_give_rights()'::regprocedure);
    more_owners constant text := replace(owners, '''open_invest'', ''leases''',
        '''open_invest'', ''target_checks'', ''mass_refunds'', ''leases''');
    more_rights constant text := replace(rights,
        '(''moa_writer'', ''select, insert, update, delete'', ''open_invest''),',
        '(''moa_writer'', ''select, insert, update, delete'', ''open_invest''),
            (''moa_writer'', ''select, insert, update, delete'', ''target_checks''),
            (''moa_writer'', ''select, insert, update, delete'', ''mass_refunds''),');
begin
    if more_owners = owners or more_rights = rights then
        raise exception 'moa_give_owners() or moa_give_rights() is not as migrations 0013 and 0018 made it';
    end if;
    execute more_owners;
    execute more_rights;
end
$$;

select moa_grant_roles();
