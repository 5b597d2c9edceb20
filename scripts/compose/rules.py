"""What must hold of compose.yaml beyond its schema. Each rule yields one sentence for each thing that is wrong."""

import json
import re
from urllib.parse import urlsplit

import jsonschema

from servers.kind import REPOSITORY, Unavailable

from .file import services, start_order
from .tools import schema_text

KINDS = ("command-api", "query-api", "projector", "relay", "admin")
SERVERS = {"postgres", "rabbitmq", "redis"}
# What must be done before any of them, once.
ONCE = "migrate"
# What each kind listens on, besides its ops port, and the least that it must be told.
LISTENS = {"command-api": "MOA_COMMAND_LISTEN", "query-api": "MOA_QUERY_LISTEN", "admin": "MOA_ADMIN_LISTEN"}
TOLD = {
    "command-api": {"DATABASE_URL", "AMQP_URL", "MOA_COMMAND_LISTEN"},
    "query-api": {"DATABASE_URL", "REDIS_URL", "MOA_QUERY_LISTEN"},
    "projector": {"DATABASE_URL", "AMQP_URL", "REDIS_URL"},
    "relay": {"DATABASE_URL", "AMQP_URL"},
    "admin": {"DATABASE_URL", "REDIS_URL", "MOA_ADMIN_LISTEN", "MOA_OPERATOR_TOKEN"},
}
# Whom the database knows each kind as: none is a superuser, none is another.
LOGINS = {ONCE: "migrate"} | {kind: kind.replace("-", "_") for kind in KINDS}
# Settings that have no place in a container: of the private PostgreSQL, of the operator's commands, of mounted secrets.
# The sealer needs a key of its operator's, and a place for its seals that is not this machine: docs/deploying.md.
ELSEWHERE = {"MOA_DATA_DIR", "MOA_ADMIN_URL", "MOA_OPERATOR_TOKEN_FILE", "MOA_AUDITOR_TOKEN_FILE",
             "MOA_SEAL_KEY_FILE", "MOA_SEALS_FILE", "MOA_SEAL_PUBLIC_KEY_FILES"}


def wrong(document):
    """Everything that is wrong with the file, one sentence each."""
    found = list(against_schema(document))
    if found:
        # What follows takes the shape for granted.
        return found
    all_services = services(document)
    for rule in (twice, order, bounds, ports, settings, logins, volumes):
        found += rule(document, all_services)
    return found


def against_schema(document):
    schema = json.loads(schema_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    for error in validator.iter_errors(document):
        yield f"the schema refuses {'.'.join(map(str, error.absolute_path)) or 'the file'}: {error.message[:200]}"


def twice(_document, all_services):
    expected = SERVERS | {ONCE} | {f"{kind}-{number}" for kind in KINDS for number in (1, 2)}
    if missing := expected - set(all_services):
        yield f"there is no {', '.join(sorted(missing))}"
    for service in all_services.values():
        runs = [ONCE] if service.name == ONCE else ["serve", service.kind]
        if service.is_moa and service.command != runs:
            yield f"{service.name} runs {service.command} and not its service"
        if not service.is_moa and not re.fullmatch(r"[\w./-]+:\d[\w.-]*", service.image):
            yield f"{service.name} must name a version of its image, not {service.image}"


def order(_document, all_services):
    for service in all_services.values():
        for name, how in service.raw.get("depends_on", {}).items():
            if name not in all_services:
                yield f"{service.name} waits for {name}, which is not there"
            elif name == ONCE:
                if how.get("condition") != "service_completed_successfully":
                    yield f"{service.name} must wait until {name} has ended well"
            elif how.get("condition") != "service_healthy" or "healthcheck" not in all_services[name].raw:
                yield f"{service.name} must wait until {name} is healthy"
        needed = service.environment({}).get("DATABASE_URL")
        postgres = service.raw.get("depends_on", {}).get("postgres", {})
        if needed and postgres.get("required", True) is not True:
            yield f"{service.name} cannot start without the log"
        if needed and "postgres" not in service.after:
            yield f"{service.name} must wait for postgres"
        if needed and service.name != ONCE and ONCE not in service.after:
            yield f"{service.name} must wait for {ONCE}: it may not migrate"
    try:
        start_order(all_services)
    except Unavailable as error:
        yield str(error)


def bounds(_document, all_services):
    for service in all_services.values():
        raw = service.raw
        held = {
            "read_only": raw.get("read_only") is True,
            "cap_drop": raw.get("cap_drop") == ["ALL"] and not raw.get("cap_add"),
            "security_opt": "no-new-privileges:true" in raw.get("security_opt", []),
            "user": bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(raw.get("user", "")))),
            "privileged": not raw.get("privileged"),
            "restart": raw.get("restart") == ("on-failure" if service.is_one_shot else "unless-stopped"),
            "stop_grace_period": "stop_grace_period" in raw,
            "healthcheck": service.is_one_shot == (service.name == ONCE) and (
                service.is_one_shot or raw.get("healthcheck", {}).get("test", ["NONE"])[0] in ("CMD", "CMD-SHELL")),
            "deploy": bool(raw.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory")),
            "logging": bool(raw.get("logging", {}).get("options", {}).get("max-size")),
        }
        yield from (f"{service.name}: {name} is not as it must be" for name, good in held.items() if not good)


def ports(_document, all_services):
    published = [(service, *port) for service in all_services.values() for port in service.ports]
    for service, *address, inside in published:
        if address[0] != "127.0.0.1":
            yield f"{service.name} publishes {':'.join(address)} beyond loopback"
        listens = service.environment({}).get(LISTENS.get(service.kind, ""), "")
        if listens != f"0.0.0.0:{inside}":
            yield f"{service.name} publishes {inside}, but listens on {listens or 'nothing'}"
    taken = [port[:2] for service in all_services.values() for port in service.ports]
    yield from (f"{':'.join(address)} is published twice" for address in set(taken) if taken.count(address) > 1)
    closed = [s.name for s in all_services.values() if s.kind in LISTENS and len(s.ports) != 1]
    yield from (f"{name} must publish its port and no other" for name in closed)


def settings(_document, all_services):
    known = known_settings()
    shown = {name for service in all_services.values() if service.is_moa for name in service.raw["environment"]}
    yield from (f"{name} is no setting of Moa" for name in sorted(shown - known))
    yield from (f"{name} is a setting, but not in the file" for name in sorted(known - shown - ELSEWHERE))
    for service in (service for service in all_services.values() if service.is_moa):
        told = TOLD.get(service.kind, {"DATABASE_URL"}) | {"MOA_LOG", "MOA_PARTITIONS"}
        if service.kind not in ("admin", ONCE):
            told |= {"MOA_OPS_LISTEN"}
        if missing := told - set(service.raw["environment"]):
            yield f"{service.name} is not told {', '.join(sorted(missing))}"


def known_settings():
    """The environment variables that the program reads, from its source."""
    sources = [REPOSITORY / "moa/src/settings.rs", *sorted((REPOSITORY / "moa/src/settings").glob("*.rs"))]
    return {name for path in sources for name in re.findall(r'env = "(\w+)"', path.read_text(encoding="utf-8"))}


def logins(document, all_services):
    """Each as its own, with the password that the server was told; and the server makes them all."""
    for name, config in document.get("configs", {}).items():
        if not (REPOSITORY / config["file"]).is_file():
            yield f"there is no {config['file']} for {name}"
            return
    server = all_services["postgres"] if "postgres" in all_services else None
    made = "\n".join(path.read_text(encoding="utf-8") for path, _ in server.mounted) if server else ""
    told = server.environment({}) if server else {}
    for service in (service for service in all_services.values() if service.kind in LOGINS):
        url, login = urlsplit(service.environment({}).get("DATABASE_URL", "")), LOGINS[service.kind]
        if url.username != login:
            yield f"{service.name} logs in as {url.username} and not as {login}"
        if f"create role {login} login password" not in made:
            yield f"postgres does not make the login {login}"
        if url.password != told.get(f"{login.upper()}_PASSWORD"):
            yield f"postgres is not told the password of {login}"


def volumes(document, all_services):
    for service in all_services.values():
        for entry in service.raw.get("volumes", []):
            name, _, path = entry.partition(":")
            if name not in (document.get("volumes") or {}):
                yield f"{service.name} keeps {path} in {name}, which is no named volume"
    for name in ("postgres", "rabbitmq"):
        if name in all_services and not all_services[name].raw.get("volumes"):
            yield f"{name} must keep its data in a volume"
