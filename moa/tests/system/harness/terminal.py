"""Runs a program on a terminal of so many columns, and copies what it prints: terminal.py COLUMNS PROGRAM [ARGUMENT...]"""

import fcntl
import os
import pty
import struct
import sys
import termios

ROWS = 24
columns, program = int(sys.argv[1]), sys.argv[2:]
errors = os.dup(2)
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    os.dup2(errors, 2)
    os.execv(program[0], program)
while True:
    try:
        read = os.read(terminal, 65_536)
    except OSError:  # On Linux that is the end.
        break
    if not read:
        break
    sys.stdout.buffer.write(read.replace(b"\r\n", b"\n"))
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
