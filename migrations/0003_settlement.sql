-- open_invest: reservations without a fate, the work list of settlement. Apply-once from the log like a read model:
-- a reservation adds a row, its fate removes it, so nothing can be forgotten.
create table open_invest (
    invest_id      uuid        primary key,
    product_id     bigint      not null,
    user_id        text        not null,
    amount         bigint      not null,
    expires_at     timestamptz not null,
    event_id       uuid        not null,           -- of the reservation: the cause of what settlement commands
    correlation_id text        not null,
    traceparent    text,
    due_at         timestamptz not null,           -- when it is next to be looked at; moved ahead by whoever takes it
    attempts       integer     not null default 0
) with (fillfactor = 70);
create index open_invest_by_due on open_invest (due_at);
