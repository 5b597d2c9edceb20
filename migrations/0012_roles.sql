-- Who may do what. Each service can log in as a role of its own that has the rights it needs and no other, so that one that
-- was broken into, or has a fault, can neither rewrite the log nor read what it has no business with. docs/deploying.md says
-- which service needs which role and how its login is made; docs/rights.txt lists every right, and a test compares.

-- Who read the audit. The time and the login are filled by the database, and nobody is granted those columns.
create table audit_access (
    id             bigint      generated always as identity primary key,
    at             timestamptz not null default clock_timestamp(),
    login          text        not null default session_user,
    reader         text        not null check (reader in ('OPERATOR', 'AUDITOR', 'DIRECT')), -- whose token; DIRECT has none
    method         text        not null,
    path           text        not null, -- with its query; its beginning, when it is long
    correlation_id text,
    peer           text                  -- the address that asked; behind a proxy the proxy's
);
create index audit_access_by_time on audit_access (at, id);

-- Forgets what is 400 days old, a bounded batch at a time; says how many it was. Runs as its owner: who reads the audit
-- cannot delete what was written down of that any sooner, nor change it.
create function forget_audit_access() returns bigint language sql security definer
set search_path = pg_catalog, pg_temp as $$
    with forgotten as (
        delete from public.audit_access
         where id in (select id from public.audit_access
                       where at < clock_timestamp() - interval '400 days' order by at limit 1000)
        returning id)
    select count(*) from forgotten
$$;

-- Rights are given by the four functions that follow; the last one is to be called. They can be called again at any time, and
-- must be where rights are not in what was copied: after a restore, after `create database ... template`, when whoever
-- migrated might not make roles. A migration that adds a table replaces the function that names it, and calls the last one.
-- What may not be done is told and left out: then all belongs to whoever migrated, and every service logs in as that.

-- Does it, or says why not. What another database's migration did at the same moment is done.
create function moa_try(statement text) returns void language plpgsql set search_path = public, pg_temp as $$
begin
    execute statement;
exception
    when duplicate_object or unique_violation then null;
    when insufficient_privilege or internal_error then raise notice '% was not done: %', statement, sqlerrm;
end
$$;

-- The roles belong to the whole server. They log in as nobody: logins are made for each service, as members.
create function moa_make_roles() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    who text;
begin
    foreach who in array array['moa_owner', 'moa_writer', 'moa_relay', 'moa_projector', 'moa_reader', 'moa_auditor',
                               'moa_sealer'] loop
        if to_regrole(who) is null then
            perform public.moa_try(format('create role %I nologin', who));
        end if;
    end loop;
    -- The owner migrates the read models too.
    if not pg_has_role(to_regrole('moa_owner'), to_regrole('moa_projector'), 'MEMBER') then
        perform public.moa_try('grant moa_projector to moa_owner');
    end if;
    -- Whoever migrates goes on owning what it makes.
    if not pg_has_role(to_regrole('moa_owner'), 'MEMBER') then
        perform public.moa_try(format('grant moa_owner to %I', current_user));
    end if;
end
$$;

-- The read models are the projector's, whichever generation: it makes them anew, and drops what was live. All else is the
-- owner's. So is what an older release's superuser made.
create function moa_give_owners() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    statements text[];
    statement  text;
begin
    -- Rebuilds make schemas, and a switch moves tables into `public`; else nobody but the owner makes anything. Who is to own
    -- what is in a schema must be allowed to make it there.
    statements := array['revoke create on schema public from public',
                        'grant usage, create on schema public to moa_owner, moa_projector',
                        format('grant create on database %I to moa_owner, moa_projector', current_database())];
    foreach statement in array statements loop
        perform public.moa_try(statement);
    end loop;
    with read_models as (select distinct projection from public.generations),
    tables as (
        select c.relname, n.nspname, c.relowner, c.relkind, exists (
                   select from read_models
                    where (relname = projection or starts_with(relname, projection || '_'))
                      and (nspname = 'public' or nspname ~ ('^' || projection || '_v?[0-9]+$'))) as is_read_model
          from pg_class c join pg_namespace n on n.oid = relnamespace
         where relkind in ('r', 'S')),
    wanted (kind, name, owner, role) as (
        select 'table', format('%I.%I', nspname, relname), relowner, 'moa_projector'
          from tables where is_read_model and relkind = 'r'
         union all
        select 'schema', quote_ident(nspname), nspowner, 'moa_projector'
          from pg_namespace join read_models on nspname ~ ('^' || projection || '_v?[0-9]+$')
         union all
        select 'table', format('%I.%I', nspname, relname), relowner, 'moa_owner'
          from tables
         where nspname = 'public' and relkind = 'r' and not is_read_model
           and relname in ('log_identity', 'events', 'idempotency_keys', 'product_snapshots', 'checkpoints',
                           'open_invest', 'leases', 'parked_deliveries', 'generations', 'jobs', 'seals', 'refusals',
                           'payment_calls', 'recorder_drops', 'checkpoint_trail', 'audit_access', '_sqlx_migrations')
         union all
        select 'sequence', format('%I.%I', nspname, relname), relowner, 'moa_owner'
          from tables where nspname = 'public' and relkind = 'S' and relname = 'product_id'
         union all
        select 'function', oid::regprocedure::text, proowner, 'moa_owner'
          from pg_proc
         where pronamespace = 'public'::regnamespace
           and (starts_with(proname, 'moa_') or proname = 'forget_audit_access'
                or oid in (select tgfoid from pg_trigger where not tgisinternal)))
    select array_agg(format('alter %s %s owner to %I', kind, name, role)) into statements
      from wanted where owner <> to_regrole(role);
    -- Not while the tables that are to change are being read.
    foreach statement in array coalesce(statements, '{}') loop
        perform public.moa_try(statement);
    end loop;
end
$$;

-- Who may do what with what is not its own.
create function moa_give_rights() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    database constant text := quote_ident(current_database());
    -- All but the owner, which needs no rights to what it owns.
    roles constant text[] := array['moa_writer', 'moa_relay', 'moa_projector', 'moa_reader', 'moa_auditor', 'moa_sealer'];
    statements text[];
    statement  text;
begin
    perform public.moa_try(format('revoke temporary on database %s from public', database));
    perform public.moa_try('revoke execute on function forget_audit_access(), moa_grant_roles(), moa_make_roles(),
                                  moa_give_owners(), moa_give_rights(), moa_try(text) from public');
    -- As they are to be, whatever they were.
    select array_agg(format('revoke all on %s from %I', oid::regclass, role)) into statements
      from pg_class cross join unnest(roles || 'public'::text) as role
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'S')
       and (role = 'public' or relowner <> to_regrole(role));
    foreach statement in array coalesce(statements, '{}') loop
        perform public.moa_try(statement);
    end loop;
    select array_agg(format('grant %s on %s to %I', rights, what, role)) into statements
      from (select role, rights, what from (values
            -- command-api: decides, appends, settles. Every column of an event is the log's one append's to fill.
            ('moa_writer', 'select', 'log_identity'),
            ('moa_writer', 'select, insert (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                            metadata, partition, position, event_id, recorded_at, hash)', 'events'),
            ('moa_writer', 'usage', 'sequence product_id'),
            -- Where one column may be updated, that is only because a purge must lock the rows that it deletes.
            ('moa_writer', 'select, insert (user_id, key, fingerprint, answer), update (recorded_at), delete',
                           'idempotency_keys'),
            ('moa_writer', 'select, insert, update', 'product_snapshots'),
            ('moa_writer', 'select, insert, update', 'checkpoints'),
            ('moa_writer', 'select, insert, update, delete', 'open_invest'),
            ('moa_writer', 'select, insert, delete', 'parked_deliveries'),
            ('moa_writer', 'select, insert, update (place), delete', 'refusals'),
            ('moa_writer', 'select, insert, update (attempt), delete', 'payment_calls'),
            ('moa_writer', 'select, insert, update (reason), delete', 'recorder_drops'),

            -- relay: publishes what follows its checkpoint, under a lease.
            ('moa_relay', 'select', 'log_identity'),
            ('moa_relay', 'select', 'events'),
            ('moa_relay', 'select, insert, update', 'checkpoints'),
            ('moa_relay', 'select, insert, update', 'leases'),

            -- projector: owns the read models. Operators ask for its jobs through the admin service, which is one too.
            ('moa_projector', 'select', 'log_identity'),
            ('moa_projector', 'select', 'events'),
            ('moa_projector', 'select, insert, update, delete', 'checkpoints'),
            ('moa_projector', 'select, insert, update', 'leases'),
            ('moa_projector', 'select, insert, update, delete', 'generations'),
            ('moa_projector', 'select, insert, update', 'jobs'),
            ('moa_projector', 'select, insert, delete', 'parked_deliveries'),
            ('moa_projector', 'select, insert, delete', 'checkpoint_trail'),

            -- query-api: the views, and how far they are.
            ('moa_reader', 'select', 'log_identity'),
            ('moa_reader', 'select', 'checkpoints'),
            ('moa_reader', 'select', 'generations'),

            -- auditors: all that is history. They change nothing, and what they read is written down. Read models as they
            -- stood are folded into temporary tables.
            ('moa_auditor', 'temporary', 'database ' || database),
            ('moa_auditor', 'select', 'log_identity'),
            ('moa_auditor', 'select', 'events'),
            ('moa_auditor', 'select', 'seals'),
            ('moa_auditor', 'select', 'checkpoints'),
            ('moa_auditor', 'select', 'checkpoint_trail'),
            ('moa_auditor', 'select', 'refusals'),
            ('moa_auditor', 'select', 'payment_calls'),
            ('moa_auditor', 'select', 'recorder_drops'),
            ('moa_auditor', 'select, insert (reader, method, path, correlation_id, peer)', 'audit_access'),
            ('moa_auditor', 'execute', 'function forget_audit_access()'),

            -- sealer: signs what is there, under a lease.
            ('moa_sealer', 'select', 'log_identity'),
            ('moa_sealer', 'select', 'events'),
            ('moa_sealer', 'select, insert, update', 'leases'),
            ('moa_sealer', 'select, insert', 'seals')) as rights (role, rights, what)
             union all
            -- Whether the schema is up to date. It is not there where the migrations were applied by hand.
            select role, 'select', '_sqlx_migrations' from unnest(roles) as role
             union all
            -- Views are read from the live tables; who looks events up is an auditor.
            select role, 'select', format('%I.%I', schemaname, tablename)
              from (select distinct projection from public.generations) as models
              join pg_tables on (tablename = projection or starts_with(tablename, projection || '_'))
                            and (schemaname = 'public' or schemaname ~ ('^' || projection || '_v?[0-9]+$'))
             cross join unnest(array['moa_reader', 'moa_auditor']) as role
             where role <> 'moa_reader' or projection <> 'event_index') as given
     where to_regrole(role) is not null
       and (what <> '_sqlx_migrations' or to_regclass('public._sqlx_migrations') is not null);
    foreach statement in array coalesce(statements, '{}') loop
        perform public.moa_try(statement);
    end loop;
end
$$;

create function moa_grant_roles() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    -- Two that change the same object's rights at once would fail.
    perform pg_advisory_xact_lock(5074785, -1);
    perform public.moa_make_roles();
    if pg_has_role(to_regrole('moa_owner'), 'MEMBER') and pg_has_role(to_regrole('moa_projector'), 'MEMBER') then
        perform public.moa_give_owners();
        perform public.moa_give_rights();
    else
        raise notice 'no role was given any right: % is not a member of moa_owner; a superuser may call moa_grant_roles()',
                     current_user;
    end if;
end
$$;

select moa_grant_roles();
