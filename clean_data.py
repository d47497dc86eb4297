#!/usr/bin/env python3
"""Delete outputs: lists them with their sizes, asks, and deletes.

  python3 clean_data.py                 everything under data/
  python3 clean_data.py --phase 1       one phase
  python3 clean_data.py --dry-run       only the list
  python3 clean_data.py --force         without asking

A run that is being computed is refused. Links are removed, never followed.
"""

import argparse
import shutil
from pathlib import Path

import run  # noqa: F401 - first, since it says what to type where packages are missing
from common.cli import Parser, exit_with
from common.errors import ConfigError, PipelineError, suggestion
from common.handoffs import SCHEMAS
from common.runs.discovery import is_run_name
from common.runs.locks import in_use


def run_folders(data_dir: Path, phase: str | None) -> list[Path]:
    """Run folders of one phase or of all. Raises: ConfigError for an unknown phase."""
    wanted = [schema for schema in SCHEMAS if phase in (None, schema.phase)]
    if phase is not None and not wanted:
        known = [schema.phase for schema in SCHEMAS]
        hint = suggestion(phase, known)
        raise ConfigError(f"there is no phase '{phase}'{hint and '.' + hint}\nGive one of: {', '.join(known)}")
    parents = [data_dir / schema.folder for schema in wanted]
    parents = [parent for parent in parents if parent.is_dir() and not parent.is_symlink()]
    return sorted(path for parent in parents for path in parent.iterdir() if is_run_name(path.name))


def size_of(path: Path) -> int:
    """Bytes below `path`; what links point to is not counted."""
    if path.is_symlink():
        return 0
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir() or file.is_symlink())


def delete(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)  # does not follow links


def check_unused(folders: list[Path]) -> None:
    """Raises: PipelineError when a process works in one of the folders."""
    for path in folders:
        if not path.is_symlink() and in_use(path):
            raise PipelineError(f"{path} is in use by a running process\nStop it first, or give another --phase")


def confirmed(question: str) -> bool:
    """Whether the user says yes. Raises: PipelineError when there is nobody to ask."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        raise PipelineError("there is no terminal to ask on\nAdd --force to delete without asking") from None


def main(argv: list[str]) -> int:
    parser = Parser(prog="clean_data.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phase", default=None, help="delete only this phase's outputs (default: all)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    parser.add_argument("--dry-run", action="store_true", help="show what would be deleted")
    parser.add_argument("--force", action="store_true", help="do not ask")
    args = parser.parse_args(argv)
    folders = run_folders(args.data_dir, args.phase)
    if not folders:
        print(f"nothing to delete under {args.data_dir}")
        return 0
    for path in folders:
        print(f"{size_of(path) / 1e6:10.1f} MB  {path}")
    if args.dry_run:
        return 0
    check_unused(folders)
    if not args.force and not confirmed(f"Delete these {len(folders)} folders? [y/N] "):
        print("nothing was deleted")
        return 0
    check_unused(folders)  # the answer may have taken its time
    for path in folders:
        delete(path)
    print(f"deleted {len(folders)} folders")
    return 0


if __name__ == "__main__":
    exit_with(main)
