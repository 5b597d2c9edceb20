"""The Dockerfile, as far as it can be checked where no engine builds it."""

import json
import re
import shutil
import tempfile
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from servers.kind import REPOSITORY, last_line, quiet

from .tools import hadolint

DOCKERFILE = REPOSITORY / "Dockerfile"
IGNORE = REPOSITORY / ".dockerignore"
LIMIT_S = 120


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str
    stage: int

    def json(self):
        """The exec form's words; None for the shell form."""
        try:
            return json.loads(self.rest)
        except ValueError:
            return None


def instructions(text):
    """The instructions, lines joined, comments dropped, with the number of their stage from 1."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found, stage = [], 0
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        stage += word.upper() == "FROM"
        if word:
            found.append(Instruction(word.upper(), rest.strip(), stage))
    return found


def last_of(found, word):
    """What the image has of this instruction: the last one of the last stage."""
    own = [one for one in found if one.word == word and one.stage == found[-1].stage]
    return own[-1] if own else None


def entrypoint():
    return last_of(instructions(DOCKERFILE.read_text(encoding="utf-8")), "ENTRYPOINT").json()


def wrong(text, ignore):
    """Everything that is wrong with a Dockerfile and its .dockerignore, one sentence each."""
    found = instructions(text)
    return [*images(found), *image(found), *sources(found, ignore)]


def images(found):
    channel = tomllib.loads((REPOSITORY / "rust-toolchain.toml").read_text(encoding="utf-8"))["toolchain"]["channel"]
    froms = [one.rest.split()[0] for one in found if one.word == "FROM"]
    if len(froms) < 2:
        yield "the Dockerfile must build in a stage of its own"
    if not froms[0].startswith(f"rust:{channel}-"):
        yield f"the Dockerfile builds in {froms[0]}, rust-toolchain.toml says {channel}"
    yield from (f"{name} has no version" for name in froms if name.endswith(":latest") or ":" not in name)


def image(found):
    user, stop = last_of(found, "USER"), last_of(found, "STOPSIGNAL")
    health, entry = last_of(found, "HEALTHCHECK"), last_of(found, "ENTRYPOINT")
    if not user or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.rest):
        yield "the image must run as a numeric user that is not root"
    if not stop or stop.rest != "SIGTERM":
        yield "the image must be stopped by SIGTERM"
    if not health or "healthcheck" not in health.rest:
        yield "the image must check its own health"
    if not entry or not isinstance(entry.json(), list):
        yield "the entry point must be in the exec form: there is no shell, and signals must arrive"
    builds = [one.rest for one in found if one.word == "RUN" and "cargo build" in one.rest]
    if not builds or not all("--locked" in line and "-p moa" in line for line in builds):
        yield "the Dockerfile must build -p moa --locked"


def sources(found, ignore):
    context = [path.name for path in REPOSITORY.iterdir() if reaches(path.name, ignore)]
    for one in (one for one in found if one.word in ("COPY", "ADD")):
        names = [word for word in one.rest.split() if not word.startswith("--")][:-1]
        outside = [] if "--from=" in one.rest else [name for name in names if name != "." and name not in context]
        yield from (f"COPY {name}: the context has no such file" for name in outside)
    workspace = tomllib.loads((REPOSITORY / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]
    needed = {"Cargo.toml", "Cargo.lock", "migrations", *workspace["members"]}
    yield from (f".dockerignore keeps {name} from the build" for name in sorted(needed - set(context)))
    # Whether they are there or not.
    unwanted = {".env", ".git", "target"}
    beyond = (set(context) | {name for name in unwanted if reaches(name, ignore)}) - needed
    yield from (f".dockerignore lets {name} into the build" for name in sorted(beyond))


def reaches(path, ignore):
    """Whether a path inside the repository is sent to the builder: the last pattern that fits decides."""
    sent, parts = True, path.split("/")
    for line in (line.strip() for line in ignore.splitlines()):
        pattern = line.lstrip("!").strip("/")
        if not line or line.startswith("#"):
            continue
        heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        if any(fits(head, pattern) for head in heads):
            sent = line.startswith("!")
    return sent


def fits(path, pattern):
    # `**/` stands for any folders, none included.
    return fnmatch(path, pattern) or (pattern.startswith("**/") and fnmatch(path.rpartition("/")[2], pattern[3:]))


def copy_context(into, ignore):
    """Lays out what the builder would get."""
    def left_out(folder, names):
        inside = Path(folder).relative_to(REPOSITORY)
        return [name for name in names if not reaches((inside / name).as_posix(), ignore)]
    shutil.copytree(REPOSITORY, into, ignore=left_out, dirs_exist_ok=True, symlinks=True)


def unbuildable(ignore):
    """Why cargo cannot build from the context; None when it can at least read all of it and the lock fits."""
    with tempfile.TemporaryDirectory(prefix="moa-context-") as folder:
        copy_context(folder, ignore)
        command = ["cargo", "metadata", "--locked", "--offline", "--format-version=1", "--no-deps"]
        done = quiet(command, cwd=folder, timeout=LIMIT_S)
        return None if done.returncode == 0 else last_line(done.stderr)


def lint():
    """What hadolint says, line by line; None when there is no hadolint."""
    program = hadolint()
    if program is None:
        return None
    done = quiet([program, "--no-color", str(DOCKERFILE)], timeout=LIMIT_S)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
