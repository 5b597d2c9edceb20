#!/usr/bin/env python3
"""compose.yaml without a container engine.

`validate` checks compose.yaml against the compose specification's schema and against rules of its own, and that the
Dockerfile and .dockerignore fit the workspace.

`run` starts the commands of compose.yaml by hand on loopback: a private PostgreSQL with the logins of scripts/logins.sql,
RabbitMQ and Redis as the tests find them, the migration, then two of each service with the environment of the file. It
opens a product, invests through both instances, waits for SUCCESS on both read sides, and stops everything in order. It
needs psql, and target/release/moa or the program that is named: `compose.py run target/debug/moa`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from servers.kind import DOWNLOAD_TIMEOUT_S, REPOSITORY, Unavailable, free_port, last_line, note, quiet
from with_servers import KINDS, WAYS, find

VENV = REPOSITORY / "target/compose-venv"
REQUIREMENTS = REPOSITORY / "scripts/compose-requirements.txt"
MOA = Path(sys.argv[2] if len(sys.argv) > 2 else REPOSITORY / "target/release/moa").resolve()
SERVICES = ("command-api", "query-api", "projector", "relay", "admin")
INSTANCES = [f"{service}-{number}" for service in SERVICES for number in (1, 2)]
LISTENERS = {"command-api": "MOA_COMMAND_LISTEN", "query-api": "MOA_QUERY_LISTEN", "admin": "MOA_ADMIN_LISTEN"}
# Settings without a place in compose.yaml: of the private PostgreSQL, of the operator's commands, of mounted secrets and
# of the sealer, whose seals must not be on this machine.
NOT_IN_COMPOSE = {"MOA_DATA_DIR", "MOA_NEWER_SCHEMA", "MOA_ADMIN_URL", "MOA_OPERATOR_TOKEN_FILE", "MOA_AUDITOR_TOKEN_FILE", "MOA_TOKENS_FILE",
                  "MOA_GATEWAY_SECRETS_FILE", "MOA_TLS_CA_FILE", "MOA_TLS_CLIENT_CERT_FILE", "MOA_TLS_CLIENT_KEY_FILE",
                  "MOA_TLS_CERT_FILE", "MOA_TLS_KEY_FILE",
                  "MOA_SEAL_KEY_FILE", "MOA_SEALS_FILE", "MOA_SEAL_PUBLIC_KEY_FILES",
                  "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SERVICE_NAME",
                  # `moa serve` with everything in one process has these, and compose.yaml does not run it.
                  "MOA_DEFER_VIEWS_MS", "MOA_DEFER_SEARCH_MS"}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<mode>:?[-?])(?P<rest>[^}]*)\}")
TOKEN = "a-token-for-a-run-by-hand"
READY_TIMEOUT_S = STOP_TIMEOUT_S = VIEW_TIMEOUT_S = 60
INVESTS, AMOUNT = 20, 10


def use_venv():
    """Continues in an environment of its own, made at the first use."""
    if Path(sys.prefix) == VENV:
        return
    made_from = VENV / REQUIREMENTS.name
    if not made_from.is_file() or made_from.read_bytes() != REQUIREMENTS.read_bytes():
        pip = [VENV / "bin/python", "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        for step in ([sys.executable, "-I", "-m", "venv", "--clear", VENV], [*pip, "--requirement", REQUIREMENTS]):
            done = quiet(step, timeout=DOWNLOAD_TIMEOUT_S)
            if done.returncode != 0:
                raise Unavailable(f"target/compose-venv cannot be made ({last_line(done.stderr)}): pip must reach a package "
                                  f"index once, for {REQUIREMENTS.name}")
        made_from.write_bytes(REQUIREMENTS.read_bytes())
    os.execv(VENV / "bin/python", [str(VENV / "bin/python"), *sys.argv])


def load(variables):
    """compose.yaml with variables substituted and anchors merged."""
    import yaml
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(VARIABLE.sub(lambda match: variable(match, variables), text))


def variable(match, variables):
    value = variables.get(match["name"])
    if value or (value == "" and not match["mode"].startswith(":")):
        return value
    if match["mode"].endswith("?"):
        raise Unavailable(f"{match['name']} is missing: {match['rest']}")
    return match["rest"]


def service_of(name):
    return name.rstrip("0123456789").rstrip("-")


def environment(raw):
    """What the process gets; a setting without a value is the caller's, if it has one."""
    given = {name: os.environ.get(name) if value is None else str(value) for name, value in raw["environment"].items()}
    return {name: value for name, value in given.items() if value is not None}


def problems(document):
    """Every problem of compose.yaml and the build context, a sentence each."""
    import jsonschema
    folder = Path(find_spec("check_jsonschema").submodule_search_locations[0])
    schema = json.loads((folder / "builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8"))
    refused = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(document))
    if refused:
        # The other rules take the shape for granted.
        return [f"the schema refuses {error.json_path}: {error.message[:200]}" for error in refused]
    return [*service_problems(document["services"]), *setting_problems(document["services"]), *build_problems()]


def service_problems(services):
    if missing := {"postgres", "rabbitmq", "redis", "migrate", *INSTANCES} - set(services):
        yield f"there is no {', '.join(sorted(missing))}"
    logins = (REPOSITORY / "scripts/logins.sql").read_text(encoding="utf-8")
    for name, raw in services.items():
        is_job, is_moa = name == "migrate", "build" in raw
        if is_moa and raw["command"] != (["migrate"] if is_job else ["serve", service_of(name)]):
            yield f"{name} runs {raw['command']} and not its service"
        if not re.fullmatch(r"[\w./-]+:(local|\d[\w.-]*)", raw["image"]):
            yield f"{name} must name a version of its image"
        is_kept = {
            "read_only": raw.get("read_only") is True,
            "cap_drop": raw.get("cap_drop") == ["ALL"] and not raw.get("cap_add") and not raw.get("privileged"),
            "security_opt": "no-new-privileges:true" in raw.get("security_opt", []),
            "user": bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(raw.get("user", "")))),
            "restart": raw.get("restart") == ("on-failure" if is_job else "unless-stopped"),
            "healthcheck": raw.get("healthcheck", {}).get("disable", False) == is_job and "healthcheck" in raw,
            "stop_grace_period": "stop_grace_period" in raw,
            "deploy": bool(raw.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory")),
            "logging": bool(raw.get("logging", {}).get("options", {}).get("max-size")),
        }
        yield from (f"{name}: {key} is not as it must be" for key, good in is_kept.items() if not good)
        for other, how in raw.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other == "migrate" else "service_healthy"
            if other not in services or how.get("condition") != wanted:
                yield f"{name} must wait until {other} is {wanted}"
        if is_moa:
            url, login = urlsplit(environment(raw)["DATABASE_URL"]), service_of(name).replace("-", "_")
            told = environment(services["postgres"]).get(f"{login.upper()}_PASSWORD")
            if (url.username, url.password) != (login, told) or f"create role {login} login password" not in logins:
                yield f"{name} must log in as {login}, with the password that postgres is told"
            if not is_job and not {"postgres", "migrate"} <= set(raw.get("depends_on", {})):
                yield f"{name} must wait for postgres and migrate"
    published = [(name, port) for name, raw in services.items() for port in raw.get("ports", [])]
    for name, port in published:
        listens = environment(services[name]).get(LISTENERS.get(service_of(name), ""), "")
        if not port.startswith("127.0.0.1:") or listens != f"0.0.0.0:{port.rsplit(':', 1)[1]}":
            yield f"{name} publishes {port}: it must listen there, and be published on loopback alone"
    if len({port.rsplit(":", 1)[0] for _, port in published}) < len(published):
        yield "two services publish the same port"


def setting_problems(services):
    sources = [REPOSITORY / "moa/src/settings.rs", *(REPOSITORY / "moa/src/settings").glob("*.rs")]
    known = {name for path in sources for name in re.findall(r'env = "(\w+)"', path.read_text(encoding="utf-8"))}
    shown = {name for raw in services.values() if "build" in raw for name in raw["environment"]}
    yield from (f"{name} is no setting of Moa" for name in sorted(shown - known))
    yield from (f"{name} is a setting, but not in compose.yaml" for name in sorted(known - shown - NOT_IN_COMPOSE))


def build_problems():
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    channel = tomllib.loads((REPOSITORY / "rust-toolchain.toml").read_text(encoding="utf-8"))["toolchain"]["channel"]
    for needed in (f"FROM rust:{channel}-", "USER 65532:65532", "STOPSIGNAL SIGTERM", "HEALTHCHECK", 'ENTRYPOINT ["',
                   "cargo build --locked --profile dist -p moa"):
        if needed not in text:
            yield f"the Dockerfile lacks {needed}"
    members = tomllib.loads((REPOSITORY / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["members"]
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    # The list of metrics is built in.
    expected = {"Cargo.toml", "Cargo.lock", "docs/metrics.md", "migrations", *members}
    if sent != expected or "*" not in lines:
        yield f".dockerignore must send the workspace and nothing else: {sorted(sent ^ expected)}"


class Run:
    """The commands of compose.yaml as processes on loopback."""

    def __init__(self, stack, work):
        self.stack, self.work, self.processes = stack, work, {}
        self.services = load({**os.environ, "MOA_OPERATOR_TOKEN": TOKEN})["services"]
        self.urls = {}
        for kind in KINDS:
            # Logins are created in this PostgreSQL: it must be a private one.
            os.environ.pop("DATABASE_URL", None)
            ways = [way for way in WAYS if way != "running" or kind.variable != "DATABASE_URL"]
            self.urls[kind.variable], origin = find(kind, ways, stack, work)
            note(f"{kind.name}: {origin}")
        self.ops = {name: f"127.0.0.1:{free_port()}" for name in INSTANCES}

    def environment(self, name):
        """That of compose.yaml, with servers and listeners where they are here."""
        given = environment(self.services[name])
        here = urlsplit(self.urls["DATABASE_URL"])
        login = urlsplit(given["DATABASE_URL"])
        given["DATABASE_URL"] = f"postgres://{login.username}:{login.password}@{here.hostname}:{here.port}/moa"
        given |= {key: self.urls[key] for key in ("AMQP_URL", "REDIS_URL") if key in given}
        if listener := LISTENERS.get(service_of(name)):
            given[listener] = self.address(name)
        return given | ({"MOA_OPS_LISTEN": self.ops[name]} if "MOA_OPS_LISTEN" in given else {})

    def address(self, name):
        return self.services[name]["ports"][0].rsplit(":", 1)[0]

    def start(self, name):
        log = self.stack.enter_context(open(self.work / f"{name}.log", "ab"))
        command = [MOA, *self.services[name]["command"]]
        self.processes[name] = subprocess.Popen(command, env=self.environment(name), stdout=log, stderr=log)
        self.stack.callback(self.processes[name].kill)

    def ready(self):
        for name in INSTANCES:
            asked = self.address(name) if service_of(name) == "admin" else self.ops[name]
            until(lambda asked=asked: quiet([MOA, "healthcheck", asked], env={}).returncode == 0, READY_TIMEOUT_S,
                       f"{name} is not ready: see {self.work / name}.log")

    def up(self):
        superuser = self.urls["DATABASE_URL"]
        told = {**os.environ, **environment(self.services["postgres"])}
        logins = ["psql", "-Xq", "-f", REPOSITORY / "scripts/logins.sql", superuser.rpartition("/")[0] + "/moa"]
        for step in (["psql", "-Xqc", "create database moa", superuser], logins):
            if (done := quiet(step, env=told)).returncode != 0:
                raise Unavailable(f"psql failed: {last_line(done.stderr)}")
        self.start("migrate")
        if self.processes.pop("migrate").wait(READY_TIMEOUT_S) != 0:
            raise Unavailable(f"the migration failed: see {self.work}/migrate.log")
        for name in INSTANCES:
            self.start(name)
        self.ready()
        note(f"ready: {', '.join(INSTANCES)}")

    def walk(self):
        """A product, invests through each instance, and SUCCESS on each read side."""
        now, at = datetime.now(timezone.utc), f"http://{self.address('admin-1')}"
        times = ((now + timedelta(hours=hours)).isoformat(timespec="seconds") for hours in (-1, 24))
        opened = dict(zip(("startedAt", "finishedAt"), times), title="By hand", totalInvestingAmount=1_000_000)
        product = call(f"{at}/admin/product", opened, Authorization=f"Bearer {TOKEN}")["productId"]
        for number in range(INVESTS):
            command = self.address(f"command-api-{1 + number % 2}")
            body = {"productId": product, "investAmount": AMOUNT}
            call(f"http://{command}/api/invest", body, **{"X-USER-ID": f"user-{product}-{number}"})
        for number in (1, 2):
            read = f"http://{self.address(f'query-api-{number}')}"
            until(lambda read=read: self.is_shown(read, product), VIEW_TIMEOUT_S, f"{read} does not show every invest")
        note(f"{INVESTS} invests in product {product}, all SUCCESS on both read sides")

    def is_shown(self, read, product):
        total = call(f"{read}/api/product/{product}")["currentInvestingAmount"]
        logs = (call(f"{read}/api/invest/log", **{"X-USER-ID": f"user-{product}-{n}"})["list"] for n in range(INVESTS))
        return total == INVESTS * AMOUNT and all(log and log[0]["investResult"] == "SUCCESS" for log in logs)

    def down(self):
        for name in reversed(INSTANCES):
            self.processes[name].send_signal(signal.SIGTERM)
            if (code := self.processes[name].wait(STOP_TIMEOUT_S)) != 0:
                raise Unavailable(f"{name} stopped with exit code {code}: see {self.work / name}.log")
        note("all stopped in order")


def until(holds, limit_s, otherwise):
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise Unavailable(otherwise)
        time.sleep(0.1)


def call(url, body=None, **headers):
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=VIEW_TIMEOUT_S) as response:
        return json.load(response)["data"]


def run():
    if not MOA.is_file():
        raise Unavailable(f"there is no {MOA}: cargo build --locked --release -p moa makes it")
    work = Path(tempfile.mkdtemp(prefix="moa-compose-"))
    work.chmod(0o711)  # PostgreSQL's account passes through.
    with ExitStack() as stack:
        by_hand = Run(stack, work)
        by_hand.up()
        by_hand.walk()
        by_hand.down()
    return 0


def validate():
    found = problems(load({"MOA_OPERATOR_TOKEN": TOKEN, **os.environ}))
    note("\n".join(f"wrong: {problem}" for problem in found) or "compose.yaml, Dockerfile and .dockerignore fit their rules")
    return 1 if found else 0


def main():
    if sys.argv[1:2] not in (["validate"], ["run"]):
        sys.exit(__doc__)
    try:
        use_venv()
        return validate() if sys.argv[1] == "validate" else run()
    except Unavailable as error:
        print(f"{error}.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
