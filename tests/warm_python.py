"""A `python` that starts warm: in its place, the process of `warm_commands.py` forks one that has the libraries.

    sh python run.py phase 1 ...   where `python` is what `warm_commands.write_python` has written

Only root scripts are lent a process; all else is run by the interpreter itself. This process stands for the other one:
it hands over its input, output, folder and environment, passes signals on, and ends as the other ended; and where this
one is killed the other is, too.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(address: str, words: list[str]) -> int:
    if not words or not words[0].endswith(".py"):
        os.execv(sys.executable, [sys.executable, *words])
    early: list[int] = []
    for number in PASSED_ON:
        signal.signal(number, lambda sent, _frame: early.append(sent))
    lender = socket.socket(socket.AF_UNIX)
    lender.connect(address)
    request = {"argv": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    request["leads"] = os.getsid(0) == os.getpid()
    socket.send_fds(lender, [b"{"], [0, 1, 2])
    lender.sendall((json.dumps(request)[1:] + "\n").encode())
    answers = lender.makefile()
    pid = int(answers.readline())
    for number in PASSED_ON:
        signal.signal(number, lambda sent, _frame: os.kill(pid, sent))
    for number in early:
        os.kill(pid, number)
    return int(answers.readline())


if __name__ == "__main__":
    status = main(sys.argv[1], sys.argv[2:])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
