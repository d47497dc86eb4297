"""Covers docs/first_look.ipynb: it runs on the organism, and what is stored in it is what its cells say."""

import re
import sys

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from support import ROOT, in_whole_sweeps

NOTEBOOK = ROOT / "docs" / "first_look.ipynb"
MINUTES = 15  # on a machine that has much else to do; alone it takes less than three


def read():
    return nbformat.read(NOTEBOOK, 4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell) -> str:
    """What a cell printed or showed, as text."""
    return "".join(out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in cell.outputs)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook, run anew from the repository's folder by the Python of the tests."""
    notebook = read()
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    manager = AsyncKernelManager()
    manager.kernel_spec.argv[0] = sys.executable
    resources = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, km=manager, timeout=60 * MINUTES, resources=resources).execute()
    return notebook


@pytest.mark.sweep
@in_whole_sweeps
def test_every_cell_runs_and_says_something(executed):
    *_, last = code_cells(executed)
    assert re.search(r"raises|lowers|measurable|cannot|changes", text_of(last))
    silent = [cell.source for cell in code_cells(executed) if not cell.outputs]
    assert silent == [code_cells(executed)[0].source]  # settings


@pytest.mark.sweep
@in_whole_sweeps
def test_what_is_stored_is_what_the_cells_say(executed):
    """Names of run folders begin with the time; everything else is the same anywhere, but for the last digits."""
    for stored, anew in zip(code_cells(read()), code_cells(executed), strict=True):
        assert [out.output_type for out in stored.outputs] == [out.output_type for out in anew.outputs], stored.source
        then, now = (re.sub(r"\d{4}-\d\d-\d\dT[\d-]+Z", "TIME", text_of(cell)) for cell in (stored, anew))
        assert re.sub(r"\d\.\d+", "N", then) == re.sub(r"\d\.\d+", "N", now)


def test_the_stored_notebook_can_be_read_without_running_it():
    cells = code_cells(read())
    pictures = [out for cell in cells for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 2 and not any(out.output_type == "error" for cell in cells for out in cell.outputs)
    assert NOTEBOOK.stat().st_size < 300_000
    assert not re.search(r"/(tmp|home|root|work)/", NOTEBOOK.read_text())
