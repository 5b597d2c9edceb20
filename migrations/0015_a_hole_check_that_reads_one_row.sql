-- The trigger of 0013, so that it reads one row of `events` however large that is. As one statement its subquery could be
-- planned as a hash of the whole table, and was, in sessions that began while the table had no statistics: each append then
-- read all events. Here the position is a plain parameter, for which there is no such plan.
create or replace function refuse_holes() returns trigger language plpgsql set enable_seqscan = off as $$
declare
    added record;
begin
    for added in select partition, min(position) as first, max(position) as last, count(*) as events
                   from appended group by partition
    loop
        if added.last - added.first + 1 <> added.events
           or added.first > 1 and not exists (select from public.events
                                               where partition = added.partition and position = added.first - 1) then
            raise exception 'the log has no holes: an insert into partition % at position % leaves one',
                            added.partition, added.first;
        end if;
    end loop;
    return null;
end
$$;
