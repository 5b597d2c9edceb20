"""What the three kinds of server have in common, and the ways to get one."""

import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPOSITORY = Path(__file__).resolve().parents[2]

# A server that is there answers at once; a private one may take this long to come up.
ANSWER_TIMEOUT_S = 3
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
DOWNLOAD_TIMEOUT_S = 300
INSTALL_TIMEOUT_S = 1200

# Debian's packages start a server of their own when they are installed, unless this file says no. What this installs
# is used as programs only, so nothing is left running.
INSTALL = """
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"
"""


class Unavailable(Exception):
    """Its text is one sentence: why there is no server, and the ways out."""


class Kind:
    """One kind of server. `stack` is an ExitStack: what a way starts, it stops there; `work` is a folder of the run's."""

    name = variable = default_url = package = image = ""
    image_port = 0
    image_options = ()
    # Whether tests start servers of this kind by themselves, from programs on this machine.
    is_stopped_by_tests = False

    def refusal(self, url):
        """Why the server at `url` cannot be used; None when it can. Logs in, and changes nothing."""
        try:
            return self.login(urlsplit(url))
        except (OSError, ValueError, IndexError) as error:
            return f"does not answer as {self.name} ({error or type(error).__name__})"

    def login(self, url):
        raise NotImplementedError

    def private_url(self, port):
        raise NotImplementedError

    def from_memory(self, stack, work):
        """The same as from_installed, for a `work` that is in memory; None where that gains nothing."""

    def from_installed(self, stack, work):
        """A private server from the programs on this machine; None when there are none."""
        raise NotImplementedError

    def from_wheel(self, stack, work):
        """A private server from a Python wheel; None when there is no such wheel."""

    def from_container(self, stack, work):
        """A private server in a container; None when there is no engine, as a client alone is common."""
        if not shutil.which("docker") or quiet(["docker", "info"]).returncode != 0:
            return None
        port = free_port()
        publish = f"127.0.0.1:{port}:{self.image_port}"
        command = ["docker", "run", "--detach", "--rm", "--publish", publish, *self.image_options, self.image]
        started = quiet(command, timeout=DOWNLOAD_TIMEOUT_S)
        if started.returncode != 0:
            return note(f"{self.name}: docker run failed: {last_line(started.stderr)}")
        stack.callback(quiet, ["docker", "rm", "--force", "--volumes", started.stdout.strip()])
        return self.private_url(port)

    def from_debian(self, stack, work):
        """A private server from Debian's package, installed if this is root's machine or CI's."""
        return self.from_installed(stack, work) if self.install() else None

    def is_installed(self):
        """Whether the programs are on this machine."""
        raise NotImplementedError

    def install(self):
        """Installs Debian's package if this is root's machine or CI's; says whether it is there then."""
        if not shutil.which("apt-get") or not (os.geteuid() == 0 or os.environ.get("CI") == "true"):
            return note(f"{self.name}: its programs are not installed, and tests that start it will fail")
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        note(f"{self.name}: its programs are not installed, installing Debian's package {self.package}")
        install = [*prefix, "sh", "-c", INSTALL, "install", self.package]
        done = quiet(install, timeout=INSTALL_TIMEOUT_S)
        if done.returncode != 0:
            return note(f"{self.name}: apt-get failed: {last_line(done.stderr)}")
        return True


def note(text):
    print(text, flush=True)


def quiet(command, timeout=STOP_TIMEOUT_S, **options):
    """Runs a command to its end without showing what it prints, and without input."""
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options}
    try:
        return subprocess.run(command, timeout=timeout, check=False, **options)
    except (subprocess.TimeoutExpired, OSError) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def last_line(text):
    return (text or "").strip().rpartition("\n")[2] or "no reason given"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(url, default_port):
    """A connection to the host and port of a URL that was split."""
    address = (unquote(url.hostname or "127.0.0.1"), url.port or default_port)
    return socket.create_connection(address, timeout=ANSWER_TIMEOUT_S)


def receive(connection, count):
    """Exactly so many bytes."""
    received = b""
    while len(received) < count:
        more = connection.recv(count - len(received))
        if not more:
            raise OSError("the connection was closed")
        received += more
    return received


def programs(names, patterns=()):
    """The folders that hold all these programs: those in PATH, then those that match the patterns."""
    found = [Path(path).resolve().parent for path in map(shutil.which, names[:1]) if path]
    found += [folder for pattern in patterns for folder in sorted(Path("/").glob(pattern.lstrip("/")))]
    return [folder for folder in found if all((folder / name).is_file() for name in names)]


def start(stack, command, log, **options):
    """Starts a server in a session of its own, so that Ctrl-C ends the tests first; stops it with the stack."""
    output = stack.enter_context(open(log, "wb"))
    streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
    server = subprocess.Popen(command, start_new_session=True, **streams, **options)
    stack.callback(stop, server)


def stop(server):
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def wait_until_usable(kind, url):
    deadline = time.monotonic() + START_TIMEOUT_S
    while refusal := kind.refusal(url):
        if time.monotonic() > deadline:
            raise Unavailable(f"the private {kind.name} did not come up in {START_TIMEOUT_S} s, it {refusal}: "
                              f"set {kind.variable} to a server that runs")
        time.sleep(0.1)


def unpack_wheel(requirement, into):
    """Downloads a wheel whose digest the requirement file pins, and unpacks it; None when it cannot be had."""
    into.mkdir()
    into.chmod(0o755)
    pip = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
           "--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(requirement), "--dest", str(into)]
    fetched = quiet(pip, timeout=DOWNLOAD_TIMEOUT_S)
    if fetched.returncode != 0:
        return note(f"no wheel of {requirement.name}: {last_line(fetched.stderr)}")
    for wheel in into.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(into)
    for path in into.rglob("*"):
        # Zip files lose the execute bits; the account that runs the program reads it whatever the umask is.
        path.chmod(0o755)
    return into
