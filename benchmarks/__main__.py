"""All benchmarks, one after the other, each in a process of its own: one table, printed and kept.

    python -m benchmarks                        # all but the last two, into benchmarks/RESULTS.md
    python -m benchmarks grading latents        # these: their rows are replaced, the others stay
    NATURAL=folder python -m benchmarks natural # where qwen-coder lies in the folder
    python -m benchmarks gpu                    # on a machine with a GPU; --gpu-memory 30
    python -m benchmarks --quick --out /tmp/RESULTS.md      # tiny sizes: do they all run?

Each benchmark is a module with NAME, the heading of its notes; `measure(rounds, quick)`, which gives rows; and, where
there is more to say, `notes`: a list of paragraphs under the table, which measuring fills. Rows are kept as JSON beside
the table, which is rendered from them. A process has one thread, unless a benchmark sets another number and says so.
"""

import argparse
import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, render_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("RESULTS.md")
BENCHMARKS = {  # in the order of the table
    "generation": "benchmarks.generation",
    "steering": "benchmarks.steering",
    "latents": "benchmarks.latents",
    "dictionaries": "benchmarks.dictionaries",
    "graphs": "benchmarks.graphs",
    "errors": "benchmarks.errors",
    "grading": "benchmarks.grading",
    "growth": "benchmarks.growth",
    "detect": "benchmarks.detect",
    "service": "benchmarks.service",
    "natural": "benchmarks.natural",
    "gpu": "benchmarks.gpu",
}
APART = ("natural", "gpu")  # run only when named
Result = dict[str, Any]  # what is kept of one benchmark


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    rounds = args.rounds or (1 if args.quick else 5)
    if args.into:
        args.into.write_text(json.dumps(measure(args.names[0], rounds, args.quick, args.gpu_memory)))
        return 0
    kept, failed = args.out.with_name(f"{args.out.stem.lower()}.json"), []
    for name in args.names or [name for name in BENCHMARKS if name not in APART]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        result = _in_a_process(name, rounds, args.quick, args.gpu_memory)
        if result is None:
            failed.append(name)
        else:
            results = {**(json.loads(kept.read_text()) if kept.is_file() else {}), name: result}
            kept.write_text(json.dumps({key: results[key] for key in BENCHMARKS if key in results}, indent=1) + "\n")
            args.out.write_text(render(json.loads(kept.read_text())))
    if kept.is_file():
        print(table(json.loads(kept.read_text()).values()))
    if failed:
        print(f"error: failed: {', '.join(failed)}; what they had in {args.out} stays", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    names = f"{', '.join(BENCHMARKS)} (default: all but {', '.join(APART)})"
    parser.add_argument("names", nargs="*", metavar="NAME", type=_name, help=names)
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (default: 5; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that it runs, not to read figures")
    text = "memory that the benchmark gpu may take [GB] (default: 30)"
    parser.add_argument("--gpu-memory", type=float, default=30.0, help=text)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the table (default: benchmarks/RESULTS.md)")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # measure one here, and leave its result in a file
    return parser


def _name(text: str) -> str:
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"there is no benchmark '{text}'; give some of: {', '.join(BENCHMARKS)}")
    return text


def _in_a_process(name: str, rounds: int, quick: bool, gpu_memory: float) -> Result | None:
    """The result of one benchmark; None when it failed, and has said why."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "result.json"
        words = [sys.executable, "-m", "benchmarks", name, "--rounds", str(rounds), "--into", str(into)]
        words += ["--gpu-memory", str(gpu_memory)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run([*words, *(["--quick"] if quick else [])], cwd=ROOT, env=environment, stdout=sys.stderr)
        return json.loads(into.read_text()) if done.returncode == 0 else None


def measure(name: str, rounds: int, quick: bool, gpu_memory: float) -> Result:
    """Run one benchmark in this process."""
    module, began = importlib.import_module(BENCHMARKS[name]), time.perf_counter()
    limits = {"gpu_memory": gpu_memory} if name == "gpu" else {}
    rows = module.measure(rounds, quick, **limits)
    return {
        "title": module.NAME,
        "facts": facts() + ("; tiny sizes" if quick else ""),
        "date": datetime.date.today().isoformat(),
        "seconds": round(time.perf_counter() - began, 1),
        "rows": [dataclasses.asdict(row) for row in rows],
        "notes": getattr(module, "notes", []),
    }


def facts() -> str:
    """Machine and versions, in words."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")]
    torch = sys.modules.get("torch")  # only where the benchmark needed it
    gpu = [torch.cuda.get_device_name()] if torch is not None and torch.cuda.is_available() else []
    cores = len(os.sched_getaffinity(0))
    return ", ".join([platform.machine(), f"{cores} cores", *gpu, f"Python {platform.python_version()}", *versions])


def table(results: Iterable[Result]) -> str:
    return render_table([Row(**row) for result in results for row in result["rows"]])


def render(results: dict[str, Result]) -> str:
    """RESULTS.md: the table, where and when it was measured, and the notes."""
    measured: dict[tuple[str, str], list[str]] = {}
    for name, result in results.items():
        measured.setdefault((result["facts"], result["date"]), []).append(name)
    where = [f"- {', '.join(names)}: {machine}; {date}" for (machine, date), names in measured.items()]
    minutes = sum(result["seconds"] for result in results.values()) / 60
    missing = [f"`python -m benchmarks {name}`" for name in BENCHMARKS if name not in results]
    parts = [
        "# Benchmarks",
        "Each ratio is of two measurements in one run, in alternating order; a row is the median of its rounds.",
        table(results.values()),
        "\n".join(["Measured on:", "", *where]),
        f"All of it took {minutes:.0f} minutes." + (f" Not measured yet: {', '.join(missing)}." if missing else ""),
    ]
    for result in results.values():
        if result["notes"]:
            parts += [f"## {result['title']}", *(note.strip() for note in result["notes"])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
