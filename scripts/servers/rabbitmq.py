"""RabbitMQ: login, and a private node beside whatever node the machine runs."""

import os
import shutil
import struct
from pathlib import Path
from urllib.parse import unquote

from .kind import Kind, connect, free_port, programs, quiet, receive, start

# Debian's wrapper in PATH changes to its own account and settings; the package's own script does neither.
FOLDERS = ("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "/opt/homebrew/opt/rabbitmq/sbin",
           "/usr/local/opt/rabbitmq/sbin", "/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin", "/opt/rabbitmq/sbin")

CONNECTION, START, TUNE, OPEN_OK = 10, 10, 30, 41


class RabbitMq(Kind):
    name, variable, package = "rabbitmq", "AMQP_URL", "rabbitmq-server"
    default_url = "amqp://guest:guest@127.0.0.1:5672/%2f"
    image, image_port = "rabbitmq:4", 5672
    is_stopped_by_tests = True

    def login(self, url):
        user, password = unquote(url.username or "guest"), unquote(url.password or "guest")
        with connect(url, 5672) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            expect(connection, START)
            # No properties, PLAIN, the credentials, en_US.
            answer = f"\0{user}\0{password}".encode()
            start_ok = bytes(4) + short(b"PLAIN") + struct.pack("!I", len(answer)) + answer + short(b"en_US")
            send(connection, 11, start_ok)
            try:
                tune = expect(connection, TUNE)
            except OSError:
                return f"refuses the login of {user}"
            send(connection, 31, tune[:8])
            send(connection, 40, short(unquote(url.path[1:] or "/").encode()) + b"\0\0")
            expect(connection, OPEN_OK)
        return None

    def private_url(self, port):
        return f"amqp://guest:guest@127.0.0.1:{port}/%2f"

    def is_installed(self):
        return bool(folders())

    def from_installed(self, stack, work):
        found = folders()
        return self.launch(stack, work, found[-1]) if found else None

    def launch(self, stack, work, folder):
        home, port, epmd_port = work / "rabbitmq", free_port(), free_port()
        home.mkdir(mode=0o700)
        environment = node_environment(home, port, epmd_port)
        # The node starts the Erlang port mapper, which outlives it.
        stack.callback(quiet, ["epmd", "-port", str(epmd_port), "-kill"], env=environment)
        start(stack, [folder / "rabbitmq-server"], home / "log", env=environment, cwd=home)
        return self.private_url(port)


def folders():
    """Where the node's own script is, not a wrapper of it."""
    if not shutil.which("erl"):
        return []
    found = [folder for folder in programs(("rabbitmq-server",), FOLDERS) if folder != Path("/usr/sbin")]
    return [folder for folder in found if (folder / "rabbitmq-env").is_file()]


def node_environment(home, port, epmd_port):
    """Everything that would else be shared with the machine's own node."""
    for name in ("env.conf", "rabbitmq.conf", "plugins"):
        (home / name).write_text("[].\n" if name == "plugins" else "")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    return {
        **kept,
        "HOME": str(home),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"moa_test_{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "logs"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
    }


def short(text):
    return bytes([len(text)]) + text


def send(connection, method, arguments):
    payload = struct.pack("!HH", CONNECTION, method) + arguments
    connection.sendall(struct.pack("!BHI", 1, 0, len(payload)) + payload + b"\xce")


def expect(connection, method):
    """The arguments of the server's next method, which must be this one of the class connection."""
    kind, _, size = struct.unpack("!BHI", receive(connection, 7))
    if kind != 1:
        raise OSError("it speaks another protocol")
    payload = receive(connection, size + 1)
    found = struct.unpack("!HH", payload[:4])
    if found != (CONNECTION, method):
        raise OSError(f"it said {found} instead of {(CONNECTION, method)}")
    return payload[4:-1]
