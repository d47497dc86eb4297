"""Covers the scratch folder: what a program leaves does not slow the next, and what it hides counts."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from common.sandbox import Limits, scratch

RIGHT = "\ndef f(n): return n + 1"
TEST = "assert f(1) == 2"
MIB = 1 << 20
LIMITS = Limits(cpu_s=20, blocked_s=3, scratch_bytes=8 * MIB, file_bytes=4 * MIB)
SLOWEST_NEXT_S = 1.5  # on a busy machine; one program waits for what another left no longer than 0.05 s


def write(n_files: int, mib: int = 4) -> str:
    return f"for i in range({n_files}): open(str(i), 'wb').write(b'x' * ({mib} << 20))\n"


MESSES = {
    "unreadable and deep": (
        "os.umask(0)\nos.mkdir('a', 0o300); os.mkdir('a/b', 0)\n"
        "for i in range(900):\n    os.mkdir('d' * 200, 0o300); os.chdir('d' * 200)"
    ),
    "a folder in an unwritable folder": "os.mkdir('a'); os.mkdir('a/b'); os.mkdir('a/b/c', 0o500); os.mkdir('a/d', 0)",
    "names of every byte": (
        "for byte in set(range(1, 256)) - {47}:\n    os.mkdir(bytes([byte]) * 2); open(bytes([byte]) * 3, 'w').close()"
    ),
    "the names that moving uses": "for i in range(9): os.makedirs(f'.moved-{i}/x/y')",
    "an unusable mask": "os.umask(0o777)\nos.mkdir('a'); open('b', 'w').close()",
    "many files": "for i in range(100_000): os.close(os.open(str(i), os.O_CREAT | os.O_WRONLY))",
    "many folders": "for i in range(100_000): os.mkdir(str(i))",
    "many names of one file": "open('a', 'w').close()\nfor i in range(100_000): os.link('a', f'a{i}')",
}


@pytest.fixture(scope="module", params=[0, 2, 3], ids="level {}".format)
def small(request, open_at):
    """A sandbox with one worker and a small scratch folder, where programs can write at all."""
    with open_at(request.param, LIMITS, workers=1) as sandbox:
        yield sandbox


@pytest.mark.parametrize("mess", MESSES)
def test_the_next_program_finds_an_empty_folder_soon(small, program, mess):
    small.submit(program(f"import os\n{MESSES[mess]}{RIGHT}", TEST)).result()
    started = time.monotonic()
    next_one = f"import os\ndef f(n): return os.listdir('.') or open('a', 'w').write('x')  # {mess}"
    verdict = small.submit(program(next_one, "assert f(1) == 1")).result()
    assert verdict.label == "correct" and time.monotonic() - started < SLOWEST_NEXT_S, verdict


HIDDEN = {
    "behind many names": f"for i in range(1500): open(f'n{{i}}', 'w').close()\n{write(2)}",
    "in an unreadable folder": f"os.mkdir('a', 0o300); os.chdir('a')\n{write(3)}",
    "in a deep folder": f"for i in range(50): os.mkdir('d' * 200); os.chdir('d' * 200)\n{write(3)}",
    "in files without a name": (
        "kept = [tempfile.TemporaryFile() for i in range(3)]\nfor t in kept: t.write(b'x' * (4 << 20))"
    ),
    "in removed files": (
        "kept = []\nfor i in range(3):\n"
        "    kept.append(open('a', 'wb', 0)); kept[-1].write(b'x' * (4 << 20)); os.remove('a')"
    ),
    "in removed files that only memory holds": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.mmap.restype = ctypes.c_void_p\nfor i in range(3):\n"
        "    with open('a', 'wb+', 0) as t:\n        t.write(b'x' * (4 << 20))\n"
        "        libc.mmap(None, ctypes.c_size_t(4096), 1, 2, t.fileno(), ctypes.c_long(0))\n    os.remove('a')"
    ),
    "in room beyond the end": (
        "import ctypes\nfd = os.open('a', os.O_RDWR | os.O_CREAT)\n"
        "assert ctypes.CDLL(None).fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(64 << 20)) == 0"
    ),
}


@pytest.mark.parametrize("place", HIDDEN)
def test_what_a_program_hides_counts(small, program, place):
    code = f"import os, tempfile, time\n{HIDDEN[place]}\ntime.sleep(0.6){RIGHT}"
    verdict = small.submit(program(code, TEST)).result()
    assert verdict.label == "incorrect", verdict
    if small.isolation.level == 2 and place != "in room beyond the end":  # which is refused
        assert verdict.message == "it filled its scratch folder beyond 8 MiB"


SMALL_USE = {
    "a large file with holes": "for i in range(9): os.ftruncate(os.open(str(i), os.O_RDWR | os.O_CREAT), 4 << 20)",
    "many names of one file": "open('a', 'wb').write(b'x' * (3 << 20))\nfor i in range(50): os.link('a', f'a{i}')",
    "files that come and go": "for i in range(40):\n    open('a', 'wb').write(b'x' * (3 << 20)); os.remove('a')",
    "a thousand files": "for i in range(1000): open(f'n{i}', 'w').close()",
    "shared memory": "import mmap\nkept = [mmap.mmap(-1, 4 << 20) for i in range(9)]",
}


@pytest.mark.parametrize("use", SMALL_USE)
def test_what_takes_little_room_is_legal(small, program, use):
    verdict = small.submit(program(f"import os, time\n{SMALL_USE[use]}\ntime.sleep(0.3){RIGHT}", TEST)).result()
    assert verdict.label == "correct", verdict


def test_a_scratch_folder_that_a_cleaner_took_is_made_again(open_at, program):
    with open_at(2, workers=1) as sandbox:
        shutil.rmtree(sandbox._clients[0].scratch)
        verdict = sandbox.submit(program("def f(n): return open('a', 'w').write('x')", "assert f(1) == 1")).result()
    assert verdict.label == "correct", verdict


@pytest.fixture
def on_disk():
    folder = scratch.make()
    yield scratch.OnDisk(folder, LIMITS)
    scratch.remove(folder)
    assert not os.path.exists(folder) and not os.path.exists(f"{folder}.aside")


def test_what_cannot_be_removed_in_time_goes_bit_by_bit(on_disk, monkeypatch):
    for number in range(50):
        os.makedirs(f"{on_disk.folder}/{number}/a/b")
    monkeypatch.setattr(scratch, "_PATIENCE_S", 0.0)
    assert on_disk.empty_or_replace() and os.listdir(on_disk.folder) == []
    assert not on_disk.empty_or_replace() and os.listdir(f"{on_disk.folder}.aside")
    monkeypatch.setattr(scratch, "_PATIENCE_S", 60.0)
    assert not on_disk.empty_or_replace() and not os.path.exists(f"{on_disk.folder}.aside")


def test_a_link_in_the_place_of_a_folder_is_not_followed(on_disk, tmp_path):
    (tmp_path / "kept").mkdir(mode=0o500)
    os.symlink(tmp_path / "kept", f"{on_disk.folder}/link")
    assert on_disk.used_bytes(os.getpid()) <= 2 * scratch.NAME_BYTES
    assert not on_disk.empty_or_replace()
    os.rmdir(on_disk.folder)
    os.symlink(tmp_path / "kept", on_disk.folder)  # a program without isolation can do this
    assert on_disk.used_bytes(os.getpid()) == 0 and on_disk.empty_or_replace()
    assert os.listdir(tmp_path) == ["kept"] and (tmp_path / "kept").stat().st_mode & 0o777 == 0o500


MOVER = """
import os, sys
os.chdir(sys.argv[1])
for name in 'xy': os.makedirs(name)
os.makedirs('x/inner/most')
open('x/inner/most/file', 'wb').write(b'x' * (3 << 20))
print(flush=True)
while True:
    os.rename('x/inner', 'y/inner'), os.rename('y/inner', 'x/inner')
"""


def test_folders_that_move_while_they_are_counted_do_no_harm(on_disk):
    with subprocess.Popen([sys.executable, "-c", MOVER, on_disk.folder], stdout=subprocess.PIPE) as mover:
        mover.stdout.readline()
        counts = [on_disk.used_bytes(mover.pid) for _ in range(300)]
        mover.kill()
    assert max(counts) >= 3 * MIB
