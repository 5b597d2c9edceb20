"""compose.yaml as an engine would see it: anchors merged, variables put in, services in the order of their start."""

import os
import re
from dataclasses import dataclass, field

import yaml

from servers.kind import REPOSITORY, Unavailable

COMPOSE = REPOSITORY / "compose.yaml"
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<mode>:?[-?])(?P<rest>[^}]*))?\})")
DURATION = re.compile(r"(\d+)(ms|s|m|h)")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Health:
    """A health check. Times are in seconds."""

    test: list
    interval: float
    timeout: float
    retries: int
    start_period: float


@dataclass(frozen=True)
class Service:
    """One service: what of it an engine would start."""

    name: str
    raw: dict = field(repr=False)
    configs: dict = field(repr=False, default_factory=dict)

    @property
    def kind(self):
        """The name without the number of the instance."""
        return self.name.rstrip("0123456789").rstrip("-")

    @property
    def image(self):
        return self.raw.get("image", "")

    @property
    def is_moa(self):
        return "build" in self.raw

    @property
    def command(self):
        return list(self.raw.get("command", []))

    @property
    def after(self):
        return list(self.raw.get("depends_on", {}))

    @property
    def stop_grace_s(self):
        return seconds(self.raw.get("stop_grace_period", "10s"))

    @property
    def tmpfs(self):
        """Path and mount options of each."""
        return [entry.partition(":")[::2] for entry in self.raw.get("tmpfs", [])]

    @property
    def ports(self):
        """Of each published port: the address and port of the host, and the container's."""
        return [tuple(entry.rsplit(":", 2)) for entry in self.raw.get("ports", [])]

    @property
    def is_one_shot(self):
        """Whether it does its work and ends."""
        return self.raw.get("healthcheck", {}).get("disable", False)

    @property
    def mounted(self):
        """Of each file of the repository that it is given: the file, and where it is in the container."""
        return [(REPOSITORY / self.configs[given["source"]]["file"], given["target"])
                for given in self.raw.get("configs", [])]

    @property
    def health(self):
        raw = self.raw["healthcheck"]
        times = [seconds(raw.get(name, "0s")) for name in ("interval", "timeout")]
        return Health(raw["test"][1:], *times, int(raw.get("retries", 3)), seconds(raw.get("start_period", "0s")))

    def environment(self, caller=os.environ):
        """What the container's process gets; a setting without a value is the caller's, if it has one."""
        given = self.raw.get("environment", {})
        taken = {name: caller.get(name) if value is None else str(value) for name, value in given.items()}
        return {name: value for name, value in taken.items() if value is not None}


def seconds(text):
    """Of a duration such as 1m30s."""
    parts = DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise Unavailable(f"{text} is no duration: say e.g. 10s")
    return sum(int(number) * SECONDS[unit] for number, unit in parts)


def load(caller=os.environ):
    """The whole file, with the caller's variables put in."""
    return put_in(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")), caller)


def put_in(value, caller):
    if isinstance(value, dict):
        return {name: put_in(inner, caller) for name, inner in value.items()}
    if isinstance(value, list):
        return [put_in(inner, caller) for inner in value]
    return VARIABLE.sub(lambda match: variable(match, caller), value) if isinstance(value, str) else value


def variable(match, caller):
    name, mode, rest = match["name"], match["mode"] or "", match["rest"]
    if name is None:
        return "$"
    value = caller.get(name)
    if value is None or (value == "" and mode.startswith(":")):
        if mode.endswith("?"):
            raise Unavailable(f"{name} is missing: {rest}")
        return rest or ""
    return value


def services(document):
    configs = document.get("configs", {})
    return {name: Service(name, raw, configs) for name, raw in document["services"].items()}


def start_order(all_services):
    """The services in rounds: each comes after all that it depends on."""
    rounds, left = [], dict(all_services)
    while left:
        ready = [service for service in left.values() if not any(name in left for name in service.after)]
        if not ready:
            raise Unavailable(f"{', '.join(sorted(left))} wait for each other in depends_on")
        rounds.append(ready)
        left = {name: service for name, service in left.items() if service not in ready}
    return rounds
