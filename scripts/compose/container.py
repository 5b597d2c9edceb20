"""One service, started as an engine would from what compose.yaml says of it, watched, and stopped."""

import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from servers.kind import STOP_TIMEOUT_S, Unavailable, last_line, quiet

from .machine import Network
from .stand_ins import DATA, PATH

# How often a service that is starting is asked whether it is healthy; the file's interval is for one that runs.
STARTING_S = 0.5
LOG_TAIL = 10
# What does its work and ends does so within this time.
ENDED_S = 60

# From root in the service's own network, host and mounts to its account, without any way back. What mounts take from
# is bound first: the service's own may hide it.
# $1 host name, $2 hosts, $3 what is bound, $4 where, $5 open files, then paths and options of each tmpfs.
PRELUDE = """
set -e
echo "$1" > /proc/sys/kernel/hostname
mount --bind "$2" /etc/hosts
mount --bind "$3" "$4"
mount -t tmpfs -o mode=0755 tmpfs /run
shift 4; files=$1; shift
while [ "$1" != -- ]; do mkdir -p "$1"; mount -t tmpfs -o "$2" tmpfs "$1"; shift 2; done
shift
mount -o remount,bind,ro /
exec prlimit --nofile="$files" "$@"
"""
NO_PRIVILEGES = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


@dataclass(frozen=True)
class Site:
    """What the containers of a run share: their network, the folder of logs, and Moa as its image has it."""

    network: Network
    work: Path
    programs: Path
    entrypoint: list


class Container:
    """A service by hand. `image` is the stand-in of a server's; None for Moa, which comes with the site."""

    def __init__(self, service, image, site):
        self.service, self.image, self.site = service, image, site
        self.log = site.work / f"{service.name}.log"
        self.command = [*([] if image else site.entrypoint), *(service.command or image.command)]
        base = image.environment if image else {"PATH": PATH, "HOME": "/"}
        self.environment = {**base, "HOSTNAME": service.name, **service.environment()}
        self.process = None

    @property
    def name(self):
        return self.service.name

    @property
    def address(self):
        return self.site.network.addresses[self.name]

    def describe(self):
        """What runs in its place."""
        return f"{self.image.program} for {self.service.image}" if self.image else " ".join(self.command)

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        bound = (self.image.home, DATA) if self.image else (self.site.programs, "/usr/local/bin")
        mounts = [word for path, options in self.mounts() for word in (path, options or "mode=1777")]
        # Not every root may have more files than it was given.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        files = min(most, self.service.raw.get("ulimits", {}).get("nofile", most))
        before = [self.name, self.site.network.hosts, *bound, str(files), *mounts, "--"]
        own = ["ip", "netns", "exec", self.name, "unshare", "--uts", "--ipc", "sh", "-c", PRELUDE, "sh", *before]
        with open(self.log, "ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.process = subprocess.Popen([*own, *self.as_account(self.command)], env=self.environment, cwd="/",
                                            start_new_session=True, **streams)

    def mounts(self):
        """The tmpfs of the service, owned by the account that stands for the image's."""
        own = self.account()
        for path, options in self.service.tmpfs:
            words = [word for word in options.split(",") if not word.startswith(("uid=", "gid="))]
            yield path, ",".join([*words, f"uid={own[0]}", f"gid={own[1]}"])

    def account(self):
        return self.image.account if self.image else tuple(self.service.raw["user"].split(":"))

    def as_account(self, command):
        user, group = self.account()
        return ["setpriv", f"--reuid={user}", f"--regid={group}", *NO_PRIVILEGES, *command]

    def execute(self, command, timeout=STOP_TIMEOUT_S):
        """Runs a command inside, as an engine's exec does."""
        inside = ["nsenter", f"--target={self.process.pid}", "--net", "--mount", "--uts", "--ipc", "--wd=/"]
        return quiet([*inside, *self.as_account(command)], timeout=timeout, env=self.environment)

    def wait_until_healthy(self):
        """How many seconds it took; it may fail as often as it likes for its start period, then `retries` times."""
        health, began, failures = self.service.health, time.monotonic(), 0
        while True:
            asked = self.execute(health.test, health.timeout)
            if asked.returncode == 0 and self.is_running:
                return time.monotonic() - began
            starting = time.monotonic() - began < health.start_period
            failures += not starting
            if not self.is_running or failures >= health.retries:
                ended = None if self.is_running else f"it ended with {self.process.poll()}: {last_line(self.tail())}"
                said = ended or last_line(asked.stderr or asked.stdout)
                raise Unavailable(f"{self.name} is not healthy ({said})")
            time.sleep(STARTING_S if starting else health.interval)

    def wait_until_ended(self):
        """How many seconds it took; it must do its work within a start period."""
        began = time.monotonic()
        try:
            code = self.process.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            code = "nothing"
        if code != 0:
            raise Unavailable(f"{self.name} ended with {code} ({last_line(self.tail())})")
        return time.monotonic() - began

    def kill(self):
        """All its processes, at once: what is left of them would go on in its place."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Asks it to stop. Returns its exit code, None when it had to be killed after its grace, and the seconds."""
        asked = getattr(signal, self.image.stop_signal if self.image else "SIGTERM")
        began = time.monotonic()
        self.process.send_signal(asked)
        try:
            return self.process.wait(self.service.stop_grace_s), time.monotonic() - began
        except subprocess.TimeoutExpired:
            self.kill()
            return None, time.monotonic() - began

    def tail(self):
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        return "\n".join(f"    {self.name} | {line}" for line in lines[-LOG_TAIL:])
