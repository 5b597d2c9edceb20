#!/usr/bin/env python3
"""compose.yaml and the Dockerfile where no container engine runs.

`validate` holds compose.yaml against the compose specification's schema and against rules of its own, the Dockerfile
against rules and a linter, and then plants faults into both and expects to find each.

`run` starts exactly the commands and the environment of compose.yaml, each service in a network of its own under its
name, as its user, with a root it cannot write; walks the whole path through the published ports; kills one of each and
walks again; and stops everything in order. The machine's own PostgreSQL, RabbitMQ and Redis stand for their images. It
needs root on Linux, and meets nothing else that runs on the machine.
"""

import argparse
import os
import sys
from pathlib import Path

from servers.kind import REPOSITORY, Unavailable, note

from compose import machine, tools

MOA = REPOSITORY / "target/release/moa"
# Stands for the token where nothing is started.
ANY_TOKEN = "only-to-read-the-file"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("validate", "run"))
    parser.add_argument("--moa", type=Path, default=MOA, help="the program to run, by default target/release/moa")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def validate():
    from compose import dockerfile, file, planted, rules
    document = file.load({"MOA_OPERATOR_TOKEN": ANY_TOKEN, **os.environ})
    text, ignore = (path.read_text(encoding="utf-8") for path in (dockerfile.DOCKERFILE, dockerfile.IGNORE))
    wrong = [*rules.wrong(document), *dockerfile.wrong(text, ignore)]
    if refused := dockerfile.unbuildable(ignore):
        wrong.append(f"cargo cannot read the build context: {refused}")
    linted = dockerfile.lint()
    wrong += linted or []
    count, unseen = planted.unseen(document, text, ignore)
    wrong += [f"a planted fault was not found: {name}" for name in unseen]
    for sentence in wrong:
        print(f"wrong: {sentence}", file=sys.stderr)
    if wrong:
        return 1
    note(f"compose.yaml fits the compose schema and its rules: {len(document['services'])} services")
    agrees = "there is no hadolint here" if linted is None else "hadolint finds nothing"
    note(f"Dockerfile fits its rules, cargo reads the build context, {agrees}")
    note(f"{count} planted faults, all found")
    return 0


def run(given):
    if given.inside:
        from compose import by_hand
        return by_hand.run(given.inside, given.moa)
    if not given.moa.is_file():
        raise Unavailable(f"there is no {given.moa}: cargo build --locked --release -p moa makes target/release/moa")
    return machine.enter(sys.argv[1:])


def main():
    given = arguments()
    try:
        tools.use_venv()
        return validate() if given.what == "validate" else run(given)
    except Unavailable as error:
        print(f"{error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
