-- When consumers came past which positions, as far as it was seen: once a second it is looked where every checkpoint
-- stands, and a row is written for each that has moved. So a position was applied after the last row below it and not later
-- than the first row at or above it. Kept for 7 days, then deleted in small batches. What consumers did while nobody looked
-- is not here.
create table checkpoint_trail (
    consumer  text        collate "C" not null,
    partition integer     not null,
    position  bigint      not null,
    moved_at  timestamptz not null, -- when it came there: the checkpoint's own word
    -- A read model that is made anew comes past the same positions again; the first time counts.
    primary key (consumer, partition, position)
);
create index checkpoint_trail_by_time on checkpoint_trail (moved_at);
