"""The machine's own servers in the place of the images: what an image brings beside what compose.yaml says.

Each gets compose.yaml's command, environment, mounts and health check unchanged, an unprivileged account, and a folder
at /mnt for its data, which the image has in its volume.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from servers.kind import START_TIMEOUT_S, Unavailable, last_line, programs, quiet
from servers.postgres import FOLDERS as POSTGRES_FOLDERS
from servers.postgres import OLDEST_MAJOR, unprivileged, version
from servers.rabbitmq import FOLDERS as RABBITMQ_FOLDERS

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DATA = "/mnt"
# What the image of PostgreSQL runs when it makes its data.
INIT_SCRIPTS = "/docker-entrypoint-initdb.d/"


@dataclass
class StandIn:
    """What stands for an image: its default command, its environment, its account, its stop signal, its folder."""

    program: str
    home: Path
    command: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    stop_signal: str = "SIGTERM"

    @property
    def account(self):
        account = unprivileged()
        return account["user"], account["group"]


def stand_in(service, work):
    """The one for this service, with its data made as the image makes it at its first start."""
    home = work / service.name
    home.mkdir(mode=0o700)
    made = {"postgres": postgres, "rabbitmq": rabbitmq, "redis": redis}[service.image.partition(":")[0]](service, home)
    for path in (home, *home.rglob("*")):
        os.chown(path, *made.account)
    return made


def postgres(service, home):
    found = [(version(folder), folder) for folder in programs(("initdb", "postgres", "pg_isready"), POSTGRES_FOLDERS)]
    newest, folder = max(found, default=(0, None))
    if newest < OLDEST_MAJOR:
        raise Unavailable(f"there is no PostgreSQL {OLDEST_MAJOR} to stand for {service.image}: install postgresql")
    environment = {"PGDATA": f"{DATA}/data", "PATH": f"{folder}:{PATH}"}
    made = StandIn(f"PostgreSQL {newest}", home, ["postgres"], environment, "SIGINT")
    initialise(made, service.environment(), folder)
    scripts = [path for path, target in service.mounted if target.startswith(INIT_SCRIPTS)]
    run_scripts(made, service.environment(), folder, scripts)
    return made


def initialise(made, asked, folder):
    """As the image's entry point: a superuser with a password, which every connection from outside must give."""
    password, data = made.home / "password", made.home / "data"
    password.write_text(asked["POSTGRES_PASSWORD"], encoding="utf-8")
    user, group = made.account
    options = {"cwd": made.home, "timeout": START_TIMEOUT_S, "user": user, "group": group, "extra_groups": []}
    for path in (made.home, password):
        os.chown(path, user, group)
    initdb = [folder / "initdb", "-D", data, "-U", asked["POSTGRES_USER"], f"--pwfile={password}", "-E", "UTF8"]
    alone = [folder / "postgres", "--single", "-D", data, "postgres"]
    for command, said in ((initdb, ""), (alone, f'create database "{asked["POSTGRES_DB"]}"\n')):
        done = quiet(command, input=said, stdin=None, **options)
        if done.returncode != 0:
            raise Unavailable(f"{command[0].name} failed ({last_line(done.stderr)})")
    with open(data / "pg_hba.conf", "a", encoding="utf-8") as hba:
        hba.write("host all all all scram-sha-256\n")
    with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write("listen_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\n")


def run_scripts(made, asked, folder, scripts):
    """As the image's entry point: by psql, in the database that was made, on a server that nobody else reaches."""
    user, group = made.account
    data, options = made.home / "data", {"cwd": made.home, "user": user, "group": group, "extra_groups": []}
    alone = f"-c listen_addresses='' -c unix_socket_directories={made.home}"
    control = [folder / "pg_ctl", "-D", data, "-w", "-s", "-l", made.home / "init.log"]
    psql = [folder / "psql", "-XqAt", "-h", made.home, "-U", asked["POSTGRES_USER"], "-d", asked["POSTGRES_DB"]]
    copies = [made.home / script.name for script in scripts]
    for script, copy in zip(scripts, copies):
        shutil.copy(script, copy)
        os.chown(copy, user, group)
    run = [[*psql, "-v", "ON_ERROR_STOP=1", "-f", copy] for copy in copies]
    for command in ([*control, "-o", alone, "start"], *run, [*control, "-m", "fast", "stop"]):
        environment = {"PATH": PATH, "PGPASSWORD": asked["POSTGRES_PASSWORD"], **asked}
        done = quiet(command, env=environment, timeout=START_TIMEOUT_S, **options)
        if done.returncode != 0:
            raise Unavailable(f"{command[0].name} failed ({last_line(done.stderr)})")


def rabbitmq(service, home):
    folders = programs(("rabbitmq-server", "rabbitmq-env", "rabbitmq-diagnostics"), RABBITMQ_FOLDERS)
    if not folders or not shutil.which("erl"):
        raise Unavailable(f"there is no RabbitMQ to stand for {service.image}: install rabbitmq-server")
    for name in ("env.conf", "rabbitmq.conf", "plugins"):
        (home / name).write_text("[].\n" if name == "plugins" else "", encoding="utf-8")
    places = {"MNESIA_BASE": "mnesia", "LOG_BASE": "logs", "ENABLED_PLUGINS_FILE": "plugins",
              "CONF_ENV_FILE": "env.conf", "CONFIG_FILE": "rabbitmq.conf"}
    environment = {f"RABBITMQ_{name}": f"{DATA}/{place}" for name, place in places.items()}
    environment |= {"HOME": DATA, "LC_ALL": "C.UTF-8", "PATH": f"{folders[-1]}:{PATH}"}
    number = folders[-1].parent.name.rpartition("-")[2]
    return StandIn(f"RabbitMQ {number}", home, ["rabbitmq-server"], environment)


def redis(service, home):
    program = shutil.which("redis-server")
    if not program:
        raise Unavailable(f"there is no Redis to stand for {service.image}: install redis-server")
    words = quiet([program, "--version"]).stdout.split()
    number = next((word.removeprefix("v=") for word in words if word.startswith("v=")), "")
    return StandIn(f"Redis {number}", home, ["redis-server"], {"PATH": PATH})
