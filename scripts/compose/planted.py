"""Faults that the checks must find: a check counts only once it has been seen to fail."""

import copy

from . import dockerfile, rules

INTO_COMPOSE = {
    "a key that is none": lambda services: services["redis"].update(imagee="redis"),
    "a number for a list": lambda services: services["redis"].update(cap_drop=7),
    "one instance less": lambda services: services.pop("relay-2"),
    "another service's command": lambda services: services["relay-2"].update(command=["serve", "admin"]),
    "any version of an image": lambda services: services["redis"].update(image="redis:latest"),
    "a wait for nobody": lambda services: services["relay-1"].update(depends_on={"cache": healthy()}),
    "a wait for a start alone": lambda services: services["relay-1"]["depends_on"].update(postgres=started()),
    "a wait in a circle": lambda services: services["postgres"].update(depends_on={"relay-1": healthy()}),
    "no health check": lambda services: services["rabbitmq"].pop("healthcheck"),
    "a writable root": lambda services: services["query-api-1"].update(read_only=False),
    "a capability": lambda services: services["query-api-1"].update(cap_add=["NET_ADMIN"]),
    "root": lambda services: services["query-api-1"].update(user="0:0"),
    "no grace": lambda services: services["admin-1"].pop("stop_grace_period"),
    "no bound of memory": lambda services: services["admin-1"].pop("deploy"),
    "a public port": lambda services: services["admin-1"].update(ports=["0.0.0.0:8082:8082"]),
    "the same port twice": lambda services: services["admin-2"].update(ports=["127.0.0.1:8082:8082"]),
    "a port nobody listens on": lambda services: services["admin-1"].update(ports=["127.0.0.1:8082:9999"]),
    "a setting misspelt": lambda services: services["relay-1"]["environment"].update(MOA_PARTITION="4"),
    "a setting missing": lambda services: services["relay-1"]["environment"].pop("AMQP_URL"),
    "everybody's login": lambda services: logs_in_as(services["relay-1"], "moa"),
    "another's login": lambda services: logs_in_as(services["query-api-2"], "command_api"),
    "a login that is not made": lambda services: services["postgres"].pop("configs"),
    "a password that is not told": lambda services: services["postgres"]["environment"].pop("RELAY_PASSWORD"),
    "no wait for the owner": lambda services: services["admin-1"]["depends_on"].pop("migrate"),
    "a wait for the owner's start alone": lambda services: services["admin-1"]["depends_on"].update(migrate=started()),
    "nobody who migrates": lambda services: services.pop("migrate"),
    "an owner that stays": lambda services: services["migrate"].update(restart="unless-stopped"),
    "a service without health": lambda services: services["relay-1"].update(healthcheck={"disable": True}),
    "data in the container": lambda services: services["postgres"].pop("volumes"),
    "an unknown volume": lambda services: services["postgres"].update(volumes=["pg:/var/lib/postgresql/data"]),
}
INTO_DOCKERFILE = {
    "another Rust": ("rust:1.95.0-slim-trixie", "rust:1.80.0-slim-trixie"),
    "no version of the image": (":nonroot", ""),
    "a user by name": ("USER 65532:65532", "USER nonroot"),
    "no stop signal": ("STOPSIGNAL SIGTERM", ""),
    "no health": ("HEALTHCHECK", "# HEALTHCHECK"),
    "a shell": ('ENTRYPOINT ["/usr/local/bin/moa"]', "ENTRYPOINT /usr/local/bin/moa"),
    "another lock": ("--locked", "--offline"),
    "a file that is not there": ("COPY . .", "COPY vendor ."),
}
INTO_IGNORE = {
    "a room left out": ("!projector", "!projecto"),
    "no migrations": ("!migrations", ""),
    "all of it": ("\n*\n", "\n"),
}


def logs_in_as(service, login):
    rest = service["environment"]["DATABASE_URL"].partition("://")[2].partition(":")[2]
    service["environment"]["DATABASE_URL"] = f"postgres://{login}:{rest}"


def healthy():
    return {"condition": "service_healthy"}


def started():
    return {"condition": "service_started"}


def unseen(document, text, ignore):
    """How many faults were planted, and the names of those that no check found."""
    missed = [name for name, plant in INTO_COMPOSE.items() if not rules.wrong(with_fault(document, plant))]
    for name, change in INTO_DOCKERFILE.items():
        missed += [] if dockerfile.wrong(changed(text, *change), ignore) else [name]
    for name, change in INTO_IGNORE.items():
        missed += [] if dockerfile.wrong(text, changed(ignore, *change)) else [name]
    return len(INTO_COMPOSE) + len(INTO_DOCKERFILE) + len(INTO_IGNORE), missed


def with_fault(document, plant):
    planted = copy.deepcopy(document)
    plant(planted["services"])
    return planted


def changed(text, old, new):
    # A fault that is not planted must not count as one that was missed, nor as one that was found.
    assert old in text, f"{old} is no longer there: plant the fault elsewhere"
    return text.replace(old, new)
