-- What keeps a log from being written on that lost its last events: by a restore, by a failover to a standby that had not
-- everything, by commits that did not wait for the disk.

-- The second line of defence. The first is the append itself: it adds its rows only where the row that they follow is
-- there, with its hash. This trigger holds for every insert: a position is 1 or follows one that is there.
-- Its plan is made once in a session, maybe while the table is small, and must still do when it is large.
create function refuse_holes() returns trigger language plpgsql set enable_seqscan = off as $$
declare
    hole record;
begin
    select partition, min(position) as position into hole
      from appended
     group by partition
    having count(*) <> max(position) - min(position) + 1
        or min(position) > 1 and not exists (select from public.events before
                                              where before.partition = appended.partition
                                                and before.position = min(appended.position) - 1)
     limit 1;
    if found then
        raise exception 'the log has no holes: an insert into partition % at position % leaves one',
                        hole.partition, hole.position;
    end if;
    return null;
end
$$;

create trigger events_have_no_holes after insert on events referencing new table as appended
    for each statement execute function refuse_holes();

-- What an operator agreed to, so that writes go on: that the events after `heads` are lost (LOSS), or that the database's
-- clock is right although it jumped (CLOCK). A process that takes no writes looks here for a row that is newer than what
-- it knew when it stopped.
create table operator_acceptances (
    id          bigint      generated always as identity primary key,
    what        text        not null check (what in ('LOSS', 'CLOCK')),
    heads       bigint[]    not null, -- the last position of each partition at that time
    accepted_at timestamptz not null default clock_timestamp(),
    login       text        not null default session_user
);
create index operator_acceptances_by_kind on operator_acceptances (what, id);

-- The functions that name tables, with this one.

-- The read models are the projector's, whichever generation: it makes them anew, and drops what was live. All else is the
-- owner's. So is what an older release's superuser made.
create or replace function moa_give_owners() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
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
                           'payment_calls', 'recorder_drops', 'checkpoint_trail', 'audit_access',
                           'operator_acceptances', '_sqlx_migrations')
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
create or replace function moa_give_rights() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
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
            -- Reads the operator's word. It is written by the admin service, which is a writer too.
            ('moa_writer', 'select, insert (what, heads)', 'operator_acceptances'),
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
            ('moa_relay', 'select', 'operator_acceptances'),
            ('moa_relay', 'select, insert, update', 'checkpoints'),
            ('moa_relay', 'select, insert, update', 'leases'),

            -- projector: owns the read models. Operators ask for its jobs through the admin service, which is one too.
            ('moa_projector', 'select', 'log_identity'),
            ('moa_projector', 'select', 'events'),
            ('moa_projector', 'select', 'operator_acceptances'),
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
            ('moa_auditor', 'select', 'operator_acceptances'),
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

select moa_grant_roles();
