-- The record of operators' acts: who did what, and what came of it. Beside the log, and as hard to change: docs/proof-format.md has
-- what each hash covers, and what is signed.

-- An act is a row before it takes effect, and what came of it is a row of its own, which names the first. A row is added by
-- moa_record_act() or not at all: nobody but the owner may insert.
create table acts (
    number         bigint      primary key check (number >= 1), -- 1, 2, 3... without a gap
    at             timestamptz not null check (isfinite(at)),   -- the database's clock; never falls
    login          text        not null,                        -- the database's
    actor          text        not null,                        -- the name of the token; of a command that has none, the login
    role           text        not null check (role in ('OPERATOR', 'DIRECT')), -- DIRECT: a command in the database itself
    act            text        not null,
    subject        text        not null,
    parameters     json        not null,                        -- an object; json, not jsonb: the stored text is hashed
    correlation_id text,
    outcome_of     bigint      references acts,                 -- the act that this is the outcome of; null for an act
    outcome        text        check (outcome in ('DONE', 'REFUSED', 'FAILED')),
    hash           bytea       not null check (length(hash) = 32),
    check ((outcome_of is null) = (outcome is null)),
    -- What is hashed is a text of lines.
    check (position(E'\n' in concat(login, actor, act, subject, parameters::text, correlation_id)) = 0)
);
create unique index acts_one_outcome on acts (outcome_of) where outcome_of is not null;
create index acts_by_actor on acts (actor, number);

-- Seals of acts: signed, one for each row of `acts`, with the key of the log's seals.
create table act_seals (
    seal      bigint      primary key check (seal >= 1), -- 1, 2, 3...
    log       uuid        not null,
    act       bigint      not null check (act >= 1),     -- number of the row
    hash      bytea       not null,                      -- the row's
    at        timestamptz not null,
    previous  bytea       not null,                      -- digest of the seal before; zeros for the first
    key       bytea       not null,                      -- which key signed: 8 bytes
    signature bytea       not null                       -- Ed25519
);

create function refuse_to_rewrite_acts() returns trigger language plpgsql as $$
begin
    raise exception 'the record of acts is append-only: % on % is refused', tg_op, tg_table_name;
end
$$;

create trigger acts_are_append_only before update or delete or truncate on acts
    for each statement execute function refuse_to_rewrite_acts();
create trigger act_seals_are_append_only before update or delete or truncate on act_seals
    for each statement execute function refuse_to_rewrite_acts();

-- Adds a row and says its number. Runs as its owner: who may call it chooses neither number, time, login nor hash.
create function moa_record_act(new_actor text, new_role text, new_act text, new_subject text, new_parameters text,
                               new_correlation_id text, new_outcome_of bigint, new_outcome text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    fresh    public.acts;
    previous bytea := decode(repeat('00', 32), 'hex');
begin
    -- An answer that was given must not be forgotten in a crash.
    perform set_config('synchronous_commit', 'on', true);
    perform pg_advisory_xact_lock(5074785, -2);
    -- A statement after that of the lock: it sees what the lock's last holder has committed.
    select number, at, hash into fresh.number, fresh.at, fresh.hash from public.acts order by number desc limit 1;
    previous := coalesce(fresh.hash, previous);
    fresh.number := coalesce(fresh.number, 0) + 1;
    fresh.at := greatest(clock_timestamp(), fresh.at);
    fresh.login := session_user;
    fresh.actor := coalesce(new_actor, session_user);
    fresh.role := new_role;
    fresh.act := new_act;
    fresh.subject := new_subject;
    fresh.parameters := new_parameters::json;
    fresh.correlation_id := nullif(new_correlation_id, '');
    fresh.outcome_of := new_outcome_of;
    fresh.outcome := new_outcome;
    fresh.hash := sha256(convert_to(format(
        E'moa-act-1\nlog %s\nnumber %s\nat %s\nlogin %s\nactor %s\nrole %s\nact %s\nsubject %s\nparameters %s\ncorrelation %s\n'
        'outcome-of %s\noutcome %s\nprevious %s\n',
        (select log_id from public.log_identity), fresh.number,
        to_char(fresh.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), fresh.login, fresh.actor, fresh.role, fresh.act,
        fresh.subject, fresh.parameters, fresh.correlation_id, fresh.outcome_of, fresh.outcome, encode(previous, 'hex')),
        'UTF8'));
    insert into public.acts select (fresh).*;
    return fresh.number;
end
$$;

-- Which of the auditors, or operators, read; null where the role alone is known.
alter table audit_access add column actor text;

do $$
declare
    owners constant text := pg_get_functiondef('public.moa_give_owners()'::regprocedure);
    rights constant text := pg_get_functiondef('public.moa_give_rights()'::regprocedure);
    record constant text := 'function moa_record_act(text, text, text, text, text, text, bigint, text)';
    more_owners constant text := replace(owners, '''seals'', ''refusals''', '''seals'', ''acts'', ''act_seals'', ''refusals''');
    no_public   constant text := replace(rights, 'revoke execute on function forget_audit_access(), ',
        format('revoke execute on %s, forget_audit_access(), ', record));
    no_insert   constant text := replace(no_public, '(reader, method, path, correlation_id, peer)',
        '(reader, method, path, correlation_id, peer, actor)');
    more_rights constant text := replace(no_insert,
        '(''moa_auditor'', ''select'', ''seals''),',
        format('(''moa_auditor'', ''select'', ''seals''),
            (''moa_auditor'', ''select'', ''acts''),
            (''moa_auditor'', ''select'', ''act_seals''),
            -- Operators act through the admin service, which is a writer; moa replay logs in as a relay.
            (''moa_writer'', ''execute'', ''%1$s''),
            (''moa_relay'', ''execute'', ''%1$s''),
            -- Whether it was accepted that the database was set back.
            (''moa_sealer'', ''select'', ''operator_acceptances''),
            (''moa_sealer'', ''select'', ''acts''),
            (''moa_sealer'', ''select, insert'', ''act_seals''),', record));
begin
    if more_owners = owners or no_public = rights or no_insert = no_public or more_rights = no_insert then
        raise exception 'moa_give_owners() or moa_give_rights() is not as migrations 0013 and 0019 made it';
    end if;
    execute more_owners;
    execute more_rights;
end
$$;

select moa_grant_roles();
