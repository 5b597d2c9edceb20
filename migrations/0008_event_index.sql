-- event_index: at which positions the events of a user, of an invest and of a request are, and those of the rare types. It
-- is what audits look events up by, so that the log's own table needs no further index, and appends pay for none. A read
-- model like any other: made from the log alone, by the consumer that bears its name.
--
-- A key is 8 bytes as a number. Of text: the first 8 bytes of its SHA-256. Of a uuid, and of text that is one: its first 6
-- bytes, which are the time in a uuid v7, so that what is new is near to what is new; then the first 2 of the SHA-256 of its
-- 16 bytes. Two values may have one key: whoever reads it looks at the event itself.
create table event_index (
    partition       integer not null,
    position        bigint  not null,
    user_key        bigint,           -- of the user id; null when the event is of no user
    invest_key      bigint,           -- of the invest id; null when the event is of no invest
    correlation_key bigint  not null, -- of metadata's correlationId
    rare_type       text collate "C", -- the type; null for InvestReserved and InvestSettled, which most events are
    primary key (partition, position)
);
create index event_index_by_user on event_index (user_key, partition, position) where user_key is not null;
create index event_index_by_invest on event_index (invest_key, partition, position) where invest_key is not null;
create index event_index_by_correlation on event_index (correlation_key, partition, position);
create index event_index_by_type on event_index (rare_type, partition, position) where rare_type is not null;

insert into generations (projection, generation, code_version, state) values ('event_index', 1, 1, 'LIVE');
