"""What the scripts need beyond Python's own library: an environment in target/, made once."""

import os
import shutil
import sys
from pathlib import Path

from servers.kind import DOWNLOAD_TIMEOUT_S, REPOSITORY, Unavailable, last_line, note, quiet, unpack_wheel

VENV = REPOSITORY / "target/compose-venv"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SCHEMA = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"


def use_venv():
    """Goes on in the environment; makes it first when it is not there or was made from other requirements."""
    if Path(sys.prefix) == VENV:
        return
    made_from = VENV / REQUIREMENTS.name
    if not made_from.is_file() or made_from.read_bytes() != REQUIREMENTS.read_bytes():
        make_venv()
        shutil.copy(REQUIREMENTS, made_from)
    os.execv(VENV / "bin/python", [str(VENV / "bin/python"), *sys.argv])


def make_venv():
    note("making target/compose-venv, once")
    steps = ([sys.executable, "-I", "-m", "venv", "--clear", VENV],
             [VENV / "bin/python", "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
              "--requirement", REQUIREMENTS])
    for step in steps:
        done = quiet(step, timeout=DOWNLOAD_TIMEOUT_S)
        if done.returncode != 0:
            raise Unavailable(f"target/compose-venv cannot be made ({last_line(done.stderr)}): pip must reach a "
                              f"package index once, for {REQUIREMENTS.name}")


def schema_text():
    """The schema of compose files, downloaded at the first use."""
    schema = unpacked("schema.txt") / SCHEMA
    return schema.read_text(encoding="utf-8")


def hadolint():
    """The linter of Dockerfiles; None where there is none for this machine."""
    if found := shutil.which("hadolint"):
        return found
    try:
        folder = unpacked("hadolint.txt")
    except Unavailable:
        return None
    return next(folder.glob("*/scripts/hadolint"), None)


def unpacked(requirement):
    """The folder of a wheel that a file beside this one pins by its digest."""
    pinned = Path(__file__).with_name(requirement)
    folder = VENV / pinned.stem
    done = folder / pinned.name
    if not done.is_file() or done.read_bytes() != pinned.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        if not unpack_wheel(pinned, folder):
            raise Unavailable(f"the wheel of {pinned.name} cannot be had: pip must reach a package index once")
        shutil.copy(pinned, done)
    return folder
