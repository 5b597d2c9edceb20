-- Consistency tokens say of which incarnation of the log they are. One begins when an operator accepts that events are lost, so whoever
-- answers reads must see that word.

do $$
declare
    rights constant text := pg_get_functiondef('public.moa_give_rights()'::regprocedure);
    more   constant text := replace(rights, '(''moa_reader'', ''select'', ''generations''),',
        '(''moa_reader'', ''select'', ''generations''),
            -- Of which incarnation of the log a token is.
            (''moa_reader'', ''select'', ''operator_acceptances''),');
begin
    if more = rights then
        raise exception 'moa_give_rights() is not as migrations 0013 to 0020 made it';
    end if;
    execute more;
end
$$;

select moa_grant_roles();
