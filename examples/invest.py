"""Invests as a client should: with an idempotency key, again when an answer is lost, and reads what became of it. Standard library only.

    python3 examples/invest.py USER PRODUCT_ID AMOUNT [--lose-answer]

--lose-answer hangs up before the first answer comes, to show that the request sent again is not a second invest.
"""
import http.client
import json
import os
import sys
import time
import uuid
from urllib.parse import urlsplit

READ = os.environ.get("MOA_READ_URL", "http://127.0.0.1:8080")
WRITE = os.environ.get("MOA_WRITE_URL", "http://127.0.0.1:8081")
ATTEMPTS, PAUSE_SECONDS, ANSWER_TIMEOUT_SECONDS = 5, 1, 15


def call(base, method, path, headers, body=None, hangs_up=False):
    """One request: status, headers and the envelope. Raises OSError or HTTPException when there is no whole answer."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=ANSWER_TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json", **headers})
        if hangs_up:
            raise ConnectionError("hung up")
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


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


def became(user, invest_id, token):
    """What became of the invest. With the token it is there at once; its fate takes a moment."""
    for _ in range(ATTEMPTS):
        headers = {"X-USER-ID": user, "X-Consistency-Token": token}
        _, said, envelope = call(READ, "GET", f"/api/invest/log/{invest_id}", headers)
        token = said["X-Consistency-Token"]  # the last one, so that time never goes backwards
        if envelope["result"] and envelope["data"]["state"] != "RESERVED":
            break
        time.sleep(PAUSE_SECONDS)
    return envelope["data"]


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--lose-answer"]
    if len(arguments) != 3 or not all(number.isdigit() for number in arguments[1:]):
        sys.exit("invest.py: say who, in what and how much: invest.py USER PRODUCT_ID AMOUNT [--lose-answer]")
    user, product, amount = arguments[0], int(arguments[1]), int(arguments[2])
    said, envelope = invest(user, product, amount, "--lose-answer" in sys.argv)
    if not envelope["result"]:
        sys.exit(f"refused: {envelope['code']}: {envelope['message']}")
    print("accepted", said["X-Invest-Id"], "replayed" if said.get("Idempotency-Replayed") else "first answer")
    fate = became(user, said["X-Invest-Id"], said["X-Consistency-Token"])
    print(fate["state"], fate["investAmount"], "of", fate["title"])


if __name__ == "__main__":
    main()
