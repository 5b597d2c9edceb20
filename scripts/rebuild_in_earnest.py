#!/usr/bin/env python3
"""Read models made anew in earnest: on a long history, under a rush, with the projector that is at it killed.

Fills a database of its own with a history, runs each service alone on the real servers, and for each read model:
rebuilds it under a rush while the projector at it is killed three times, rolls it back and forward again while a
reader looks on, and rebuilds it twice while all is quiet, to the same digest. Then it breaks a row and sees it
refused, compares every read model and Redis with a fold of the log in SQL, and measures what a throttled rebuild
costs the rush. Ends with a table, and non-zero when anything is not as it must be.

Below a million events each model's projector is killed once, at another point for each, and figures are only shown.

Needs cargo and psql; takes DATABASE_URL, AMQP_URL and REDIS_URL, by default the servers on their usual ports. The
database, the queues and the keys are gone at the end. It wants the machine for itself, and some 50 connections to
PostgreSQL.
"""

import argparse
import base64
import http.client
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

from servers.kind import REPOSITORY, Unavailable, connect, last_line, note, quiet, receive
from servers.postgres import Postgres
from servers.rabbitmq import RabbitMq, short
from servers.redis import Redis

MODELS = ("product_list", "holdings", "invest_log", "investor_summary", "event_index")
CONSUMERS = (*MODELS, "open_invest", "counters")
STAGES = ("WAITING", "FOLDING", "INDEXING", "CATCHING_UP", "COMPARING", "SWITCHING")
# Where the projector at it is killed: twice while it folds, so much of it done, and once later.
KILLED_FOLDING = (0.15, 0.60)
KILLED_LATER = dict(zip(MODELS, ("INDEXING", "CATCHING_UP", "COMPARING", "INDEXING", "COMPARING")))

# From so many events on it is in earnest: stages are long enough to be met, and figures mean something.
IN_EARNEST = 1_000_000
# As in projector/src/rebuild.rs: a live one further behind than this is not waited for when differences are accepted.
FAR = 100_000
PORTS = range(15_000, 30_000)
PRODUCTS = 4
# Connections at each product.
BESIDE, RUSH = 2, 16
THROTTLED_RATE = 20_000
WANTED_RATIO = 0.9
LONGEST_S = 1.0

BUILD_LIMIT_S = 3600
HISTORY_LIMIT_S = 1200
READY_LIMIT_S = 60
REBUILD_LIMIT_S = 900
TAKEN_UP_LIMIT_S = 30
COMMAND_LIMIT_S = 60
SQL_LIMIT_S = 900
QUIET_LIMIT_S = 300
STOP_LIMIT_S = 40
LOOK_S = 0.01
READ_PAUSE_S = 0.005

# The fold of the log, in SQL alone. `facts` has every event's own words beside its place.
FACTS = """
create schema fold;
create unlogged table fold.facts as
select event_type as kind, partition, position, aggregate_id::bigint as product_id, sequence, recorded_at as at, said.*
  from events, json_to_record(payload -> event_type) as said(
       "investId" uuid, "userId" text, amount bigint, code text, detail text, title text,
       "totalInvestingAmount" bigint, "startedAt" timestamptz, "finishedAt" timestamptz);
create unlogged table fold.opened as select * from fold.facts where kind = 'ProductOpened';
create unlogged table fold.taken as
select product_id, "userId" as user_id, partition,
       sum(case kind when 'InvestReserved' then amount when 'InvestFailed' then -amount else 0 end)::bigint as amount,
       (sum(amount) filter (where kind = 'InvestSettled'))::bigint as settled,
       count(*) filter (where kind = 'InvestReserved') as invests,
       count(*) filter (where kind = 'InvestFailed') as failed,
       max(at) filter (where kind = 'InvestSettled') as settled_at,
       min(at) filter (where kind = 'InvestReserved') as first_at,
       max(at) filter (where kind = 'InvestReserved') as last_at
  from fold.facts where "investId" is not null group by product_id, "userId", partition;
analyze fold.taken;
"""
FOLDS = {
    "product_list": (
        "product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed",
        """select product_id, title, "totalInvestingAmount", coalesce(sum(t.amount), 0)::bigint,
                  count(*) filter (where t.amount > 0), "startedAt", "finishedAt",
                  exists (select from fold.facts c where c.kind = 'ProductClosed' and c.product_id = o.product_id)
             from fold.opened o left join (select product_id, amount from fold.taken) t using (product_id)
            group by product_id, title, "totalInvestingAmount", "startedAt", "finishedAt" """),
    "product_list_user": (
        "product_id, user_id, amount", "select product_id, user_id, amount from fold.taken where amount > 0"),
    "holdings": (
        "user_id, product_id, amount, invest_date",
        "select user_id, product_id, settled, settled_at from fold.taken where settled > 0"),
    "holdings_product": (
        "product_id, title, total_amount", 'select product_id, title, "totalInvestingAmount" from fold.opened'),
    "holdings_count": (
        "user_id, partition, holdings",
        "select user_id, partition, count(*) from fold.taken where settled > 0 group by user_id, partition"),
    "invest_log": (
        "invest_id, product_id, user_id, amount, state, fail_code, fail_detail, requested_at, updated_at",
        """select r."investId", r.product_id, r."userId", r.amount,
                  case f.kind when 'InvestSettled' then 'SETTLED' when 'InvestFailed' then 'FAILED' else 'RESERVED' end,
                  f.code, f.detail, r.at, coalesce(f.at, r.at)
             from fold.facts r
             left join fold.facts f on f."investId" = r."investId" and f.kind in ('InvestSettled', 'InvestFailed')
            where r.kind = 'InvestReserved' """),
    "invest_log_product": (
        "product_id, title, accrued",
        """select product_id, o.title, coalesce(sum(t.amount), 0)::bigint
             from fold.opened o left join (select product_id, amount from fold.taken) t using (product_id)
            group by product_id, o.title"""),
    "invest_log_user": (
        "user_id, product_id, accrued, invests", "select user_id, product_id, amount, invests from fold.taken"),
    "investor_summary": (
        "user_id, partition, products, settled_amount, reserved_amount, failed_invests, first_invest_date, "
        "last_invest_date",
        """select user_id, partition, count(*) filter (where amount > 0), coalesce(sum(settled), 0)::bigint,
                  (sum(amount) - coalesce(sum(settled), 0))::bigint, sum(failed)::bigint, min(first_at), max(last_at)
             from fold.taken group by user_id, partition"""),
    "investor_summary_product": (
        "user_id, product_id, settled_amount, reserved_amount",
        "select user_id, product_id, coalesce(settled, 0), amount - coalesce(settled, 0) from fold.taken"),
    "event_index": (
        "partition, position, user_key, invest_key, rare_type",
        """select partition, position,
                  ('x' || encode(substr(sha256(convert_to("userId", 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint,
                  ('x' || encode(substr(uuid_send("investId"), 1, 6)
                                 || substr(sha256(uuid_send("investId")), 1, 2), 'hex'))::bit(64)::bigint,
                  nullif(nullif(kind, 'InvestReserved'), 'InvestSettled')
             from fold.facts"""),
}
# What had accrued just after each reservation, of some products: every fiftieth, and one of the rush.
ACCRUED = """
with chosen as (select * from fold.facts
                 where "investId" is not null and (product_id % 50 = 0 or product_id = {rush})),
running as (
select kind, "investId" as invest_id,
       sum(case kind when 'InvestReserved' then amount when 'InvestFailed' then -amount else 0 end)
           over (partition by product_id, "userId" order by sequence)::bigint as accrued_user,
       sum(case kind when 'InvestReserved' then amount when 'InvestFailed' then -amount else 0 end)
           over (partition by product_id order by sequence)::bigint as accrued_product from chosen)
select count(*), count(*) filter (where (l.accrued_user, l.accrued_product) is distinct from
                                        (running.accrued_user, running.accrued_product))
  from running left join invest_log l using (invest_id) where kind = 'InvestReserved'
"""
# How far whoever follows the log lacks its end, all together, and how many invests have no fate yet.
LEFT = """
select coalesce(sum(greatest(head - coalesce(position, 0), 0)), 0) + (select count(*) from open_invest)
  from (select p, coalesce((select max(position) from events where partition = p), 0) as head
          from generate_series(0, (select partitions - 1 from log_identity)) as p) as heads
 cross join unnest('{product_list,holdings,invest_log,investor_summary,event_index,open_invest}'::text[]) as c
  left join checkpoints on consumer = c and partition = p
"""
HEAD = """
select sum((select max(position) from events where partition = p))
  from generate_series(0, (select partitions - 1 from log_identity)) as p
"""
# A history is past: what became of its invests is known, and it was carried long ago.
PAST = """
insert into checkpoints (consumer, partition, position, hash)
select consumer, partition, position, hash from (values ('open_invest'), ('relay')) as past (consumer),
       (select distinct on (partition) partition, position, hash from events order by partition, position desc) as heads
"""


class Wrong(Exception):
    """Something is not as it must be: its text says what."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000, help="of the history, by default 5000000")
    parser.add_argument("--programs", type=Path, help="a folder with moa and bench; without it both are built")
    parser.add_argument("--keep", action="store_true", help="keep the database and the logs of the services")
    return parser.parse_args()


def must(holds, otherwise):
    if not holds:
        raise Wrong(otherwise)


def wait_until(holds, limit_s, otherwise, pause_s=0.1):
    """Waits for a truth; returns it, and how long it took."""
    began = time.monotonic()
    while not (found := holds()):
        must(time.monotonic() - began < limit_s, f"{otherwise} within {limit_s} s")
        time.sleep(pause_s)
    return found, time.monotonic() - began


def free_ports(count):
    found = []
    while len(found) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def build():
    command = ["cargo", "build", "--locked", "--release", "-p", "moa", "-p", "bench"]
    if subprocess.run(command, cwd=REPOSITORY, timeout=BUILD_LIMIT_S, check=False).returncode != 0:
        raise Unavailable("the programs do not build: correct that first")
    return REPOSITORY / "target/release"


def server(kind):
    """The URL of a server that answers."""
    url = os.environ.get(kind.variable) or kind.default_url
    if refusal := kind.refusal(url):
        raise Unavailable(f"the {kind.name} of {kind.variable} {refusal}: start it, or set {kind.variable} to another")
    return url


class Database:
    """A database of the run's own."""

    def __init__(self, url):
        self.name = f"moa_earnest_{secrets.token_hex(4)}"
        self.maintenance = url
        self.url = urlsplit(url)._replace(path=f"/{self.name}").geturl()

    def make(self):
        self.run(f"create database {self.name}", self.maintenance)

    def drop(self):
        self.run(f"drop database if exists {self.name} with (force)", self.maintenance)

    def run(self, sql, url=None):
        """Its one value, or all rows as psql prints them."""
        command = ["psql", "--dbname", url or self.url, "-XtAq", "-v", "ON_ERROR_STOP=1", "-c", sql]
        environment = {**os.environ, "PGOPTIONS": "-c work_mem=128MB -c synchronous_commit=off"}
        done = quiet(command, timeout=SQL_LIMIT_S, env=environment)
        if done.returncode != 0:
            raise Wrong(f"psql failed: {done.stderr.strip()}")
        return done.stdout.strip()


class Service:
    """One process of Moa. Its log goes on where an earlier life of it ended."""

    def __init__(self, name, kind, house, ports):
        self.name, self.house = name, house
        self.log = house.work / f"{name}.log"
        self.ops = ports[-1]
        listens = {"command-api": "MOA_COMMAND_LISTEN", "query-api": "MOA_QUERY_LISTEN"}
        self.environment = {**house.environment, "MOA_OPS_LISTEN": f"127.0.0.1:{ports[-1]}"}
        if kind in listens:
            self.environment[listens[kind]] = f"127.0.0.1:{ports[0]}"
        if kind == "admin":
            self.environment["MOA_ADMIN_LISTEN"] = f"127.0.0.1:{ports[0]}"
            del self.environment["MOA_OPS_LISTEN"]
        self.command = [house.programs / "moa", "serve", kind]
        self.port, self.process = ports[0], None

    def start(self):
        with open(self.log, "ab") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(self.command, env=self.environment, start_new_session=True, **streams)

    def is_ready(self):
        must(self.process.poll() is None, f"{self.name} ended by itself: see {self.log}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ready(self):
        wait_until(self.is_ready, READY_LIMIT_S, f"{self.name} was not ready")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def took_up(self, job):
        """When it took the job up, each time."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        taken = (line for line in lines if "a job is taken up" in line and re.search(rf'"job":"?{job}\b', line))
        return [json.loads(line)["timestamp"] for line in taken]


class House:
    """Every service alone, on the real servers."""

    def __init__(self, programs, work, urls):
        self.programs, self.work = programs, work
        self.database, self.amqp, self.redis = Database(urls[0]), *urls[1:]
        self.token = secrets.token_hex(16)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}
        self.environment = {
            **kept, "DATABASE_URL": self.database.url, "AMQP_URL": self.amqp, "REDIS_URL": self.redis,
            "MOA_OPERATOR_TOKEN": self.token, "MOA_LOG": "info"}
        ports = iter(free_ports(10))
        self.admin = Service("admin", "admin", self, [next(ports)])
        self.projectors = [Service(f"projector-{n}", "projector", self, [next(ports)]) for n in (1, 2)]
        self.relay = Service("relay", "relay", self, [next(ports)])
        self.commands = Service("command-api", "command-api", self, [next(ports), next(ports)])
        self.queries = Service("query-api", "query-api", self, [next(ports), next(ports)])
        self.services = [self.admin, *self.projectors, self.relay, self.commands, self.queries]
        self.environment["MOA_ADMIN_URL"] = f"http://127.0.0.1:{self.admin.port}"
        self.products, self.log_id = [], ""

    def start(self, services):
        for service in services:
            service.start()
        for service in services:
            service.ready()

    def stop(self):
        for service in reversed(self.services):
            service.stop()

    def bench(self, *words, limit_s):
        return self.program("bench", words, limit_s)

    def program(self, name, words, limit_s):
        done = quiet([self.programs / name, *map(str, words)], timeout=limit_s, env=self.environment)
        must(done.returncode == 0, f"{name} {' '.join(map(str, words))}: {last_line(done.stderr)}")
        return done.stdout.strip()

    def moa(self, *words):
        """What the operator's command printed, and how long it took."""
        began = time.monotonic()
        said = self.program("moa", words, COMMAND_LIMIT_S)
        return said, time.monotonic() - began

    def refused(self, *words, limit_s=COMMAND_LIMIT_S):
        """All that the operator's command printed, which must fail."""
        done = quiet([self.programs / "moa", *words], timeout=limit_s, env=self.environment)
        must(done.returncode == 1, f"moa {' '.join(words)} must be refused: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def ask(self, path):
        """What the admin listener has to say."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin.port}{path}")
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=COMMAND_LIMIT_S) as answer:
            return json.load(answer)["data"]

    def head(self):
        """How many events there are."""
        return int(self.database.run(HEAD))

    def live(self, name):
        """Which generation is live."""
        rows = [row for row in self.ask("/admin/projection")["list"] if row["name"] == name]
        return next(row["generation"] for row in rows if row["state"] in ("RUNNING", "PAUSED"))

    def open_products(self):
        for number in range(PRODUCTS):
            said, _ = self.moa("product", "open", "--title", f"rush {number}", "--total", "1000000000000",
                               "--starts", "2020-01-01T00:00:00", "--finishes", "2100-01-01T00:00:00")
            self.products.append(int(re.search(r"\d+", said)[0]))

    def until_quiet(self):
        """Waits until everything has its fate and every view shows it; how long that took."""
        return wait_until(lambda: self.database.run(LEFT) == "0", QUIET_LIMIT_S, "it did not become quiet", 0.3)[1]

    def holder(self, job):
        """The projector that is at the job."""
        taken = {service: service.took_up(job) for service in self.projectors}
        return max(self.projectors, key=lambda service: max(taken[service], default=""))

    def times_taken_up(self, job):
        return sum(len(service.took_up(job)) for service in self.projectors)


class Rebuild:
    """One `moa projection rebuild`, followed from its beginning to its end."""

    def __init__(self, house, name, *flags):
        self.house, self.name = house, name
        command = [house.programs / "moa", "projection", "rebuild", name, "--json", *flags]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.follower = subprocess.Popen(command, env=house.environment, **pipes)
        self.said, self.stages, self.kills, self.away, self.folded = [], [], [], [], 0.0
        threading.Thread(target=lambda: self.said.extend(self.follower.stdout), daemon=True).start()
        wait_until(lambda: self.said or self.follower.poll(), COMMAND_LIMIT_S, f"a rebuild of {name} did not begin")
        must(self.said, f"a rebuild of {name} was refused: {self.follower.poll()}")
        self.id = json.loads(self.said[0])["jobId"]

    def look(self):
        job = self.house.ask(f"/admin/job/{self.id}")
        stage = job["stage"] if job["state"] == "RUNNING" else "ENDED"
        if not self.stages or self.stages[-1][0] != stage:
            self.stages.append((stage, time.monotonic()))
        return job

    def finish(self, plan=()):
        """Follows it, and kills the projector at it wherever the plan says; the job as it ended."""
        plan, until = list(plan), time.monotonic() + REBUILD_LIMIT_S
        while (job := self.look())["state"] == "RUNNING":
            must(time.monotonic() < until, f"job {self.id} did not end within {REBUILD_LIMIT_S} s: {job}")
            if plan and plan[0](job):
                plan.pop(0)
                self.kill(job)
            time.sleep(LOOK_S)
        self.follower.wait(COMMAND_LIMIT_S)
        ended = json.loads(self.said[-1])
        must(ended["state"] == job["state"] and ended["jobId"] == self.id, f"the command printed {ended}")
        return job

    def done(self, **how):
        """Like `finish`; it must have come to the end that it is for, and be live."""
        job = self.finish(**how)
        must(job["state"] == "DONE" and self.follower.returncode == 0,
             f"the rebuild of {self.name} ended as {job['state']}, {job['stage']}: {job['problem']} {job['outcome']}")
        must(self.house.live(self.name) == job["generation"], f"generation {job['generation']} is not live: {job}")
        return job

    def kill(self, job):
        """Kills the projector at it, starts it again at once, and waits until the job is taken up again."""
        before, holder = self.house.times_taken_up(self.id), self.house.holder(self.id)
        holder.kill()
        holder.start()
        self.kills.append(f"{job['stage']} {100 * job['done'] // max(job['total'], 1)} %")
        taken = lambda: self.house.times_taken_up(self.id) > before or self.look()["state"] != "RUNNING"
        self.away.append(wait_until(taken, TAKEN_UP_LIMIT_S, f"nobody took job {self.id} up again", LOOK_S)[1])
        holder.ready()

    def seconds(self, stage):
        ends = [at for _, at in self.stages[1:]]
        return sum(end - at for (name, at), end in zip(self.stages, ends) if name == stage)

    def since(self, stage):
        return next((at for name, at in self.stages if name == stage), self.stages[-1][1])


def kill_plan(name, in_earnest):
    """When the projector at it is killed, one after another."""
    def folding(share):
        return lambda job: job["stage"] == "FOLDING" and job["done"] >= share * job["total"] > 0

    def later(job):
        # Where little is folded, the later stages are over at once.
        first = KILLED_LATER[name] if in_earnest else "INDEXING"
        return STAGES.index(job["stage"]) >= STAGES.index(first)
    plan = [*map(folding, KILLED_FOLDING), later]
    # Each kill takes a lease's time.
    return plan if in_earnest else [plan[MODELS.index(name) % len(plan)]]


class Rush:
    """Invests in every opened product, from when it is entered until it is left; window by window."""

    def __init__(self, house, connections, window_s):
        self.house, self.connections, self.window_s = house, connections, window_s
        self.windows, self.refused, self.fault = [], 0, None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.go, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def go(self):
        try:
            while not self.over.is_set():
                self.windows.append((time.monotonic(), self.window(), time.monotonic()))
        except (Wrong, OSError, TypeError) as error:
            self.fault = error

    def window(self):
        """Accepted a second, over one window."""
        words = ["invest", "--write", f"127.0.0.1:{self.house.commands.port}", "--seconds", str(self.window_s),
                 "--connections", str(self.connections), "--product"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        runs = [subprocess.Popen([self.house.programs / "bench", *words, str(product)], **pipes)
                for product in self.house.products]
        rate = 0
        for run in runs:
            said, complaint = run.communicate(timeout=self.window_s + COMMAND_LIMIT_S)
            must(run.returncode == 0, f"bench invest: {last_line(complaint)}")
            rate += int(re.search(r"(\d+) accepted/s", said)[1])
            self.refused += int(re.search(r"(\d+) not\)", said)[1])
        return rate

    def rates(self, count):
        """The next so many whole windows."""
        first = len(self.windows) + 1
        limit_s = (count + 1) * (self.window_s + COMMAND_LIMIT_S)
        wait_until(lambda: self.fault or len(self.windows) >= first + count, limit_s, "the rush stopped")
        must(not self.fault, f"the rush broke: {self.fault}")
        return [rate for _, rate, _ in self.windows[first:first + count]]


def positions(token):
    """What a consistency token says: a position in each partition."""
    numbers, shift, number = [], 0, 0
    for byte in base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[18:]:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            shift, number = 0, 0
    return numbers


class View:
    """One call of the read side: the user whose it is, and what of its answer never falls, or never changes at all."""

    def __init__(self, path, user, grows=None):
        self.path, self.user, self.grows = path, user, grows
        self.token, self.shown = None, None

    def wrong(self, status, headers, body):
        """What is not as it must be in an answer; nothing when all is."""
        if status != 200 or body["code"] != "01":
            return f"answered {status} {body['code']} {body['message']}"
        if headers["X-Consistency"] == "timeout":
            return "did not come to where it had been"
        data, token = body["data"], headers["X-Consistency-Token"]
        if not data or data.get("list") == []:
            return "was empty"
        if self.token and any(now < was for now, was in zip(positions(token), positions(self.token))):
            return f"went back from {positions(self.token)} to {positions(token)}"
        shown = self.grows(data) if self.grows else data
        if self.shown and (older(shown, self.shown) if self.grows else shown != self.shown):
            return f"showed {shown} after {self.shown}"
        self.token, self.shown = token, shown
        return None


def older(now, was):
    return any(now.get(key, 0) < value for key, value in was.items())


def views(user):
    """A user of the history, of whom nothing changes any more, and one of the rush, whose invests are all settled."""
    taken = lambda data: {row["productId"]: row["currentInvestingAmount"] for row in data["list"]}
    held = lambda data: {row["productId"]: row["myInvestingAmount"] for row in data["list"]}
    summed = lambda data: {key: data[key] for key in ("productCount", "settledAmount")}
    counted = lambda data: {"totalCount": data["totalCount"]}
    return [
        View("/api/product?page=0&size=4", None, taken),
        View("/api/product/my/invest", user), View("/api/product/my/invest", "bench0", held),
        View("/api/invest/log?size=50", user), View("/api/invest/log?size=5", "bench0", counted),
        View("/api/product/my/summary", user), View("/api/product/my/summary", "bench0", summed),
    ]


class Reader:
    """Asks all views in turn, each with the token that it last answered, from when it is entered until it is left."""

    def __init__(self, port, looked_at):
        self.port, self.views = port, looked_at
        self.reads, self.faults = [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.go, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def go(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=COMMAND_LIMIT_S)
        while not self.over.is_set():
            for view in self.views:
                self.read(connection, view)
                time.sleep(READ_PAUSE_S)

    def read(self, connection, view):
        asked = {"X-USER-ID": view.user, "X-Consistency-Token": view.token}
        began = time.monotonic()
        try:
            connection.request("GET", view.path, headers={name: value for name, value in asked.items() if value})
            answer = connection.getresponse()
            body = answer.read()
            self.reads.append((began, time.monotonic()))
            wrong = view.wrong(answer.status, answer.headers, json.loads(body))
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            wrong = f"broke: {error!r}"
        if wrong:
            self.faults.append(f"{view.path} of {view.user or 'all'} {wrong}")

    def longest(self, since, until):
        """Of the answers that were waited for in this time."""
        return max((end - began for began, end in list(self.reads) if end >= since and began <= until), default=0.0)

    def check(self):
        must(self.reads, "nothing was read")
        must(not self.faults, f"{len(self.faults)} of {len(self.reads)} reads were wrong, first: {self.faults[:3]}")


class Run:
    """All of it, step by step; `table` has what was found of each model."""

    def __init__(self, house, events):
        self.house, self.events = house, events
        self.earnest = events >= IN_EARNEST
        self.window_s = 5 if self.earnest else 2
        self.began, self.table, self.short = time.monotonic(), {name: {} for name in MODELS}, []

    def say(self, text):
        note(f"{time.monotonic() - self.began:7.1f} s  {text}")

    def falls_short(self, text):
        """Told at once, and at the end; what follows can still be seen."""
        self.short.append(text)
        self.say(f"NOT AS IT MUST BE: {text}")

    def should(self, holds, otherwise):
        """For what keeps nothing after it from being seen."""
        if not holds:
            self.falls_short(otherwise)

    @contextmanager
    def step(self, name):
        """What is wrong in a step is told, and the next one begins."""
        try:
            yield
        except Wrong as error:
            self.falls_short(f"{name}: {error}")

    def go(self):
        self.prepare()
        with self.step("under the rush"):
            self.under_the_rush()
        self.say(f"quiet after {self.house.until_quiet():.1f} s")
        for name in MODELS:
            with self.step(f"{name} while quiet"):
                self.twice(name)
        with self.step("a broken row"):
            self.broken()
        with self.step("the fold of the log"):
            self.fold()
        with self.step("throttled"):
            self.throttled()

    def prepare(self):
        house = self.house
        self.say(house.bench("history", "--events", self.events, limit_s=HISTORY_LIMIT_S))
        house.log_id = house.database.run("select log_id from log_identity")
        house.database.run(PAST)
        house.start([house.admin])
        is_far = self.events > FAR
        if is_far:
            # They would follow it all, at the same time.
            for name in MODELS:
                house.moa("projection", "pause", name)
        house.start(house.services[1:])
        self.say("all services are ready")
        for name in MODELS:
            rebuild = Rebuild(house, name, "--accept-differences")
            job = rebuild.done()
            must(is_far == (job["outcome"]["equal"] is None), f"a first rebuild of {name} said {job['outcome']}")
            house.moa("projection", "resume", name)
            house.moa("projection", "drop", name)
            self.say(f"{name} came up to the log, {spent(rebuild)}")
        house.until_quiet()
        house.open_products()
        self.user = house.database.run("select user_id from holdings order by product_id, user_id limit 1")

    def under_the_rush(self):
        house = self.house
        with Rush(house, BESIDE, self.window_s) as rush:
            self.say(f"the rush beside: {median(rush.rates(2)):.0f} accepted/s before any rebuild")
            with Reader(house.queries.port, views(self.user)) as reader:
                for name in MODELS:
                    with self.step(f"{name} under the rush"):
                        self.killed(name, reader)
                        self.back_and_forth(name, reader)
            self.say(f"{len(reader.reads)} reads, {len(reader.faults)} wrong, longest {longest(reader) * 1000:.0f} ms")
            reader.check()
            must(not rush.fault, f"the rush broke: {rush.fault}")
            self.say(f"the rush beside: {median(rate for _, rate, _ in rush.windows):.0f} accepted/s all the time, "
                     f"{rush.refused} not")

    def killed(self, name, reader):
        found, faults = self.table[name], len(reader.faults)
        # A short history would be folded before anybody can be killed.
        slow = [] if self.earnest else ["--max-rate", str(self.house.head() // 4)]
        rebuild = Rebuild(self.house, name, *slow)
        plan = kill_plan(name, self.earnest)
        job = rebuild.done(plan=plan)
        must(job["outcome"]["equal"] is True, f"it differs: {job['outcome']}")
        found["kills"], found["switch"] = len(rebuild.kills), rebuild.seconds("SWITCHING")
        ended = rebuild.stages[-1][1]
        found["longest"] = reader.longest(min(rebuild.since("SWITCHING"), ended) - 1, ended + 1)
        self.say(f"{name} rebuilt and live, killed at {', '.join(rebuild.kills)}; taken up again after "
                 f"{', '.join(f'{away:.1f} s' for away in rebuild.away)}; {spent(rebuild)}")
        self.should(found["kills"] == len(plan), f"the rebuild of {name} was over after {found['kills']} kills")
        self.should(found["switch"] < LONGEST_S, f"{name} was SWITCHING for {found['switch']:.2f} s")
        self.should(found["longest"] < LONGEST_S, f"a read took {found['longest']:.2f} s when {name} was switched")
        must(len(reader.faults) == faults, f"reads were wrong: {reader.faults[faults:faults + 3]}")

    def back_and_forth(self, name, reader):
        found, faults = self.table[name], len(reader.faults)
        newer = self.house.live(name)
        for expected in (range(1, newer), [newer]):
            began = time.monotonic()
            said, took = self.house.moa("projection", "rollback", name)
            went_to = int(re.search(r"\d+", said)[0])
            must(went_to in expected and self.house.live(name) == went_to, f"rollback said: {said}")
            time.sleep(0.3)
            longest_read = reader.longest(began, began + took)
            self.say(f"{name} rolled back in {took:.2f} s, longest read {longest_read * 1000:.0f} ms: {said}")
            found["rollback"] = max(took, found.get("rollback", 0))
            found["longest"] = max(longest_read, found["longest"])
            self.should(max(took, longest_read) < LONGEST_S, f"rolling {name} back took {took:.2f} s")
        must(self.house.live(name) == newer, f"rolled back twice, generation {self.house.live(name)} is live")
        self.house.moa("projection", "drop", name)
        must(len(reader.faults) == faults, f"reads were wrong: {reader.faults[faults:faults + 3]}")

    def twice(self, name):
        found, digests = self.table[name], []
        # What a step that fell short has left.
        self.house.moa("projection", "drop", name)
        for _ in range(2):
            rebuild = Rebuild(self.house, name)
            job = rebuild.done()
            must(job["outcome"]["equal"] is True, f"it differs: {job['outcome']}")
            digests.append((job["outcome"]["positions"], job["outcome"]["digest"]["new"]))
            folding = max(rebuild.seconds("FOLDING"), LOOK_S)
            found["rate"] = max(job["total"] / folding, found.get("rate", 0))
            for stage in STAGES[1:]:
                found[stage] = max(rebuild.seconds(stage), found.get(stage, 0))
            self.house.moa("projection", "drop", name)
            self.say(f"{name} while quiet: {job['total'] / folding:.0f} events/s, {spent(rebuild)}, "
                     f"digest {digests[-1][1][:16]}")
        must(digests[0] == digests[1], f"two rebuilds without events between them differ: {digests}")
        found["digest"] = digests[0][1][:12]

    def broken(self):
        house, sql = self.house, self.house.database.run
        product, amount = sql("select product_id, amount from holdings where user_id = "
                              f"'{self.user}' order by product_id limit 1").split("|")
        which = f"where user_id = '{self.user}' and product_id = {product}"
        sql(f"update holdings set amount = amount + 1 {which}")
        before = house.live("holdings")
        said = house.refused("projection", "rebuild", "holdings", limit_s=REBUILD_LIMIT_S)
        for shown in (f'{{"product_id":{product},"user_id":"{self.user}"}}', f'live  {{"amount":{int(amount) + 1},',
                      f'new   {{"amount":{amount},', "it differs from the live one, which stays"):
            must(shown in said, f"the comparison does not show {shown}: {said}")
        must(house.live("holdings") == before, "what differs was switched to")
        self.died_after_the_verdict(before)
        house.refused("projection", "switch", "holdings")
        must(sql(f"select amount from holdings {which}") == str(int(amount) + 1), "the live row changed")
        house.moa("projection", "switch", "holdings", "--accept-differences")
        must(sql(f"select amount from holdings {which}") == amount, "the accepted generation has not mended it")
        house.moa("projection", "drop", "holdings")
        self.say("a broken row was refused, shown with both values, and mended with --accept-differences")

    def died_after_the_verdict(self, live):
        """The job again as a projector leaves it that dies between the verdict and writing down that it failed."""
        jobs = self.house.ask("/admin/job")["list"]
        job = next(job["jobId"] for job in jobs if job["projection"] == "holdings")
        self.house.database.run(f"update jobs set state = 'RUNNING', problem = null, ended_at = null where id = {job}")
        found = lambda: self.house.ask(f"/admin/job/{job}")
        wait_until(lambda: found()["state"] != "RUNNING", TAKEN_UP_LIMIT_S, f"nobody took job {job} up again")
        must(self.house.live("holdings") == live and found()["state"] == "FAILED",
             f"what differs was switched to unasked, by who took job {job} up after the verdict")

    def fold(self):
        """Every read model and Redis against the log."""
        sql = self.house.database.run
        self.house.until_quiet()
        sql(FACTS)
        for table, (columns, fold) in FOLDS.items():
            apart = sql(f"with model as (select {columns} from {table}), fold as ({fold}) "
                        "select (select count(*) from model) || '|' || (select count(*) from "
                        "((table model except all table fold) union all (table fold except all table model)) as apart)")
            rows, differing = apart.split("|")
            self.say(f"{table}: {rows} rows, {differing} differ from the fold of the log")
            self.should(differing == "0", f"{table} has {differing} rows that differ from the fold of the log")
        rows, differing = sql(ACCRUED.format(rush=self.house.products[0])).split("|")
        self.say(f"accrued amounts: {rows} looked at, {differing} differ")
        must(differing == "0", f"{differing} of {rows} accrued amounts differ from the fold of the log")
        wait_until(self.counters_are_equal, QUIET_LIMIT_S, "the counters in Redis are not product_list", 0.5)
        self.say("the counters in Redis are product_list, at the log's end")

    def counters_are_equal(self):
        house, found, stand = self.house, {}, []
        with Resp(house.redis) as redis:
            for partition in range(PRODUCTS):
                fields = redis.ask("HGETALL", counters_key(house, partition))
                fields = dict(zip(fields[::2], fields[1::2]))
                stand.append(fields.get("@state", "").split(":")[0])
                found.update((key, ":".join(value.split(":")[:3])) for key, value in fields.items() if key[0] != "@")
        heads = house.database.run("select max(position) from events group by partition order by partition").split("\n")
        rows = house.database.run("select product_id, current_amount || ':' || invest_users || ':' || closed::int "
                                  "from product_list").split("\n")
        return stand == heads and found == dict(row.split("|") for row in rows)

    def throttled(self):
        """The rush's accepted/s while a throttled rebuild folds, by those without one, turn by turn."""
        rate = THROTTLED_RATE if self.earnest else self.house.head() // 60
        quiet_rates, throttled_rates = [], []
        with Rush(self.house, RUSH, self.window_s) as rush:
            for _ in range(4 if self.earnest else 2):
                quiet_rates += rush.rates(2)
                said, _ = self.house.moa("projection", "rebuild", "invest_log", "--detach", "--json", "--max-rate",
                                         str(rate))
                job = json.loads(said)["jobId"]
                wait_until(lambda: self.house.ask(f"/admin/job/{job}")["stage"] == "FOLDING", TAKEN_UP_LIMIT_S,
                           "a throttled rebuild did not begin")
                throttled_rates += rush.rates(2)
                found = self.house.ask(f"/admin/job/{job}")
                must(found["stage"] == "FOLDING", f"the throttled rebuild is not folding any more: {found}")
                self.house.moa("projection", "drop", "invest_log")
        ratio = median(throttled_rates) / median(quiet_rates)
        self.say(f"accepted/s quiet {quiet_rates}, beside a rebuild of {rate} events/s {throttled_rates}: {ratio:.2f}")
        self.ratio = ratio
        wanted = ratio >= WANTED_RATIO or not self.earnest
        self.should(wanted, f"the rush fell to {ratio:.2f} of what it is without a rebuild")

    def conclude(self):
        heads = ("model", "events/s", *STAGES[1:], "kills", "switch", "rollback", "longest read", "digest")
        note("  ".join(f"{head:>16}" if head == "model" else f"{head:>12}" for head in heads))
        for name, found in self.table.items():
            seconds = [f"{found.get(key, 0):.2f} s" for key in STAGES[1:]]
            cells = [f"{found.get('rate', 0):.0f}", *seconds, str(found.get("kills", 0)),
                     *(f"{found.get(key, 0):.2f} s" for key in ("switch", "rollback", "longest")),
                     found.get("digest", "-")]
            note("  ".join([f"{name:>16}", *(f"{cell:>12}" for cell in cells)]))
        note(f"throttled: {getattr(self, 'ratio', 0):.2f} of the rush without a rebuild")
        for text in self.short:
            note(f"Not as it must be: {text}")
        took = time.monotonic() - self.began
        note(f"{f'{len(self.short)} things fell short' if self.short else 'All of it went as it must'}: {took:.0f} s.")
        return 1 if self.short else 0


def spent(rebuild):
    return ", ".join(f"{stage} {rebuild.seconds(stage):.2f} s" for stage in STAGES if rebuild.seconds(stage))


def longest(reader):
    return reader.longest(0, time.monotonic())


class Resp:
    """Redis, one question at a time."""

    def __init__(self, url):
        self.url = urlsplit(url)

    def __enter__(self):
        self.connection = connect(self.url, 6379)
        self.stream = self.connection.makefile("rwb")
        if self.url.password:
            self.ask("AUTH", *filter(None, [unquote(self.url.username or "")]), unquote(self.url.password))
        if self.url.path.strip("/"):
            self.ask("SELECT", self.url.path.strip("/"))
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.connection.close()

    def ask(self, *words):
        parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
        self.stream.write(f"*{len(words)}\r\n{''.join(parts)}".encode())
        self.stream.flush()
        return self.answer()

    def answer(self):
        line = self.stream.readline().decode().strip()
        kind, rest = line[:1], line[1:]
        if kind == "-":
            raise OSError(f"redis says {rest}")
        if kind == "*":
            return [self.answer() for _ in range(int(rest))]
        if kind == "$" and int(rest) >= 0:
            return self.stream.read(int(rest) + 2)[:-2].decode()
        return rest


def counters_key(house, partition):
    return f"moa:{{{house.log_id}.{partition}}}:counters:2:{house.database.run('select moa_database_id()')}"


def remove_counters(house):
    with Resp(house.redis) as redis:
        redis.ask("UNLINK", *(counters_key(house, partition) for partition in range(PRODUCTS)))


def remove_queues(house):
    """The exchange of this log, and every queue of a consumer of it."""
    url = urlsplit(house.amqp)
    login = f"\0{unquote(url.username or 'guest')}\0{unquote(url.password or 'guest')}".encode()
    host = unquote(url.path[1:] or "/").encode()
    with connect(url, 5672) as connection:
        connection.settimeout(COMMAND_LIMIT_S)
        connection.sendall(b"AMQP\0\0\x09\x01")
        answered(connection, (10, 10))
        start_ok = bytes(4) + short(b"PLAIN") + struct.pack("!I", len(login)) + login + short(b"en_US")
        say(connection, 0, (10, 11), start_ok)
        say(connection, 0, (10, 31), answered(connection, (10, 30))[:8])
        say(connection, 0, (10, 40), short(host) + b"\0\0")
        answered(connection, (10, 41))
        say(connection, 1, (20, 10), b"\0")
        answered(connection, (20, 11))
        for consumer in CONSUMERS:
            for partition in range(PRODUCTS):
                queue = f"moa.{house.log_id}.{consumer}.{partition}".encode()
                say(connection, 1, (50, 40), b"\0\0" + short(queue) + b"\0")
                answered(connection, (50, 41))
        say(connection, 1, (40, 20), b"\0\0" + short(f"product.events.{house.log_id}".encode()) + b"\0")
        answered(connection, (40, 21))


def say(connection, channel, method, arguments):
    payload = struct.pack("!HH", *method) + arguments
    connection.sendall(struct.pack("!BHI", 1, channel, len(payload)) + payload + b"\xce")


def answered(connection, method):
    """The arguments of the broker's next method, which must be this one."""
    _, _, size = struct.unpack("!BHI", receive(connection, 7))
    payload = receive(connection, size + 1)
    found = struct.unpack("!HH", payload[:4])
    if found != method:
        raise OSError(f"rabbitmq said {found} instead of {method}")
    return payload[4:-1]


def clean(step, house):
    """One part of cleaning up; what it meets does not keep the next from being done."""
    try:
        step(house)
    except (OSError, Wrong) as error:
        note(f"left behind: {error}")


def in_house(given, stack):
    urls = [server(kind) for kind in (Postgres(), RabbitMq(), Redis())]
    programs = given.programs or build()
    work = Path(tempfile.mkdtemp(prefix="moa-earnest-"))
    house = House(programs, work, urls)
    house.database.make()
    if given.keep:
        note(f"kept: database {house.database.name}, logs in {work}")
    else:
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        stack.callback(clean, lambda house: house.database.drop(), house)
    stack.callback(clean, lambda house: house.log_id and (remove_queues(house), remove_counters(house)), house)
    stack.callback(house.stop)
    return house


def ended(number, _frame):
    raise SystemExit(128 + number)


def main():
    given = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ended)
    try:
        with ExitStack() as stack:
            run = Run(in_house(given, stack), given.events)
            with run.step("the whole"):
                run.go()
            return run.conclude()
    except (Unavailable, Wrong, urllib.error.URLError) as error:
        print(f"{error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
