"""The whole path, from the operator's product to the number on the screen, through the published ports."""

import http.client
import json
import re
import time
from datetime import datetime, timedelta, timezone

from servers.kind import Unavailable, last_line, quiet

# A view has caught up this long after any fault.
PATIENCE_S = 30
ANSWER_S = 10
POLL_S = 0.05
INVESTS = 20
AMOUNT = 10
METRIC = re.compile(r"^(\w+)(\{[^}]*\})?\s+(\S+)", re.MULTILINE)


class Broken(Exception):
    """Its text is one sentence: what the path did not do."""


class Path:
    """Walks through the instances with the given numbers; what each step saw goes into `report`."""

    def __init__(self, containers, moa, token, report):
        self.containers, self.moa, self.token, self.report = containers, moa, token, report
        self.walks = 0

    def walk(self, numbers):
        self.walks += 1
        kinds = ("command-api", "query-api", "admin")
        commands, queries, admins = ([f"{kind}-{number}" for number in numbers] for kind in kinds)
        product = self.open_product(admins[0])
        invests = self.invest(commands, product)
        self.settled(queries, invests)
        self.shown(queries, product, len(invests))
        for admin in admins:
            self.status(admin)

    def open_product(self, admin):
        now = datetime.now(timezone.utc)
        starts, finishes = ((now + timedelta(hours=hours)).isoformat(timespec="seconds") for hours in (-1, 24))
        said = self.program(admin, "product", "open", "--title", f"By hand {self.walks}", "--total", "1000000",
                            "--starts", starts, "--finishes", finishes)
        match = re.search(r"Opened product (\d+)", said)
        if not match:
            raise Broken(f"moa product open said {said}")
        self.report("moa product open", admin, f"product {match[1]}")
        return int(match[1])

    def invest(self, commands, product):
        """Invests in turns through each; returns the user and id of each."""
        made = []
        for index in range(INVESTS):
            user = f"walker-{self.walks}-{index}"
            body = {"productId": product, "investAmount": AMOUNT}
            command = commands[index % len(commands)]
            answer, headers = self.ask(command, "POST", "/api/invest", body, {"X-USER-ID": user})
            if answer.get("data") != "OK":
                raise Broken(f"an invest was answered {answer}")
            made.append((user, headers["X-Invest-Id"], headers["X-Consistency-Token"], time.monotonic()))
        self.report("POST /api/invest", ", ".join(commands), f"{len(made)} x OK")
        return made

    def settled(self, queries, invests):
        """Waits until every view says SUCCESS of all of them."""
        for query in queries:
            waits = [self.success(query, *invest) for invest in invests]
            self.report("GET /api/invest/log/{id}", query, f"{len(waits)} x SUCCESS, the last after {max(waits):.1f} s")

    def success(self, query, user, invest_id, token, since):
        headers = {"X-USER-ID": user, "X-Consistency-Token": token}
        def seen():
            answer, _ = self.ask(query, "GET", f"/api/invest/log/{invest_id}", headers=headers)
            return (answer.get("data") or {}).get("investResult") == "SUCCESS"
        self.until(seen, f"{query} does not show invest {invest_id} as SUCCESS")
        return time.monotonic() - since

    def shown(self, queries, product, users):
        """Waits until every list has the same numbers: the right ones."""
        expected = {"currentInvestingAmount": users * AMOUNT, "investingCnt": users, "investStatus": "ONGOING"}
        for query in queries:
            def right(query=query):
                answer, _ = self.ask(query, "GET", "/api/product?page=0&size=1000")
                found = [item for item in answer["data"]["list"] if item["productId"] == product]
                return bool(found) and expected.items() <= found[0].items()
            self.until(right, f"{query} does not show product {product} with {expected}")
            self.report("GET /api/product", query, f"product {product}: {users * AMOUNT} won of {users} users")

    def status(self, admin):
        """Waits until every consumer has read the whole log."""
        seen = []
        def caught_up():
            seen[:] = json.loads(self.program(admin, "status", "--json"))["list"]
            return seen and all(one["lagEvents"] == 0 and one["state"] == "RUNNING" for one in seen)
        self.until(caught_up, f"moa status of {admin} shows a consumer behind or stopped")
        self.report("moa status", admin, f"lag 0: {', '.join(one['name'] for one in seen)}")

    def carried(self, queries, ways):
        """Waits until each of these has been counted: a name, and the label that it must have."""
        def total(name, label):
            return sum(value for found, labels, value in self.samples() if found == name and label in labels)
        for what, (name, label) in ways.items():
            def counted(name=name, label=label):
                for query in queries:
                    self.ask(query, "GET", "/api/product")
                return total(name, label) > 0
            self.until(counted, f"{name}{{{label}}} is 0 everywhere: no {what}")
            self.report("counted", what, f"{total(name, label):.0f}")

    def samples(self):
        """Name, labels and value of everything that the ops ports tell."""
        ports = [(one.address, self.ops_port(one)) for one in self.serving()]
        found = [sample for address, port in ports for sample in METRIC.findall(fetch(address, port, "/metrics"))]
        return [(name, labels, float(value)) for name, labels, value in found]

    def ops(self):
        """Reads every ops port."""
        for container in self.serving():
            port = self.ops_port(container)
            found = METRIC.findall(fetch(container.address, port, "/metrics"))
            ready = fetch(container.address, port, "/readyz").strip()
            self.report("GET /metrics, /readyz", f"{container.name}:{port}", f"{len(found)} values, {ready}")

    def serving(self):
        """Moa's services that go on running."""
        all_of_them = self.containers.values()
        return [one for one in all_of_them if one.service.is_moa and not one.service.is_one_shot]

    @staticmethod
    def ops_port(container):
        listens = [container.environment.get(name) for name in ("MOA_OPS_LISTEN", "MOA_ADMIN_LISTEN")]
        return int(next(filter(None, listens)).rpartition(":")[2])

    def ask(self, name, method, path, body=None, headers=None):
        host, port, _ = self.containers[name].service.ports[0]
        connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_S)
        sent = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, path, json.dumps(body) if body else None, {**sent, **(headers or {})})
            response = connection.getresponse()
            return json.loads(response.read()), response.headers
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Broken(f"{name} did not answer {method} {path} ({error or type(error).__name__})") from error
        finally:
            connection.close()

    def program(self, admin, *arguments):
        """What the operator's command prints, asking this admin as an operator of the machine does."""
        host, port, _ = self.containers[admin].service.ports[0]
        environment = {"MOA_ADMIN_URL": f"http://{host}:{port}", "MOA_OPERATOR_TOKEN": self.token, "HOME": "/"}
        done = quiet([self.moa, *arguments], env=environment, timeout=2 * ANSWER_S)
        if done.returncode != 0:
            raise Broken(f"moa {arguments[0]} through {admin} failed ({last_line(done.stderr)})")
        return done.stdout

    @staticmethod
    def until(condition, otherwise):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise Broken(f"{otherwise} within {PATIENCE_S} s")
            time.sleep(POLL_S)


def fetch(host, port, path):
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{host}:{port}{path} does not answer ({error})") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Broken(f"{host}:{port}{path} answered {response.status} {text.strip()}")
    return text
