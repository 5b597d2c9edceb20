-- What it takes to make a read model anew beside the live one.

-- Which code the rows at this checkpoint come from; an instance with other code leaves them alone. A paused consumer
-- stands still until it is resumed.
alter table checkpoints
    add column code_version integer not null default 1,
    add column paused       boolean not null default false;

-- Every generation of a read model: a whole set of its tables, filled by one version of its code. The live one's tables
-- are in `public` and its checkpoints bear the read model's name; any other's are in a schema of its own, which its
-- checkpoints' consumer is named after: `holdings_2`. Switching trades the places, never the numbers.
create table generations (
    projection   text        not null,
    generation   integer     not null check (generation >= 1),
    code_version integer     not null,
    state        text        not null check (state in ('LIVE', 'BUILDING', 'READY', 'DIFFERENT', 'PREVIOUS')),
    made_at      timestamptz not null default clock_timestamp(),
    primary key (projection, generation)
);
create unique index generations_one_live on generations (projection) where state = 'LIVE';
insert into generations (projection, generation, code_version, state)
values ('product_list', 1, 1, 'LIVE'), ('holdings', 1, 1, 'LIVE'), ('invest_log', 1, 1, 'LIVE');

-- Rebuilds and dry runs that operators asked for, and how far each is. Whoever works on one holds the lease `job:{id}`.
create table jobs (
    id                 bigint      generated always as identity primary key,
    kind               text        not null check (kind in ('REBUILD', 'DIFF')),
    projection         text        not null,
    generation         integer     not null,
    code_version       integer     not null,
    switches           boolean     not null, -- by itself, once it is verified
    accept_differences boolean     not null, -- the operator's word: switch even so
    max_rate           integer     check (max_rate > 0), -- events a second; null is as fast as it can
    state              text        not null default 'RUNNING' check (state in ('RUNNING', 'DONE', 'FAILED')),
    stage              text        not null default 'WAITING',
    done               bigint      not null default 0, -- events folded
    total              bigint      not null default 0, -- events there were when it began
    problem            text,                           -- the latest trouble, or why it failed
    outcome            json,                           -- what the comparison found
    asked_at           timestamptz not null default clock_timestamp(),
    moved_at           timestamptz not null default clock_timestamp(),
    ended_at           timestamptz
);
create unique index jobs_one_at_a_time on jobs (projection) where state = 'RUNNING';
