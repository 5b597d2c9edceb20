#!/usr/bin/env python3
"""Runs a command with DATABASE_URL, AMQP_URL and REDIS_URL set to servers that answer.

Each server is, in this order: the one its variable names; of PostgreSQL a private one from installed programs whose data is
in memory, where there is room; one that runs on its default port; a private one from installed programs, from a Python
wheel, or in a container; a private one from a Debian package, installed as root or where CI=true. Private ones are stopped
when the command ends; nothing else is stopped or changed.

MOA_TEST_SERVERS narrows the ways down, e.g. to "wheel,container"; default "memory,running,installed,wheel,container,debian".
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from servers.kind import Unavailable, note, wait_until_usable
from servers.postgres import Postgres
from servers.rabbitmq import RabbitMq
from servers.redis import Redis

KINDS = (Postgres(), RabbitMq(), Redis())
WAYS = ("memory", "running", "installed", "wheel", "container", "debian")

# Tests make and drop thousands of databases, of hundreds of files each, and a disk's file system takes longer for that than
# PostgreSQL. Less than half a gigabyte is used at a time.
MEMORY_FOLDER, MIN_FREE_BYTES = Path("/dev/shm"), 2 << 30


def find(kind, ways, stack, work):
    """The URL of a server that answers, and where it comes from."""
    named = os.environ.get(kind.variable)
    if named:
        if refusal := kind.refusal(named):
            raise Unavailable(f"{kind.variable} names a server that {refusal}: correct it, or unset it to use another")
        return named, f"named by {kind.variable}"
    if "memory" in ways and work.is_relative_to(MEMORY_FOLDER) and (url := kind.from_memory(stack, work)):
        wait_until_usable(kind, url)
        return url, "private, in memory, stopped afterwards"
    refusal = kind.refusal(kind.default_url) if "running" in ways else "is not to be used"
    if not refusal:
        return kind.default_url, "running"
    for way in (way for way in ways if way not in ("memory", "running")):
        if url := getattr(kind, f"from_{way}")(stack, work):
            wait_until_usable(kind, url)
            return url, f"private, {way}, stopped afterwards"
    raise Unavailable(f"there is no {kind.name}, and the one on its default port {refusal}: set {kind.variable} to a "
                      f"server, install {kind.package}, or run as root on Debian to have it installed")


def set_up(stack):
    """Finds all servers and puts their URLs into the environment of the command."""
    ways = os.environ.get("MOA_TEST_SERVERS", ",".join(WAYS)).split(",")
    if unknown := set(ways) - set(WAYS):
        raise Unavailable(f"MOA_TEST_SERVERS knows no {', '.join(sorted(unknown))}, only {', '.join(WAYS)}")
    work = Path(tempfile.mkdtemp(prefix="moa-servers-", dir=MEMORY_FOLDER if "memory" in ways and fits_in_memory() else None))
    stack.callback(shutil.rmtree, work, ignore_errors=True)
    # PostgreSQL's account passes through.
    work.chmod(0o711)
    for kind in KINDS:
        url, origin = find(kind, ways, stack, work)
        os.environ[kind.variable] = url
        place = urlsplit(url).netloc.rpartition("@")[2] or "its socket"
        note(f"{kind.name:9} {place} ({origin})")
    # Some tests stop and wipe a RabbitMQ and a Redis of their own.
    for kind in (kind for kind in KINDS if kind.is_stopped_by_tests and not kind.is_installed()):
        kind.install()


def fits_in_memory():
    """Whether the folder in memory has room, and the machine twice as much to spare."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        return min(available // 2, shutil.disk_usage(MEMORY_FOLDER).free) >= MIN_FREE_BYTES
    except (OSError, StopIteration):
        return False


def ended(number, _frame):
    raise SystemExit(128 + number)


def run(command):
    """Runs the command to its end, whatever signal comes, and returns its exit code: the servers stop after it."""
    running = subprocess.Popen(command)
    # Ctrl-C reaches the command by itself, the others do not.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: running.send_signal(number))
    code = running.wait()
    return code if code >= 0 else 128 - code


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ended)
    try:
        with ExitStack() as stack:
            set_up(stack)
            return run(sys.argv[1:])
    except Unavailable as error:
        print(f"The tests cannot run: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
