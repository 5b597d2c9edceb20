#!/usr/bin/env python3
"""Verifies an export of a Moa log, or a proof that an invest is in it, with nothing of Moa: written from
docs/log-format.md and docs/proof-format.md alone. Python 3.9 or later and PyNaCl (examples/requirements-verify.txt).

    python3 verify.py --export log.ndjson --seals seals.ndjson --public-key seal-key.pem.pub
    python3 verify.py --proof proof.json --public-key seal-key.pem.pub

Ends with 0 when all is well, with 1 when something is not or cannot be verified.
"""
import argparse
import base64
import csv
import json
import re
import sys
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

try:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey
except ImportError:
    sys.exit("verify.py: PyNaCl is missing: python3 -m pip install --require-hashes -r requirements-verify.txt")

COLUMNS = ("aggregate_type", "aggregate_id", "sequence", "event_type", "event_version", "payload", "metadata",
           "partition", "position", "event_id", "recorded_at", "hash")
NUMBERS = {"sequence": 64, "partition": 32, "position": 64}  # and their bits
LOSS = ("log", "partitions", "seal", "partition", "kept", "head", "lost_first", "lost_last", "lost_head", "at", "previous")
SEAL = ("log", "partitions", "seal", "partition", "first", "last", "head", "root", "marks", "at", "previous")
MAX_EVENTS_PER_SEAL, MARK, LONGEST_LINE = 8192, 4, 16 << 20
SPKI = bytes.fromhex("302a300506032b6570032100")  # of every Ed25519 public key, before its 32 bytes (RFC 8410)
EPOCH, MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)


class Impossible(Exception):
    """It cannot be verified; says why."""


class Unreadable(ValueError):
    """A line, or a part of one, is not what the format says; says why."""


class OfOthers(Unreadable):
    """A seal of another log, or made with a key that was not given: it says nothing about the log."""


def must(holds, why):
    if not holds:
        raise Unreadable(why)


# Parts

def unhex(text, length):
    must(isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{2 * length}}}", text), "no lower-case hex")
    return bytes.fromhex(text)


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise Unreadable("no base64") from error
    must(base64.b64encode(data).decode() == text, "no base64")
    return data


def microseconds(text):
    """Of a time written 2026-03-01T03:10:00.123456Z."""
    try:
        at = datetime.fromisoformat(text[:-1])
    except (ValueError, TypeError) as error:
        raise Unreadable("no time") from error
    must(at.tzinfo is None and at.isoformat(timespec="microseconds") + "Z" == text, "no time")
    return (at - EPOCH) // MICROSECOND


def uuid_bytes(text):
    must(isinstance(text, str) and re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text), "no uuid")
    return UUID(text).bytes


def integer(value, bits=64):
    must(type(value) is int and -(1 << bits - 1) <= value < 1 << bits - 1, "no whole number")
    return value


def object_of(line):
    def once(pairs):
        must(len({name for name, _ in pairs}) == len(pairs), "a name twice")
        return dict(pairs)
    try:
        value = json.loads(line, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Unreadable("no JSON") from error
    must(isinstance(value, dict), "no JSON object")
    return value


# The hash chain (docs/log-format.md)

def eight(number):
    return number.to_bytes(8, "big", signed=True)


def genesis(log, partitions, partition):
    return sha256(b"moa-log-1" + UUID(log).bytes + eight(partitions) + eight(partition)).digest()


def link(before, row):
    columns = (row["aggregate_type"].encode(), row["aggregate_id"].encode(), eight(row["sequence"]),
               row["event_type"].encode(), row["event_version"].encode(), row["payload"].encode(),
               row["metadata"].encode(), eight(row["partition"]), eight(row["position"]),
               uuid_bytes(row["event_id"]), eight(microseconds(row["recorded_at"])))
    return sha256(before + b"".join(eight(len(column)) + column for column in columns)).digest()


# Merkle trees (RFC 6962, section 2.1)

def leaf(data):
    return sha256(b"\0" + data).digest()


def node(left, right):
    return sha256(b"\1" + left + right).digest()


class Tree:
    """Grows leaf by leaf and keeps the roots of its whole subtrees, the largest first."""

    def __init__(self):
        self.leaves, self.whole = 0, []

    def add(self, data):
        top, leaves = leaf(data), self.leaves
        while leaves % 2:
            top, leaves = node(self.whole.pop(), top), leaves // 2
        self.whole.append(top)
        self.leaves += 1

    def root(self):
        root = self.whole[-1]
        for left in reversed(self.whole[:-1]):
            root = node(left, root)
        return root


def root_by_path(data, index, size, path):
    """The root of a tree of `size` leaves, whose leaf `index` is of `data` and has the audit path `path`."""
    top, last, path = leaf(data), size - 1, list(path)
    while last:
        if index % 2 or index < last:
            must(path, "the path is too short")
            top = node(path.pop(0), top) if index % 2 else node(top, path.pop(0))
        index, last = index // 2, last // 2
    must(not path, "the path is too long")
    return top


# Seals

class Seal:
    """One seal; from a proof it is `bare`: of its marks there is only the digest."""

    def __init__(self, line, bare=False):
        must(set(line) == {"format", *SEAL, "key", "signature"} and line["format"] == 1, "not the fields of a seal")
        for name, bits in (("partitions", 32), ("seal", 64), ("partition", 32), ("first", 64), ("last", 64)):
            setattr(self, name, integer(line[name], bits))
        uuid_bytes(line["log"])
        microseconds(line["at"])
        self.log, self.at = line["log"], line["at"]
        self.head, self.root = unhex(line["head"], 32), unhex(line["root"], 32)
        self.previous, self.key = unhex(line["previous"], 32), unhex(line["key"], 8)
        self.marks = b"" if bare else unbase64(line["marks"])
        digest = unhex(line["marks"], 32).hex() if bare else sha256(self.marks).hexdigest()
        self.signature = unbase64(line["signature"])
        said = {**line, "marks": digest}
        self.text = ("moa-seal-1\n" + "".join(f"{name} {said[name]}\n" for name in SEAL)).encode()

    def mark(self, position):
        at = (position - self.first) * MARK
        return self.marks[at:at + MARK]

    def check_signature(self, keys):
        if self.key not in keys:
            raise OfOthers(f"it was made with the key {self.key.hex()}, which is not known")
        try:
            keys[self.key].verify(self.text, self.signature)
        except (BadSignatureError, ValueError, TypeError) as error:
            raise Unreadable("its signature is not of what it says") from error


class LossSeal(Seal):
    """That events which were sealed are lost, and up to where the partition stays sealed."""

    def __init__(self, line):
        must(set(line) == {"format", *LOSS, "key", "signature"} and line["format"] == 2, "not the fields of a loss seal")
        for name, bits in (("partitions", 32), ("seal", 64), ("partition", 32), ("kept", 64), ("lost_first", 64),
                           ("lost_last", 64)):
            setattr(self, name, integer(line[name], bits))
        uuid_bytes(line["log"])
        microseconds(line["at"])
        self.log, self.at, self.last = line["log"], line["at"], self.kept
        self.head, self.lost_head = unhex(line["head"], 32), unhex(line["lost_head"], 32)
        self.previous, self.key = unhex(line["previous"], 32), unhex(line["key"], 8)
        self.signature = unbase64(line["signature"])
        self.text = ("moa-loss-1\n" + "".join(f"{name} {line[name]}\n" for name in LOSS)).encode()


class Sealed:
    """The accepted seals, and the first that is not."""

    def __init__(self, lines, keys, log=None, partitions=None):
        self.seals, self.bad, self.of_others = [], None, False
        self.log, self.partitions = log, partitions
        digest, self.standing, self.losses = bytes(32), {}, []
        for number, line in enumerate(lines, 1):
            try:
                line = object_of(line)
                seal = LossSeal(line) if line.get("format") == 2 else Seal(line)
                if self.log is None:
                    self.log, self.partitions = seal.log, seal.partitions
                self.follows(seal, number, digest)
                seal.check_signature(keys)
            except Unreadable as why:
                self.bad, self.of_others = {"seal": number, "detail": str(why)}, isinstance(why, OfOthers)
                break
            self.seals.append(seal)
            digest = sha256(seal.text).digest()
            self.stands(seal)

    def of(self, partition):
        """The seals that cover the partition's events, without what was lost later."""
        return self.standing.setdefault(partition, [])

    def stands(self, seal):
        standing = self.of(seal.partition)
        if not isinstance(seal, LossSeal):
            standing.append(seal)
            return
        while standing and standing[-1].last > seal.kept:
            standing.pop()
        self.losses.append({"seal": seal.seal, "at": seal.at, "partition": seal.partition, "first": seal.lost_first,
                            "last": seal.lost_last, "head": seal.lost_head.hex()})

    def follows(self, seal, number, digest):
        must(seal.seal == number, f"it has the number {seal.seal}")
        if number == 1 and UUID(seal.log) != UUID(self.log):
            raise OfOthers("it is of another log")
        must((seal.log, seal.partitions) == (self.log, self.partitions), "it is of another log")
        must(0 <= seal.partition < seal.partitions <= 64, "there is no such partition")
        standing = self.of(seal.partition)
        if isinstance(seal, LossSeal):
            ends = [(0, genesis(self.log, self.partitions, seal.partition))]
            ends += [(before.last, before.head) for before in standing]
            must((seal.lost_last, seal.lost_head) == ends[-1], "what it says is lost is not what was sealed last")
            must(seal.kept < seal.lost_first <= seal.lost_last, "it says that nothing is lost")
            must((seal.kept, seal.head) in ends, "what it keeps is not where a seal ended")
        else:
            end = standing[-1].last if standing else 0
            must(seal.first == end + 1, f"it begins at position {seal.first}, the one before ends at {end}")
            must(0 <= seal.last - seal.first < MAX_EVENTS_PER_SEAL,
                 f"it covers no segment of 1 to {MAX_EVENTS_PER_SEAL} events")
            must(len(seal.marks) == (seal.last - seal.first + 1) * MARK, "it has not one mark for each event")
        must(seal.previous == digest, "it does not name the seal before it")


# The check of one partition

class Bad(Exception):
    """The first position that is wrong: where, what, in words."""


class Partition:
    """Takes the rows of one partition in their stored order."""

    def __init__(self, sealed, partition):
        self.sealed, self.partition = sealed, partition
        self.seals = sealed.of(partition)
        self.at, self.tree = 0, Tree()  # the seal that covers the next position, and the tree of its segment so far
        self.position, self.hash = 0, genesis(sealed.log, sealed.partitions, partition)
        self.recorded_at, self.sequences = None, {}
        self.events, self.head, self.bad = 0, 0, None

    def row(self, row):
        self.events += 1
        self.head = max(self.head, row["position"])
        if self.bad is None:
            try:
                self.look(row, self.position + 1)
            except Bad as bad:
                self.fail(*bad.args)

    def unreadable(self, why):
        self.events += 1
        self.fail(self.position + 1, "UNREADABLE", why)

    def fail(self, position, problem, detail):
        if self.bad is None:
            seal = next((seal.seal for seal in self.seals if seal.first <= position <= seal.last), None)
            self.bad = {"position": position, "problem": problem, "detail": detail, "seal": seal}

    def look(self, row, position):
        if row["position"] > position:
            raise Bad(position, "MISSING", f"it is not there; the next row is at position {row['position']}")
        if row["position"] < position:
            raise Bad(position, "CHANGED", f"a row that says position {row['position']} is here")
        chain, recorded_at = bytes.fromhex(row["hash"]), microseconds(row["recorded_at"])
        if link(self.hash, row) != chain:
            raise Bad(position, "CHANGED", "its hash does not follow from its columns and the hash before it")
        self.is_sealed(position, chain)
        if self.recorded_at is not None and recorded_at < self.recorded_at:
            raise Bad(position, "TIME", "it was recorded before the position before it")
        product = row["aggregate_id"]
        if (row["aggregate_type"] != "product" or not re.fullmatch("[1-9][0-9]{0,18}", product, re.ASCII)
                or int(product) >= 1 << 63 or int(product) % self.sealed.partitions != self.partition):
            raise Bad(position, "PARTITION", "it is of no product that lives in this partition")
        if row["sequence"] != self.sequences.get(product, 0) + 1:
            raise Bad(position, "SEQUENCE", f"its sequence is {row['sequence']}")
        self.sequences[product] = row["sequence"]
        self.position, self.hash, self.recorded_at = position, chain, recorded_at

    def is_sealed(self, position, chain):
        if self.at == len(self.seals):
            return
        seal = self.seals[self.at]
        if chain[:MARK] != seal.mark(position):
            raise Bad(position, "REWRITTEN", "the chain is whole, but from here on it is not the one that was sealed")
        self.tree.add(chain)
        if position == seal.last:
            if chain != seal.head or self.tree.root() != seal.root:
                raise Bad(seal.first, "REWRITTEN", f"every mark fits, but up to {seal.last} it is not what was sealed")
            self.at, self.tree = self.at + 1, Tree()

    def report(self, head_by_header):
        sealed_upto = self.seals[-1].last if self.seals else 0
        if self.position < sealed_upto:
            self.fail(self.position + 1, "CUT_OFF", f"the partition ends here, but was sealed up to {sealed_upto}")
        if self.head < head_by_header:
            self.fail(self.head + 1, "CUT_OFF", f"the partition ends here, but the header says {head_by_header}")
        unsealed = {"first": sealed_upto + 1, "last": self.head} if self.head > sealed_upto else None
        return {"partition": self.partition, "events": self.events, "head": self.head, "sealedUpto": sealed_upto,
                "unsealed": unsealed, "bad": self.bad}


# Exports

def json_row(line):
    row = object_of(line)
    must(json.dumps(row, ensure_ascii=False, separators=(",", ":")) == line, "written in another way than exports are")
    return row


def csv_row(line):
    must(line.endswith("\r"), "no end of a record")
    fields = list(csv.reader([line[:-1]], strict=True))
    must(len(fields) == 1 and len(fields[0]) == len(COLUMNS), "not the columns of a row")
    quoted = ('"' + field.replace('"', '""') + '"' if re.search('[,"\r\n]', field) else field for field in fields[0])
    must(",".join(quoted) + "\r" == line, "written in another way than exports are")
    row = dict(zip(COLUMNS, fields[0]))
    for name in NUMBERS:
        must(re.fullmatch("0|-?[1-9][0-9]{0,18}", row[name], re.ASCII), f"{name} is no whole number")
        row[name] = int(row[name])
    return row


def row_of(line, read):
    """The row of a line; Unreadable when it is none."""
    try:
        row = read(line.decode())
    except (ValueError, RecursionError, csv.Error) as error:
        raise Unreadable(str(error)) from error
    is_row(row)
    return row


def is_row(row):
    """That each column is of its type, and can be read."""
    must(tuple(row) == COLUMNS, "not the columns of a row")
    for name in COLUMNS:
        if name in NUMBERS:
            integer(row[name], NUMBERS[name])
        else:
            must(isinstance(row[name], str), "no text")
    uuid_bytes(row["event_id"])
    microseconds(row["recorded_at"])
    unhex(row["hash"], 32)


class Check:
    """Takes the lines of an export, and gives each to its partition."""

    def __init__(self, sealed, read, ends):
        self.partitions = [Partition(sealed, partition) for partition in range(sealed.partitions)]
        self.read, self.ends = read, ends
        self.line, self.last, self.unreadable, self.stray = 1, 0, [], None
        self.end, self.after_end = None, False

    def take(self, line):
        self.line += 1
        self.after_end |= self.end is not None
        try:
            row = row_of(line, self.read)
        except Unreadable:
            if not (self.ends and self.is_end(line)):
                self.unreadable.append(self.line)
            return
        if not 0 <= row["partition"] < len(self.partitions):
            return self.is_stray(row)
        # In the middle of a partition, what cannot be read is of it; before its first row, of the one before.
        self.place_unreadable(self.last if row["position"] == 1 else row["partition"])
        self.last = row["partition"]
        self.partitions[self.last].row(row)

    def is_stray(self, row):
        if self.stray is None:
            bad = {"position": row["position"], "problem": "PARTITION", "detail": "the log has no such partition",
                   "seal": None}
            self.stray = {"partition": row["partition"], "events": 0, "head": row["position"], "sealedUpto": 0,
                          "unsealed": None, "bad": bad}
        self.stray["events"] += 1

    def is_end(self, line):
        try:
            end = object_of(line)
        except ValueError:
            return False
        if set(end) == {"end", "events"} and end["end"] is True and type(end["events"]) is int:
            self.end = end["events"]
            return True
        return False

    def place_unreadable(self, partition):
        for line in self.unreadable:
            self.partitions[partition].unreadable(f"line {line} of the file cannot be read")
        self.unreadable = []

    def finish(self):
        self.place_unreadable(self.last)


def lines_of(file):
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise Impossible("it has a line longer than any export's")
        yield line[:-1] if line.endswith(b"\n") else line


def header_of(line):
    """Of an NDJSON export; None of a CSV."""
    if line == ",".join(COLUMNS).encode() + b"\r":
        return None
    try:
        header = object_of(line)
        must(header["format"] == "moa-export-1" and 1 <= integer(header["partitions"]) <= 64, "no header")
        must([integer(head) for head in header["heads"]] and len(header["heads"]) == header["partitions"], "no header")
        uuid_bytes(header["log"])
    except (ValueError, KeyError, TypeError) as error:
        raise Impossible("it is no export: it begins neither with a header nor with the columns' names") from error
    if header.get("filter") is not None:
        raise Impossible("it is not a whole log but what a filter left of it, which cannot be verified")
    return header


def verify(path, seals, keys):
    """The report on the export in the file `path`."""
    with open(path, "rb") as file:
        lines = lines_of(file)
        header = header_of(next(lines, b""))
        sealed = Sealed(seals, keys, *((header["log"], header["partitions"]) if header else ()))
        if sealed.log is None:
            raise Impossible("a CSV does not say which log it is of: give the log's seals")
        check = Check(sealed, json_row if header else csv_row, header is not None)
        for line in lines:
            check.take(line)
        check.finish()
    heads = header["heads"] if header else [0] * sealed.partitions
    partitions = [partition.report(head) for partition, head in zip(check.partitions, heads)]
    if check.stray:
        partitions = sorted([*partitions, check.stray], key=lambda partition: partition["partition"])
    well = all(partition["bad"] is None for partition in partitions)
    whole, of_others = well and sealed.bad is None, well and sealed.of_others
    events = sum(partition["events"] for partition in partitions)
    if whole and header:
        is_complete(check, events, partitions, heads)
    verdict = "WHOLE" if whole else "UNVERIFIABLE" if of_others else "BROKEN"
    report = {"log": sealed.log, "verdict": verdict, "events": events,
              "seals": len(sealed.seals), "partitions": partitions, "badSeal": sealed.bad}
    return {**report, "losses": sealed.losses} if sealed.losses else report


def is_complete(check, events, partitions, heads):
    if check.end is None:
        raise Impossible("it was cut off: its last line is missing")
    if check.after_end:
        raise Impossible("something follows its last line")
    if check.end != events:
        raise Impossible(f"its last line says {check.end} events, there are {events}")
    if any(partition["head"] != head for partition, head in zip(partitions, heads)):
        raise Impossible("a partition continues after its header's head")


# Proofs

PROOF = {"format", "log", "partitions", "invest", "events", "unsealed", "seals"}
BARE_SEAL = {"seal", "partition", "first", "last", "head", "root", "marksDigest", "at", "previous", "key", "signature"}


def check_proof(path, keys):
    """What the proof in the file `path` proves."""
    with open(path, "rb") as file:
        proof = object_of(file.read())
    try:
        must(set(proof) == PROOF and proof["format"] == "moa-proof-1", "it is no proof of format moa-proof-1")
        must(proof["events"], "it has no events")
        integer(proof["unsealed"])
        uuid_bytes(proof["invest"])
        events = [proved_event(proof, event, keys) for event in proof["events"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable("it is no proof") from error
    for before, after in zip(events, events[1:]):
        must(before["partition"] == after["partition"] and before["position"] < after["position"],
             "its events are not in the order of their positions in one partition")
    return {"verdict": "PROVED", "log": proof["log"], "invest": proof["invest"], "events": events,
            "unsealed": proof["unsealed"]}


def proved_event(proof, event, keys):
    must(set(event) == {"row", "before", "seal", "leaf", "path"}, "not the fields of an event")
    row = {name: event["row"][name] for name in COLUMNS}
    must(set(event["row"]) == set(COLUMNS), "not the columns of a row")
    is_row(row)
    named = json.loads(row["payload"])[row["event_type"]]["investId"]
    must(named == proof["invest"], "an event is not of this invest")
    seal = next((seal for seal in proof["seals"] if seal["seal"] == event["seal"]), None)
    must(seal is not None and set(seal) == BARE_SEAL, "an event's seal is not there")
    seal = Seal({"format": 1, "log": proof["log"], "partitions": proof["partitions"], "marks": seal["marksDigest"],
                 **{name: value for name, value in seal.items() if name != "marksDigest"}}, bare=True)
    seal.check_signature(keys)
    chain = bytes.fromhex(row["hash"])
    must(link(unhex(event["before"], 32), row) == chain,
         "an event's hash does not follow from its columns and the hash before it")
    must(row["partition"] == seal.partition and seal.first <= row["position"] <= seal.last
         and integer(event["leaf"]) == row["position"] - seal.first, "its seal does not cover an event's place")
    path = [unhex(step, 32) for step in event["path"]]
    must(root_by_path(chain, event["leaf"], seal.last - seal.first + 1, path) == seal.root,
         "an event's path does not lead to the root that was sealed")
    return {"type": row["event_type"], "product": row["aggregate_id"], "partition": row["partition"],
            "position": row["position"], "recordedAt": row["recorded_at"], "payload": row["payload"],
            "seal": seal.seal, "sealedAt": seal.at}


# The program

def key_of(path):
    """The public key in a PEM file, by its id."""
    with open(path, encoding="ascii") as file:
        pem = re.search("-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", file.read(), re.DOTALL)
    der = base64.b64decode(pem[1]) if pem else b""
    if len(der) != len(SPKI) + 32 or not der.startswith(SPKI):
        raise Impossible(f"{path} has no Ed25519 public key in PEM")
    raw = der[len(SPKI):]
    return sha256(raw).digest()[:8], VerifyKey(raw)


def sentence(report):
    """What a person reads of a report."""
    if report["verdict"] == "PROVED":
        events = ("{type} of product {product}, recorded {recordedAt} at partition {partition} position {position}, "
                  "sealed {sealedAt} by seal {seal}: {payload}".format(**event) for event in report["events"])
        return "\n  ".join((f"PROVED: in the log {report['log']} stood, of invest {report['invest']}", *events))
    lines = [f"{report['verdict']}: {report['events']} events, {report['seals']} seals"]
    if report["verdict"] == "UNVERIFIABLE":
        lines.append("it cannot be verified with this key and these seals: give the keys of all seals, and this log's seals")
    if not report["seals"]:
        lines.append("without seals only the chain was checked, which somebody who may write to the database can recompute")
    for lost in report.get("losses", []):
        lines.append("seal {seal} says that {first} to {last} of partition {partition} were lost, at {at}".format(**lost))
    if report["badSeal"]:
        lines.append("seal {seal} is not accepted: {detail}".format(**report["badSeal"]))
    for found in report["partitions"]:
        if found["bad"]:
            bad = "partition {} position {position}: {problem}: {detail}"
            lines.append(bad.format(found["partition"], **found["bad"]))
        if found["unsealed"]:
            lines.append("partition {}: {first} to {last} not sealed".format(found["partition"], **found["unsealed"]))
    return "\n  ".join(lines)


def run(of, paths, as_json, report_of):
    """Reports on each; whether all is well."""
    well = True
    for path in paths:
        try:
            report = report_of(path)
        except (Impossible, OSError, ValueError) as error:
            report = {"verdict": "IMPOSSIBLE", "detail": str(error)}
        well &= report["verdict"] in ("WHOLE", "PROVED")
        if as_json:
            print(json.dumps({of: path, **report}, ensure_ascii=False))
        elif "detail" in report:
            print(f"{path}: {report['detail']}")
        else:
            print(f"{path}: {sentence(report)}")
    return well


def main():
    said = argparse.ArgumentParser(description="Verifies exports and proofs of a Moa log.")
    said.add_argument("--export", action="append", default=[], metavar="FILE", help="an export; may be repeated")
    said.add_argument("--seals", metavar="FILE", help="the log's seals; without them only the chain is checked")
    said.add_argument("--proof", action="append", default=[], metavar="FILE", help="a proof; may be repeated")
    said.add_argument("--public-key", action="append", default=[], metavar="PEM", help="a trusted public key; may be repeated")
    said.add_argument("--json", action="store_true", help="a report as JSON on a line for each file")
    said = said.parse_args()
    if not said.export and not said.proof:
        sys.exit("verify.py: give an --export or a --proof")
    csv.field_size_limit(LONGEST_LINE)
    try:
        keys = dict(map(key_of, said.public_key))
        seals = []
        if said.seals:
            with open(said.seals, "rb") as file:
                # A last line without its end is one that was being written when the file was copied.
                seals = [line for line in file.read().split(b"\n")[:-1] if line.strip()]
    except (Impossible, OSError, ValueError) as error:
        sys.exit(f"verify.py: {error}")
    well = run("export", said.export, said.json, lambda path: verify(path, seals, keys))
    well &= run("proof", said.proof, said.json, lambda path: check_proof(path, keys))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
