-- A withdrawn invest stays on settlement's work list, or comes back to it, until its money is given back.
alter table open_invest
    -- What it was before: RESERVED or SETTLED; null while it is a reservation without a fate.
    add column given_back text check (given_back in ('RESERVED', 'SETTLED'));

-- Whoever decides a withdrawal looks its invest up in the log, through the index of events. An index that lies can hide an event, never
-- invent one: each is matched by its own content.
do $$
declare
    definition constant text := pg_get_functiondef('public.moa_give_rights()'::regprocedure);
    changed    constant text := replace(replace(definition,
        'unnest(array[''moa_reader'', ''moa_auditor'']) as role',
        'unnest(array[''moa_reader'', ''moa_auditor'', ''moa_writer'']) as role'),
        'where role <> ''moa_reader'' or projection <> ''event_index''',
        'where role = ''moa_auditor'' or (role = ''moa_writer'') = (projection = ''event_index'')');
begin
    if changed not like '%''moa_auditor'', ''moa_writer''])%' or changed not like '%(projection = ''event_index'')%' then
        raise exception 'moa_give_rights() is not as migration 0013 made it';
    end if;
    execute changed;
end
$$;

select moa_grant_roles();
