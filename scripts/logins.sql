-- The logins of the services, for psql, as a superuser in Moa's database, once; docs/deploying.md says who needs which. Each
-- is a member of the roles whose rights it needs. `moa migrate`, as `migrate`, grants the rights, before or after.
\set ON_ERROR_STOP on
\getenv migrate_password MIGRATE_PASSWORD
\getenv command_api_password COMMAND_API_PASSWORD
\getenv query_api_password QUERY_API_PASSWORD
\getenv projector_password PROJECTOR_PASSWORD
\getenv relay_password RELAY_PASSWORD
\getenv admin_password ADMIN_PASSWORD
\getenv sealer_password SEALER_PASSWORD
\getenv auditor_password AUDITOR_PASSWORD

-- Where a superuser has migrated, these exist already.
do $$
declare
    who text;
begin
    foreach who in array array['moa_owner', 'moa_writer', 'moa_relay', 'moa_projector', 'moa_reader', 'moa_auditor',
                               'moa_sealer'] loop
        if to_regrole(who) is null then
            execute format('create role %I nologin', who);
        end if;
    end loop;
end
$$;
grant moa_projector to moa_owner;
alter database :"DBNAME" owner to moa_owner;

create role migrate login password :'migrate_password' in role moa_owner;
create role command_api login password :'command_api_password' in role moa_writer;
create role query_api login password :'query_api_password' in role moa_reader;
create role projector login password :'projector_password' in role moa_projector;
create role relay login password :'relay_password' in role moa_relay;
create role admin login password :'admin_password' in role moa_writer, moa_projector, moa_auditor;
create role sealer login password :'sealer_password' in role moa_sealer;
-- For people who verify the log in the database itself: moa audit verify --database-url.
create role auditor login password :'auditor_password' in role moa_auditor;

-- What only a superuser can do, so that `moa migrate` need not run as one; migrations/0014_closed_rights.sql says why, and
-- select moa_open_rights() whether it was done.
do $$
declare
    change text;
begin
    for change in
        select format('revoke execute on function %s from public', oid::regprocedure)
          from pg_proc
         where pronamespace = 'pg_catalog'::regnamespace
           and proname ~ '^(pg_(try_)?advisory_.*|lo_.*|loread|lowrite|pg_logical_emit_message|pg_export_snapshot)$'
         union all
        select format('alter role %I in database %I set %s = %L', login, current_database(), setting, value)
          from (values ('command_api'), ('query_api'), ('relay'), ('sealer')) as logins (login)
         cross join (values ('statement_timeout', '30s'), ('idle_in_transaction_session_timeout', '10s'),
                            ('lock_timeout', '5s'), ('temp_file_limit', '1GB')) as limits (setting, value)
         union all
        select format('alter role %I in database %I set %s = %L', login, current_database(), setting, value)
          from (values ('projector'), ('admin'), ('auditor')) as logins (login)
         cross join (values ('statement_timeout', '15min'), ('idle_in_transaction_session_timeout', '60s'),
                            ('lock_timeout', '5s')) as limits (setting, value)
    loop
        execute change;
    end loop;
end
$$;
grant execute on function pg_advisory_lock(bigint), pg_advisory_unlock(bigint), pg_export_snapshot() to moa_owner;
grant execute on function pg_advisory_xact_lock(integer, integer) to moa_owner, moa_writer;
grant execute on function pg_export_snapshot() to moa_projector;
