"""Covers common/stopping.py: a stop signal is not lost where Python drops exceptions."""

import subprocess
import sys

import pytest
from support import ROOT

DESTRUCTOR = """
import logging, signal, sys, time
from common.stopping import StopRequest, lose_no_interrupt

class Held:
    def __del__(self):
        signal.raise_signal(signal.{name})
        print("in the destructor", file=sys.stderr)  # the handler has raised before this line

lose_no_interrupt()
StopRequest().listen(logging.getLogger())
Held()
print("Python went on")
try:
    time.sleep(30)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_that_comes_in_a_destructor_still_stops_the_process(name):
    done = subprocess.run(
        [sys.executable, "-c", DESTRUCTOR.format(name=name)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "Python went on\nstopped\n" and done.stderr == ""


def test_other_exceptions_in_a_destructor_are_still_told():
    text = DESTRUCTOR.replace("signal.raise_signal(signal.{name})", "raise OSError('told')").replace("30", "0")
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "OSError: told" in done.stderr and done.stdout == "Python went on\n"


INTERRUPTED = """
import sys
from common.cli import exit_with

class Field:
    def __set_name__(self, owner, name):
        raise {error}

def main(argv):
    class Config:
        x = Field()

exit_with(main)
"""


@pytest.mark.parametrize(("error", "status"), [("KeyboardInterrupt", 130), ("ValueError('told')", 1)])
def test_a_signal_that_comes_while_a_class_is_made_stops_the_process(error, status):
    """Python 3.11 wraps whatever is raised in __set_name__, an interrupt too."""
    text = INTERRUPTED.format(error=error)
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == status and ("Traceback" in done.stderr) == (status == 1), done.stderr


CLOSED_TWICE = """import os, shutil, sys
from common.cli import exit_with
close, folder = os.close, sys.argv[1]
def interrupted(descriptor):
    close(descriptor)
    os.close = close
    raise {error}
def main(argv):
    os.close = interrupted
    shutil.rmtree(folder)
exit_with(main)
"""


@pytest.mark.parametrize(("error", "status"), [("KeyboardInterrupt", 130), ("ValueError", 1)])
def test_a_signal_that_comes_while_a_folder_is_removed_stops_the_process(tmp_path, error, status):
    """rmtree closes a folder a second time when the first close was interrupted, and that raises OSError."""
    (tmp_path / "inner").mkdir()
    text = CLOSED_TWICE.format(error=error)
    words = [sys.executable, "-c", text, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == status and ("Traceback" in done.stderr) == (status == 1), done.stderr
