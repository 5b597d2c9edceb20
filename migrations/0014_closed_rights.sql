-- What a login may not do to the others, whatever its role: take the locks that appends need, fill the disk, move another
-- service's checkpoint or lease, or hold a transaction open for ever. docs/decisions/0024 has what each costs, and what
-- PostgreSQL cannot take away.

-- The hash of the event at a position; null where there is none. The readers of counters compare it with what Redis states.
-- It runs as its owner: whoever may call it learns a hash and no event.
create function moa_event_hash(of_partition integer, at_position bigint) returns bytea
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select hash from public.events where partition = of_partition and position = at_position
$$;

-- Which database this is, on which server. A copy of a log has the log's own id, and must not share what is kept beside it:
-- a copy made by `create database ... template` has another oid, a restored dump another system identifier too. A copy of the
-- server's files has neither; what is kept beside a log is compared with the log as well.
create function moa_database_id() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    this constant text := (select oid from pg_database where datname = current_database());
begin
    return (select system_identifier from pg_control_system()) || '.' || this;
exception
    when insufficient_privilege then return '0.' || this;
end
$$;

-- Functions of PostgreSQL's own that everybody may call at first, by what they can do to a log.
create function moa_harmful_functions() returns table (function regprocedure, harm text)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select oid::regprocedure,
           case when proname ~ 'advisory' then 'hold the lock that every append takes, which stops all writes'
                when proname = 'pg_logical_emit_message' then 'fill the disk with WAL'
                when proname = 'pg_export_snapshot' then 'fill the folder of exported snapshots'
                else 'fill the disk with large objects' end
      from pg_proc
     where pronamespace = 'pg_catalog'::regnamespace
       and proname ~ '^(pg_(try_)?advisory_.*|lo_.*|loread|lowrite|pg_logical_emit_message|pg_export_snapshot)$'
$$;

-- Takes them from everybody, and gives them to those who need them. Only a superuser can; else nothing is done here, and
-- moa_open_rights() says so.
create function moa_close_functions() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    statements text[];
    statement  text;
begin
    select array_agg(given order by place) into statements
      from (select 1 as place, format('revoke execute on function %s from public', function) as given
              from public.moa_harmful_functions() join pg_proc on oid = function
             where pg_has_role(proowner, 'USAGE')
               and exists (select from aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee = 0)
             union all
            select 2, format('grant execute on function %s to %I', function::regprocedure, role)
              from (values
                    -- Who migrates takes sqlx's lock, and the one that lets rights be given by one at a time.
                    ('moa_owner', 'pg_advisory_lock(bigint)'),
                    ('moa_owner', 'pg_advisory_unlock(bigint)'),
                    ('moa_owner', 'pg_advisory_xact_lock(integer, integer)'),
                    -- Every append takes its partition's lock.
                    ('moa_writer', 'pg_advisory_xact_lock(integer, integer)'),
                    -- Two generations of a read model are compared on one snapshot; pg_dump -j reads on one.
                    ('moa_projector', 'pg_export_snapshot()'),
                    ('moa_owner', 'pg_export_snapshot()')) as needed (role, function)
              join pg_proc on oid = function::regprocedure
             where to_regrole(role) is not null and pg_has_role(proowner, 'USAGE')) as changes;
    foreach statement in array coalesce(statements, '{}') loop
        perform public.moa_try(statement);
    end loop;
    perform public.moa_try('revoke execute on function public.moa_event_hash(integer, bigint), public.moa_database_id(),
                                   public.moa_harmful_functions(), public.moa_close_functions(), public.moa_give_rows(),
                                   public.moa_limit_logins(), public.moa_limits(), public.moa_open_rights() from public');
    select array_agg(format('grant execute on function public.%s to %I', function, role)) into statements
      from (select role, function from (values
            -- Who shows counters, and who writes them.
            ('moa_reader', 'moa_event_hash(integer, bigint), public.moa_database_id()'),
            ('moa_projector', 'moa_event_hash(integer, bigint), public.moa_database_id()')) as rights (role, function)
             union all
            -- Every service says at its start what is still open.
            select role, 'moa_open_rights(), public.moa_harmful_functions(), public.moa_limits()'
              from unnest(array['moa_writer', 'moa_relay', 'moa_projector', 'moa_reader', 'moa_auditor', 'moa_sealer'])
                   as role) as given
     where to_regrole(role) is not null;
    foreach statement in array coalesce(statements, '{}') loop
        perform public.moa_try(statement);
    end loop;
end
$$;

-- Each role changes the checkpoints and leases of its own consumers and jobs alone; all that may read them read all. The
-- owner of the tables is not held by it.
create function moa_give_rows() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    wanted_policy record;
begin
    if exists (select from unnest(array['moa_writer', 'moa_relay', 'moa_projector', 'moa_reader', 'moa_auditor', 'moa_sealer'])
                           as role where to_regrole(role) is null) then
        return;
    end if;
    for wanted_policy in
        with wanted (relation, name, roles, command, rows) as (values
            ('checkpoints', 'read', 'moa_auditor, moa_projector, moa_reader, moa_relay, moa_writer', 'r', 'true'),
            ('checkpoints', 'settlement', 'moa_writer', '*', '(consumer = ''open_invest''::text)'),
            ('checkpoints', 'relay', 'moa_relay', '*', '(consumer = ''relay''::text)'),
            ('checkpoints', 'read_models', 'moa_projector', '*',
             '(consumer <> ALL (ARRAY[''open_invest''::text, ''relay''::text]))'),
            ('leases', 'read', 'moa_projector, moa_relay, moa_sealer', 'r', 'true'),
            ('leases', 'relay', 'moa_relay', '*', 'starts_with(name, ''relay.''::text)'),
            ('leases', 'sealer', 'moa_sealer', '*', '(name = ''sealer''::text)'),
            ('leases', 'jobs', 'moa_projector', '*',
             '((name = ''checkpoint_trail''::text) OR starts_with(name, ''job:''::text))')),
        found as (
            select polrelid, polname::text as name, polcmd::text as command, pg_get_expr(polqual, polrelid) as rows,
                   (select string_agg(role::regrole::text, ', ' order by role::regrole::text collate "C")
                      from unnest(polroles) as role) as roles,
                   polpermissive and (polwithcheck is null or pg_get_expr(polwithcheck, polrelid)
                                                              = pg_get_expr(polqual, polrelid)) as is_plain
              from pg_policy)
        select format('public.%I', coalesce(relation, polrelid::regclass::text)) as relation, name, wanted.roles,
               case wanted.command when 'r' then 'select' else 'all' end as command, wanted.rows,
               polrelid is not null as is_there
          from wanted full join (select *, replace(polrelid::regclass::text, 'public.', '') as relation from found
                                  where polrelid in ('public.checkpoints'::regclass, 'public.leases'::regclass)) as found
               using (relation, name)
         where polrelid is null or wanted.rows is null or not is_plain
            or (wanted.roles, wanted.command, wanted.rows) is distinct from (found.roles, found.command, found.rows)
    loop
        if wanted_policy.is_there then
            perform public.moa_try(format('drop policy %I on %s', wanted_policy.name, wanted_policy.relation));
        end if;
        if wanted_policy.rows is not null then
            perform public.moa_try(format('create policy %I on %s for %s to %s using (%s)', wanted_policy.name,
                                          wanted_policy.relation, wanted_policy.command, wanted_policy.roles,
                                          wanted_policy.rows));
        end if;
    end loop;
    if exists (select from pg_class where oid in ('public.checkpoints'::regclass, 'public.leases'::regclass)
                                      and not relrowsecurity) then
        perform public.moa_try('alter table public.checkpoints enable row level security');
        perform public.moa_try('alter table public.leases enable row level security');
    end if;
end
$$;

-- What a login is limited to where it, or Moa, sets nothing else: a default against faults, as a login may set its own
-- time-outs; the size of temporary files it may not. Logins that make read models or read all history get more.
create function moa_limits() returns table (login name, setting text, value text)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select rolname, name, case when reads_much then more else value end
      from (select rolname, exists (select from unnest(array['moa_projector', 'moa_auditor']) as role
                                     where pg_has_role(oid, to_regrole(role), 'MEMBER')) as reads_much
              from pg_roles
             where rolcanlogin and not rolsuper and not pg_has_role(oid, to_regrole('moa_owner'), 'MEMBER')
               and exists (select from unnest(array['moa_writer', 'moa_relay', 'moa_projector', 'moa_reader', 'moa_auditor',
                                                    'moa_sealer']) as role
                            where pg_has_role(oid, to_regrole(role), 'MEMBER'))) as logins
     cross join (values ('statement_timeout', '30s', '15min'),
                        ('idle_in_transaction_session_timeout', '10s', '60s'),
                        ('lock_timeout', '5s', '5s'),
                        ('temp_file_limit', '1GB', null)) as limits (name, value, more)
     where not (reads_much and more is null)
       -- What somebody has set for this login in this database stays.
       and not exists (select from pg_db_role_setting as s cross join unnest(setconfig) as config
                        where setrole = to_regrole(quote_ident(rolname)) and setdatabase in (
                                  0, (select oid from pg_database where datname = current_database()))
                          and starts_with(config, name || '='))
$$;

create function moa_limit_logins() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    missing record;
begin
    for missing in select * from public.moa_limits() loop
        begin
            perform public.moa_try(format('alter role %I in database %I set %s = %L', missing.login, current_database(),
                                          missing.setting, missing.value));
        exception
            when undefined_object then null; -- dropped at this moment
        end;
    end loop;
end
$$;

-- What is open that ought to be closed, each in a sentence; nothing when all is as it is to be.
create function moa_open_rights() returns setof text language sql stable set search_path = pg_catalog, pg_temp as $$
    select format('whoever may connect to this database can %s: %s', harm, string_agg(function::text, ', ' order by function::text))
      from public.moa_harmful_functions() join pg_proc on oid = function
     where exists (select from aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee = 0)
     group by harm
     union all
    select format('each service can move the %s of every other', relname)
      from pg_class
     where oid in ('public.checkpoints'::regclass, 'public.leases'::regclass) and not relrowsecurity
       and to_regrole('moa_writer') is not null
       and exists (select from aclexplode(relacl) where grantee = to_regrole('moa_relay'))
     union all
    select format('the login %s has no %s', login, string_agg(setting, ' and no ' order by setting))
      from public.moa_limits() group by login
$$;

create or replace function moa_grant_roles() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    -- Two that change the same object's rights at once would fail.
    perform pg_advisory_xact_lock(5074785, -1);
    perform public.moa_make_roles();
    if pg_has_role(to_regrole('moa_owner'), 'MEMBER') and pg_has_role(to_regrole('moa_projector'), 'MEMBER') then
        perform public.moa_give_owners();
        perform public.moa_give_rights();
        perform public.moa_give_rows();
        perform public.moa_close_functions();
        perform public.moa_limit_logins();
    else
        raise notice 'no role was given any right: % is not a member of moa_owner; a superuser may call moa_grant_roles()',
                     current_user;
    end if;
end
$$;

select moa_grant_roles();
