"""The fork-server of tests: as server.py, with what runs tests as they are written."""

import functools

from common.sandbox import server
from common.sandbox.proxies.running import read_ahead, run_tests

main = functools.partial(server.main, run_tests, read_ahead)
