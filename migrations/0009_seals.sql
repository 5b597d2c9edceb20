-- Seals: the signed word that stretches of the log were as they were. docs/proof-format.md has what is signed. The key is
-- never in the database, and every seal is in a file outside it as well: who sets this table back, or writes into it, is
-- found by whoever has that file and the public key.
create table seals (
    seal       bigint      primary key check (seal >= 1),  -- 1, 2, 3... over the whole log
    log        uuid        not null,
    partitions integer     not null,
    partition  integer     not null,
    first      bigint      not null check (first >= 1),    -- the stretch it covers, both ends in it
    last       bigint      not null check (last >= first),
    head       bytea       not null,                       -- the chain's hash at `last`
    root       bytea       not null,                       -- Merkle root (RFC 6962) over the stretch's hashes
    marks      bytea       not null,                       -- the first 4 bytes of each of these hashes
    at         timestamptz not null,
    previous   bytea       not null,                       -- digest of the seal before; zeros for the first
    key        bytea       not null,                       -- which key signed: 8 bytes
    signature  bytea       not null                        -- Ed25519
);
-- To find the seal that covers a position.
create unique index seals_by_stretch on seals (partition, last);
-- Hashes do not compress.
alter table seals alter column marks set storage external;

create function refuse_to_rewrite_seals() returns trigger language plpgsql as $$
begin
    raise exception 'seals are append-only: % on % is refused', tg_op, tg_table_name;
end
$$;

create trigger seals_are_append_only before update or delete or truncate on seals
    for each statement execute function refuse_to_rewrite_seals();
