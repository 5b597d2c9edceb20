-- What the way out through a broker needs.

-- Who is the only one at something, for a while: the relay of a partition, the sealer, a rebuild. A lease is taken when
-- it is free or over, by this clock; its epoch grows each time, and whoever acts under a lease compares it, so that a
-- holder that was frozen and thaws can do no harm.
create table leases (
    name   text        primary key,
    holder uuid        not null,
    epoch  bigint      not null,
    until  timestamptz not null
) with (fillfactor = 50);

-- Deliveries that were put aside because they cannot be what the log says: forged, foreign, damaged. They changed
-- nothing. Bounded: the oldest go first.
create table parked_deliveries (
    id           bigint      generated always as identity primary key,
    parked_at    timestamptz not null default clock_timestamp(),
    queue        text        not null,
    reason       text        not null,
    content_type text,
    headers      json        not null,
    body         bytea       not null, -- its beginning; `bytes` says how long it was
    bytes        bigint      not null
);

-- Payment was asked and did not answer: it is to be cancelled, and the answer to that is the invest's fate.
alter table open_invest add column cancelling boolean not null default false;
