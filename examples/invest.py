"""Invests as a client should: with an idempotency key, again when an answer is lost, and follows what becomes of it. Standard library only.

    python3 examples/invest.py USER PRODUCT_ID AMOUNT [--lose-answer]

--lose-answer hangs up on the first answer unread, to show that the request sent again is not a second invest.
"""
import http.client
import json
import os
import select
import sys
import time
import uuid
from urllib.parse import urlsplit

READ = os.environ.get("MOA_READ_URL", "http://127.0.0.1:8080")
WRITE = os.environ.get("MOA_WRITE_URL", "http://127.0.0.1:8081")
# While nothing changes a stream has a comment every 15 s: one without two of them is broken.
ATTEMPTS, PAUSE_SECONDS, ANSWER_TIMEOUT_SECONDS, SILENCE_TIMEOUT_SECONDS = 5, 1, 15, 35


def call(base, method, path, headers, body=None, hangs_up=False):
    """One request: status, headers and the envelope. Raises OSError or HTTPException when there is no whole answer."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=ANSWER_TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json", **headers})
        if hangs_up:
            select.select([connection.sock], [], [], ANSWER_TIMEOUT_SECONDS)
            raise ConnectionError("hung up")
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def read(path, **headers):
    """The headers and the data of a read."""
    _, said, envelope = call(READ, "GET", path, headers)
    if not envelope["result"]:
        sys.exit(f"refused: {envelope['code']}: {envelope['message']}")
    return said, envelope["data"]


def invest(user, product, amount, lose_answer):
    """The headers and the envelope of the final answer. The key makes it safe to ask again."""
    headers = {"X-USER-ID": user, "Idempotency-Key": str(uuid.uuid4())}
    for attempt in range(ATTEMPTS):
        try:
            status, said, envelope = call(WRITE, "POST", "/api/invest", headers,
                                          {"productId": product, "investAmount": amount}, lose_answer and attempt == 0)
            if status not in (429, 503):
                return said, envelope
            time.sleep(int(said.get("Retry-After", PAUSE_SECONDS)))
        except (OSError, http.client.HTTPException) as error:
            print(f"no answer ({error}): asking again with the same key", file=sys.stderr)
            time.sleep(PAUSE_SECONDS)
    sys.exit(f"invest.py: no answer after {ATTEMPTS} attempts; is Moa at {WRITE}?")


def events(user):
    """The data of each event of one connection to the user's stream. It begins with the latest invests as they are."""
    connection = http.client.HTTPConnection(urlsplit(READ).netloc, timeout=SILENCE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/api/invest/log/stream", headers={"X-USER-ID": user})
        answer = connection.getresponse()
        if answer.status != 200:
            raise ConnectionError(f"status {answer.status}")
        for line in answer:
            if line.startswith(b"data: "):  # Moa's data is one line of JSON
                yield json.loads(line.removeprefix(b"data: "))
    finally:
        connection.close()


def follow(user, invest_id):
    """The invest once it has its fate. A stream that ends or breaks is opened again: it begins with the state of now."""
    for _ in range(ATTEMPTS):
        try:
            for shown in events(user):
                if shown["investId"] == invest_id and shown["state"] != "RESERVED":
                    return shown
        except (OSError, http.client.HTTPException) as error:
            print(f"the stream broke ({error}): following again", file=sys.stderr)
        time.sleep(PAUSE_SECONDS)
    sys.exit(f"invest.py: {invest_id} is reserved; what becomes of it shows later at {READ}/api/invest/log/{invest_id}")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--lose-answer"]
    if len(arguments) != 3 or not all(number.isdigit() for number in arguments[1:]):
        sys.exit("invest.py: say who, in what and how much: invest.py USER PRODUCT_ID AMOUNT [--lose-answer]")
    user, product, amount = arguments[0], int(arguments[1]), int(arguments[2])
    _, products = read("/api/product")
    for item in products["list"]:
        print(f"open: {item['productId']} {item['title']}, {item['currentInvestingAmount']} of {item['totalInvestingAmount']}")

    said, envelope = invest(user, product, amount, "--lose-answer" in sys.argv)
    if not envelope["result"]:
        sys.exit(f"refused: {envelope['code']}: {envelope['message']}")
    invest_id = said["X-Invest-Id"]
    print("accepted:", invest_id, "replayed" if said.get("Idempotency-Replayed") else "first answer")

    # With the token the invest is there at once, wherever it is read.
    _, shown = read(f"/api/invest/log/{invest_id}", **{"X-USER-ID": user, "X-Consistency-Token": said["X-Consistency-Token"]})
    print(f"read: {shown['investAmount']} in {shown['title']}, {shown['state']}")
    print("followed:", follow(user, invest_id)["state"])


if __name__ == "__main__":
    try:
        main()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"invest.py: no answer ({error}); is Moa at {READ}?")
