"""Run one program in a forked child and send back values, never verdicts; or run its tests beside it.

Everything here runs beside candidate code and may be tampered with by it; the judge believes none of it.
What the harness needs afterwards is bound before, and nothing is imported once candidate code has started.
"""

import gc
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from common.sandbox.confinement import Confinement
from common.sandbox.encoding import encode
from common.sandbox.executing import describe, execute, module_names
from common.sandbox.framing import pack
from common.sandbox.proxies.answering import Answerer

READY, FAILED = b"R", b"F"  # the first byte of the answers, written before candidate code can run
USUAL_RECURSION_LIMIT = 1000
_ENCODER_FRAMES = 400
_ANSWERING_FRAMES = 8  # between the harness and a function that the tests call

_exit, _write, _set_blocking = os._exit, os.write, os.set_blocking
_set_recursion_limit, _get_recursion_limit = sys.setrecursionlimit, sys.getrecursionlimit
_BaseException = BaseException

RunTests = Callable[[dict[str, Any], list[int], Any], dict[str, Any]]


def run_child(
    request: dict[str, Any],
    confinement: Confinement,
    result_fd: int,
    sockets: list[int],
    page: Any,
    run_tests: RunTests | None,
) -> NoReturn:
    """Confine this process, run what `request` asks for, answer, and leave without any exit hook.

    `calls`: the program, for tests that are plain; `code` alone: the program, which then answers its tests over the
    socket; `tests`: the tests, which reach the program, and a reference, over theirs. `page`: whose turn it is.
    """
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        confinement.enter(result_fd, *sockets)
        random.seed(0)
        gc.enable()
        os.write(result_fd, READY)
    except BaseException as error:  # whatever it is, it is the sandbox that failed, not the program
        os.write(result_fd, FAILED + repr(error).encode("utf-8", "replace"))
        _exit(1)
    try:
        if "calls" in request:
            _run_program(request, _sender(result_fd))
        elif "tests" in request:
            assert run_tests is not None  # only a server of tests is asked
            _sender(result_fd)(run_tests(request, sockets, page))
        else:
            _set_recursion_limit(USUAL_RECURSION_LIMIT + _depth() + _ANSWERING_FRAMES)
            Answerer(sockets[0]).run(request["code"], request["given"])
    except BaseException:  # the harness, broken by the candidate: the answers stop here
        pass
    _exit(0)


def _sender(result_fd: int) -> Callable[[Any], None]:
    def send(message: Any) -> None:
        view = memoryview(pack(message))
        while view:
            try:
                view = view[_write(result_fd, view) :]
            except BlockingIOError:  # a program may make any descriptor non-blocking
                _set_blocking(result_fd, True)

    return send


def _run_program(request: dict[str, Any], send: Callable[[Any], None]) -> None:
    """Code, then the tests' imports, then the call of each test; stops at the first exception."""
    names = module_names()
    # The harness's own frames must not count against the candidate's recursion: these, and one of `execute`.
    _set_recursion_limit(USUAL_RECURSION_LIMIT + _depth() + 1)
    failure = execute(request["code"], "<code>", names)
    if failure is not None:
        return send(["failed", *failure])
    failure = execute(request["imports"], "<imports>", names)
    if failure is not None:
        return send(["failed", "imports", *failure[1:]])
    for index, source in enumerate(request["calls"]):
        try:
            value = _value_of(source, names)
        except _BaseException as error:
            return send(["raised", index, *describe(error)])
        send(["value", index, value])
    return None


def _value_of(source: str, names: dict[str, Any]) -> Any:
    return _encoded(eval(compile(source, "<test>", "eval", dont_inherit=True), names))


def _depth() -> int:
    """How many frames are below the candidate's module."""
    frame, depth = sys._getframe(1), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _encoded(value: Any) -> Any:
    """The encoded value, with stack enough for the encoder whatever limit the candidate has set."""
    limit = _get_recursion_limit()
    _set_recursion_limit(limit + _ENCODER_FRAMES)
    try:
        return encode(value)
    finally:
        _set_recursion_limit(limit)
