-- Loss seals: that events which were sealed are lost, and where sealing continues. docs/proof-format.md has what is signed. Segments
-- after that cover positions that were covered before.

alter table seals
    add column lost_first bigint,  -- of a loss seal: the first lost position
    add column lost_last  bigint,  -- and the last one that was sealed; `root` has the chain's hash there
    drop constraint seals_check,
    add constraint seals_cover_a_segment_or_say_a_loss check (
        lost_first is null and lost_last is null and last >= first
        or lost_first is not null and lost_last is not null and lost_last >= lost_first and lost_first > last
           and last = first - 1);

-- To find the seal that covers a position, and what was lost since.
create index seals_by_segment on seals (partition, last);
create index seals_of_losses on seals (partition, seal) where lost_first is not null;
drop index seals_by_stretch;
