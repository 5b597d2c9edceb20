-- What is written down beside the log, best effort: what was refused, and what the payment provider was asked. It is
-- written in batches, behind the answers, by whoever decided or asked; nothing ever waits for it and nothing is decided by
-- it. What could not be written is counted in `recorder_drops`; what a killed process had in memory is gone without a
-- count. Kept for 30 days, then deleted in small batches.

-- Invests that were decided and refused. Not here: answers given again for an idempotency key, requests that were never
-- decided (overloaded, malformed), and verdicts that could not be made certain.
create table refusals (
    refused_at     timestamptz not null,             -- when it was decided, by the database's clock as the desk knows it
    invest_id      uuid        not null,             -- what the invest would have been called; made for each request
    user_id        text        collate "C" not null,
    product_id     bigint      not null,
    amount         bigint      not null,
    code           text        collate "C" not null, -- as it was answered: SOLD_OUT, NOT_STARTED, FINISHED, CLOSED...
    remaining      bigint,                           -- won that were left; null unless SOLD_OUT
    partition      integer     not null,             -- where it was decided: after this position of this partition of the
    head           bigint      not null,             --   log, and before the next one
    place          integer,                          -- from 0, among what was decided together; null when the answer to
                                                     --   the commit was lost and the refusal was read back
    correlation_id text        not null,
    -- A batch whose answer was lost is written again: then these rows are there already.
    primary key (refused_at, invest_id)
);
create index refusals_by_product on refusals (product_id, refused_at, invest_id);
create index refusals_by_user on refusals (user_id, refused_at, invest_id);
create index refusals_by_code on refusals (code, refused_at, invest_id);

-- Calls to a payment provider over HTTP that were sent, or failed to be; the provider `approve` asks nobody.
create table payment_calls (
    invest_id uuid        not null,
    asked_at  timestamptz not null, -- when it was sent, by the database's clock as settlement knows it
    call      text        not null, -- PAY, LOOK, CANCEL
    answer    text        not null, -- PAID, REFUSED, PENDING, CANCELLED, NEVER_HEARD; UNANSWERED: it may have been done or
                                    --   not; NOT_REACHED: nothing was sent
    detail    text,                 -- why it was refused, in the provider's words, or why there is no answer
    took_ms   bigint      not null, -- until the end of the answer, or until it was given up
    attempt   integer     not null, -- how often the invest had been taken from the work list; 0 when it was handed over
    primary key (invest_id, asked_at, call)
);
create index payment_calls_by_time on payment_calls (asked_at);

-- How much of the two is missing, and when. A row is written once that is possible again.
create table recorder_drops (
    what      text        not null, -- REFUSAL, PAYMENT_CALL
    reason    text        not null, -- FULL: more came than may be written; DATABASE: it was tried twice in vain, so some
                                    --   of them may be there all the same
    number    bigint      not null check (number > 0),
    from_time timestamptz not null, -- they were dropped between these two
    to_time   timestamptz not null
);
create index recorder_drops_by_time on recorder_drops (to_time);
