"""Dictionaries of one's own, which phase 1.3 trained: `--sae own` names the newest of a model."""

from collections.abc import Mapping
from pathlib import Path

from common.errors import MissingArtifactError
from common.files import text_sha256
from common.handoffs import DICTIONARIES
from common.model.registry import model_identity
from common.runs.discovery import RunFolder, list_runs, plain_name, read_run, with_data_dir

OWN = "own"
RESID_POST = "resid_post"


def newest_own(model: str, revision: str, data_dir: Path, site: str = RESID_POST) -> Path:
    """The run folder of the newest finished dictionaries of a model, at a site.

    Raises: MissingArtifactError when there is none.
    """
    identity = model_identity(model, revision)
    for run in finished_runs(data_dir):
        if run.of("site") == site and _is_of(run.experiment["model"], identity):
            return run.path
    site_words, flag = ("", "sae") if site == RESID_POST else (f" --site {site}", "transcoders")
    build = with_data_dir(f"python3 run.py phase 1.3 --model {model}{site_words}", data_dir)
    raise MissingArtifactError(
        f"--{flag} is '{OWN}', but {data_dir / DICTIONARIES.folder} holds no finished dictionaries of {model} at "
        f"{site}\n"
        f"Build them with: {build}"
    )


def finished_runs(data_dir: Path) -> list[RunFolder]:
    """Every run of phase 1.3 that can be read, newest first."""
    return [run for run in list_runs(DICTIONARIES, data_dir) if _is_sound(run)]


def run_of(sae: str) -> RunFolder | None:
    """The finished run of phase 1.3 that `--sae` names the folder of; None for anything else."""
    folder = Path(sae)
    run = read_run(folder, DICTIONARIES) if sae and folder.parent.name == DICTIONARIES.folder else None
    return run if run is not None and _is_sound(run) else None


def own_identity(run: RunFolder) -> str:
    """The identity of a run's dictionaries, as `sae_source` gives it for the folder; no weights are read."""
    files = {name: entry["sha256"] for name, entry in run.document["files"].items() if name.startswith("layer_")}
    return f"{OWN}@{hash_of_files(files)}"


def hash_of_files(sha256: Mapping[str, str]) -> str:
    """Eight digits that name files by their place in a folder and their content."""
    lines = sorted(f"{name}:{digest}\n" for name, digest in sha256.items())
    return text_sha256("".join(lines))[:8]


def _is_sound(run: RunFolder) -> bool:
    return run.readable and run.document["schema_version"] == DICTIONARIES.version


def _is_of(trained_on: str, identity: str) -> bool:
    """A hub id whose commit is not settled yet stands for any."""
    return trained_on == identity or ("@" not in identity and plain_name(trained_on) == identity)
