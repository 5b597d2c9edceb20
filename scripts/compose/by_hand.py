"""One run by hand: everything started in order, the path walked, instances killed, everything stopped."""

import os
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as File

from servers.kind import Unavailable, note

from . import dockerfile
from .container import Container, Site
from .file import load, services, start_order
from .machine import Network, prepare, publish
from .path import Broken, Path
from .rules import KINDS
from .stand_ins import stand_in

# What only a way through RabbitMQ and Redis can have counted.
CARRIED = {
    "events published by the relays": ("moa_relay_published_events_total", ""),
    "deliveries to the consumers": ("moa_deliveries_total", ""),
    "reads answered from Redis": ("moa_reads_total", 'from="redis"'),
}
CONNECTIONS = "select count(*) from pg_stat_activity where backend_type = 'client backend'"


class Run:
    """Everything of one run. `report` takes one line of the table: what, where, and what was seen."""

    def __init__(self, work, moa, report):
        self.work, self.report = work, report
        prepare(work)
        self.token = os.environ.get("MOA_OPERATOR_TOKEN") or secrets.token_hex(16)
        os.environ["MOA_OPERATOR_TOKEN"] = self.token
        self.services = services(load())
        self.moa = self.program(moa)
        self.site = Site(Network(self.services, work), work, self.moa.parent, dockerfile.entrypoint())
        self.containers = {}

    def program(self, moa):
        """Moa where its image has it: alone in the folder that stands over /usr/local/bin."""
        folder = self.work / "bin"
        folder.mkdir(mode=0o755)
        entrypoint = dockerfile.entrypoint()
        placed = folder / File(entrypoint[0]).name
        shutil.copy(moa, placed)
        placed.chmod(0o755)
        return placed

    def go(self):
        self.site.network.build()
        self.start()
        self.walk()
        self.fail_over()
        self.count()
        self.stop()

    def start(self):
        """Round by round, as depends_on says; each round is healthy before the next is started."""
        for ready in start_order(self.services):
            for service in ready:
                image = None if service.is_moa else stand_in(service, self.work)
                container = Container(service, image, self.site)
                self.containers[service.name] = container
                for host, port, inside in service.ports:
                    publish(host, port, container.address, inside)
                container.start()
            self.ended(service.name for service in ready if service.is_one_shot)
            if staying := [service.name for service in ready if not service.is_one_shot]:
                self.healthy(staying)

    def ended(self, names):
        for name in names:
            took = self.containers[name].wait_until_ended()
            self.report("ended well", name, f"{self.containers[name].describe()}, after {took:.1f} s")

    def healthy(self, names):
        names = list(names)
        with ThreadPoolExecutor(len(names)) as pool:
            waiting = [pool.submit(self.containers[name].wait_until_healthy) for name in names]
            try:
                took = [one.result() for one in waiting]
            except KeyboardInterrupt:
                # Nobody is waited for who is gone.
                self.kill_all()
                raise
        for name, seconds in zip(names, took):
            container = self.containers[name]
            self.report("healthy", name, f"{container.describe()}, after {seconds:.1f} s")

    def walk(self):
        self.path = Path(self.containers, self.moa, self.token, self.report)
        self.path.walk((1, 2))

    def fail_over(self):
        """All first instances at once, then all second ones: what is left goes on; what was killed comes back."""
        for gone, left in ((1, 2), (2, 1)):
            names = [f"{kind}-{gone}" for kind in KINDS]
            for name in names:
                self.containers[name].kill()
            self.report("kill -9", ", ".join(names), "gone")
            self.path.walk((left,))
            for name in names:
                self.containers[name].start()
            self.healthy(names)
        self.path.walk((1, 2))

    def count(self):
        self.path.ops()
        self.path.carried(["query-api-1", "query-api-2"], CARRIED)
        used, allowed = self.query(CONNECTIONS), self.query("show max_connections")
        self.report("connections", "postgres", f"{used} in use of {allowed}")

    def query(self, sql):
        postgres = self.containers["postgres"]
        user, database = (postgres.environment[name] for name in ("POSTGRES_USER", "POSTGRES_DB"))
        done = postgres.execute(["psql", "--host=/var/run/postgresql", "-U", user, "-d", database, "-XtAc", sql])
        if done.returncode != 0:
            raise Unavailable(f"psql failed ({done.stderr.strip()})")
        return done.stdout.strip()

    def stop(self):
        """In the opposite order of the start: who depends on others stops before them."""
        for ready in reversed(start_order(self.services)):
            ready = [service for service in ready if not service.is_one_shot]
            if not ready:
                continue
            with ThreadPoolExecutor(len(ready)) as pool:
                stopped = list(pool.map(lambda service: self.containers[service.name].stop(), ready))
            for service, (code, seconds) in zip(ready, stopped):
                saw = f"exit code {code}, after {seconds:.1f} s of {service.stop_grace_s:.0f} s"
                self.report("stopped", service.name, saw)
            bad = [service.name for service, (code, _) in zip(ready, stopped) if code != 0]
            if bad:
                raise Broken(f"{', '.join(bad)} did not stop in order")

    def kill_all(self):
        for container in self.containers.values():
            if container.is_running:
                container.kill()

    def tails(self):
        return "\n".join(container.tail() for container in self.containers.values())


def run(work, moa):
    """Returns the exit code; the table is printed line by line as the run goes."""
    began, rows = time.monotonic(), []

    def report(what, where, saw):
        rows.append((what, where, saw))
        note(f"{time.monotonic() - began:6.1f} s  {what:26} {where:34} {saw}")

    started = Run(work, moa, report)
    try:
        started.go()
    except (Broken, Unavailable) as error:
        note(f"{started.tails()}\nNot as it must be: {error}.")
        return 1
    finally:
        started.kill_all()
    note(f"All of it went as it must: {len(rows)} steps in {time.monotonic() - began:.0f} s.")
    return 0
