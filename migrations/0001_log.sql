-- The log: the only truth. Everything in the later migrations can be dropped and comes back from here.

-- Who this log is. One row, made when the log is created and never changed: `log_id` is carried by consistency tokens,
-- brokers and caches, so that what belongs to another log is told apart; `partitions` decides where a product lives
-- (product id modulo partitions), so changing it would tear every stream in two.
create table log_identity (
    one_row    boolean     primary key default true check (one_row),
    log_id     uuid        not null,
    partitions integer     not null check (partitions between 1 and 64),
    format     integer     not null default 1,
    created_at timestamptz not null default clock_timestamp()
);

-- Every event. The first seven columns are those of postgres-es, which can read this table; the others are the log's.
-- There are no defaults: a row comes from the log's one append or not at all. docs/log-format.md has the details.
create table events (
    aggregate_type text        not null,
    aggregate_id   text        not null,
    sequence       bigint      not null check (sequence >= 1), -- place in the product's stream: 1..n, no hole
    event_type     text        not null,
    event_version  text        not null,
    payload        json        not null,                       -- json, not jsonb: the stored bytes are hashed
    metadata       json        not null,                       -- a flat map of strings
    partition      integer     not null,
    position       bigint      not null check (position >= 1), -- place in the partition: 1..n, no hole
    event_id       uuid        not null,
    recorded_at    timestamptz not null check (isfinite(recorded_at)), -- the database's clock; never falls within a partition
    hash           bytea       not null check (length(hash) = 32),
    constraint events_stream unique (aggregate_type, aggregate_id, sequence),
    -- The fence: of two writers that saw the same head, one gets the next position.
    constraint events_fence primary key (partition, position)
);

create function refuse_to_rewrite_history() returns trigger language plpgsql as $$
begin
    raise exception 'the log is append-only: % on events is refused', tg_op;
end
$$;

create trigger events_are_append_only before update or delete or truncate on events
    for each statement execute function refuse_to_rewrite_history();

-- Ids of products to be opened. A number may be skipped, never given twice.
create sequence product_id;

-- A user's own name for a request and the final answer it got. Unique over the whole log, kept for a day.
create table idempotency_keys (
    user_id     text        not null,
    key         text        not null,
    fingerprint text        not null, -- what was asked, to tell a repeat from a reuse
    answer      json        not null, -- what was answered, in the words of the asker's room
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (user_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (recorded_at);

-- Products as they stood at a sequence, so that a start need not read whole streams. Safe to delete at any time:
-- a snapshot of other code, or whose hash is not the log's at that sequence, is passed over.
create table product_snapshots (
    product_id   bigint      primary key,
    sequence     bigint      not null,
    hash         bytea       not null,
    code_version text        not null,
    state        json        not null,
    taken_at     timestamptz not null default clock_timestamp()
);
-- A large state is not worth compressing: it is written often and read at starts only.
alter table product_snapshots alter column state set storage external;

-- How far each consumer of the log has come, per partition. Moved in the transaction that changes its rows, and only
-- from where it stands. `stuck_*` names an event that could not be applied; nothing is skipped.
create table checkpoints (
    consumer     text        not null,
    partition    integer     not null,
    position     bigint      not null default 0,
    hash         bytea,                          -- of the event at `position`; null at 0
    moved_at     timestamptz not null default clock_timestamp(),
    stuck_at     bigint,
    stuck_reason text,
    primary key (consumer, partition)
);
alter table checkpoints set (fillfactor = 50);   -- many small updates of few rows: keep them on their page
