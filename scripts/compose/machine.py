"""A machine of the run's own: network, mounts and processes apart from the real one, and gone with the run.

An engine gives each container a network, a host name and mounts of its own. The kernel does that without an engine too;
so ports, addresses and names are exactly those of compose.yaml, and cannot meet anything that runs beside it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from servers.kind import Unavailable, last_line, quiet

# Of the bridge; the machine itself is .1, the services follow.
SUBNET, MACHINE, FIRST_SERVICE = "172.30.0", 1, 11
NEEDED = ("ip", "unshare", "nsenter", "setpriv", "prlimit", "mount", "sh")
# The kernel ends it with whoever started it, however that ends, and everything inside with it.
OWN = ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
       "--propagation", "private"]
BUFFER = 65536
# Of the servers' data and all logs, in memory.
WORK_SIZE = "2g"


def enter(arguments):
    """Runs this program again inside a machine of its own, and returns its exit code; leaves nothing behind."""
    check()
    work = Path(tempfile.mkdtemp(prefix="moa-compose-"))
    try:
        inside = [*OWN, sys.executable, sys.argv[0], *arguments, "--inside", str(work)]
        # A session of its own: Ctrl-C is passed on once, and reaches no service by itself.
        return wait(subprocess.Popen(inside, start_new_session=True))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check():
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        raise Unavailable(f"running by hand needs root on Linux with util-linux and iproute2, and "
                          f"{', '.join(missing) or 'root'} is missing: with a container engine use docker compose up")


def wait(running):
    """A signal stops the run in order; a second one at once: its processes go with the first of them."""
    def pass_on(number, _frame):
        signal.signal(number, lambda _number, _frame: running.kill())
        os.killpg(running.pid, signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = running.wait()
    return code if code >= 0 else 128 - code


def prepare(work):
    """Folders of the machine's own. The accounts of the services pass through the one of the run."""
    run("mount", "-t", "tmpfs", "-o", f"mode=0711,size={WORK_SIZE}", "tmpfs", str(work))
    # Network namespaces are kept by name in here.
    run("mount", "-t", "tmpfs", "tmpfs", "/run")


class Network:
    """The bridge, a namespace for each service, and what they are called."""

    def __init__(self, services, work):
        self.addresses = {name: f"{SUBNET}.{FIRST_SERVICE + index}" for index, name in enumerate(services)}
        self.hosts = work / "hosts"
        names = [f"{address}\t{name}\n" for name, address in self.addresses.items()]
        self.hosts.write_text("127.0.0.1\tlocalhost\n" + "".join(names), encoding="utf-8")

    def build(self):
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "moa", "type", "bridge")
        run("ip", "address", "add", f"{SUBNET}.{MACHINE}/24", "dev", "moa")
        run("ip", "link", "set", "moa", "up")
        for index, (name, address) in enumerate(self.addresses.items()):
            run("ip", "netns", "add", name)
            run("ip", "link", "add", f"moa{index}", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", f"moa{index}", "master", "moa", "up")
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("ip", "-n", name, "link", "set", device, "up")


def run(*command):
    done = quiet(command)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)} failed ({last_line(done.stderr)}): this kernel or container forbids it")


def publish(host, port, address, inside):
    """Passes what comes to a port of the machine on to a service, as an engine's proxy does; until the run ends."""
    listener = socket.create_server((host, int(port)), backlog=128)
    threading.Thread(target=accept, args=(listener, (address, int(inside))), daemon=True).start()


def accept(listener, target):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=pass_through, args=(client, target), daemon=True).start()


def pass_through(client, target):
    with client:
        try:
            with socket.create_connection(target) as service:
                back = threading.Thread(target=pump, args=(service, client), daemon=True)
                back.start()
                pump(client, service)
                back.join()
        except OSError:
            # Nobody there, or gone: the client sees its connection end.
            return


def pump(source, sink):
    try:
        while data := source.recv(BUFFER):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return
