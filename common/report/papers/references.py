"""BibTeX of what an experiment rests on: this tool with its commit, model, dictionaries, data, methods."""

from common.handoffs import DETECTOR
from common.provenance import version
from common.report.collect import Collected
from common.report.runs import codes_of
from common.runs.discovery import plain_name

UNSETTLED = "reference not settled"  # what is known by name alone

_ARXIV = {  # key -> title, authors, year, number
    "tahimic2025correctness": (
        "Mechanistic Interpretability of Code Correctness in {LLMs} via Sparse Autoencoders",
        "Tahimic, Kriz and Cheng, Charibeth",
        2025,
        "2510.02917",
    ),
    "lieberum2024gemmascope": (
        "{Gemma Scope}: Open Sparse Autoencoders Everywhere All At Once on {Gemma} 2",
        "Lieberum, Tom and others",
        2024,
        "2408.05147",
    ),
    "gemma2024": ("{Gemma} 2: Improving Open Language Models at a Practical Size", "{Gemma Team}", 2024, "2408.00118"),
    "austin2021mbpp": ("Program Synthesis with Large Language Models", "Austin, Jacob and others", 2021, "2108.07732"),
    "chen2021humaneval": (
        "Evaluating Large Language Models Trained on Code",
        "Chen, Mark and others",
        2021,
        "2107.03374",
    ),
}
_OF_DATASETS = {"mbpp": "austin2021mbpp", "humaneval": "chen2021humaneval"}


def bibtex_of(collected: Collected) -> str:
    """Entries of everything that was used; hub repositories as @misc, with what was read of them."""
    experiment = collected.experiment
    dataset = plain_name(experiment["dataset"])
    keys = ["tahimic2025correctness"]
    keys += ["gemma2024"] if "gemma-2" in plain_name(experiment["model"]) else []
    keys += ["lieberum2024gemmascope"] if "gemma-scope" in str(experiment["sae"]) else []
    keys += [key for name, key in _OF_DATASETS.items() if dataset.startswith(name)]
    entries = [_tool(collected), *(_arxiv(key) for key in keys), *_read(collected)]
    if collected.finished(DETECTOR):
        entries.append(f"% The detector follows ACE (phase 4.1): {UNSETTLED}.\n")
    return "\n".join(entries)


def _tool(collected: Collected) -> str:
    note = f"version {version()}, commit {' and '.join(codes_of(collected.done))}"
    return _entry(
        "software",
        "pvasae",
        {
            "title": "{PVA-SAE}: {Python} Value Attribution with Sparse Autoencoders",
            "author": "{The PVA-SAE developers}",
            "note": note,
        },
    )


def _read(collected: Collected) -> list[str]:
    """The model, and the dictionaries, by name and commit."""
    experiment = collected.experiment
    commits = _commits(collected)
    repositories = {"model": experiment["model"], "dictionaries": experiment["sae"], "problems": experiment["dataset"]}
    return [
        _entry("misc", what, {"title": plain_name(name), **commits.get(what, {})})
        for what, name in repositories.items()
        if name is not None
    ]


def _commits(collected: Collected) -> dict[str, dict[str, str]]:
    """The field that says it, of what was read at a commit: of a folder, or of problems, none is known."""
    settings = {key: word for phase in collected.done for key, word in phase.manifest["all_settings"].items() if word}
    commits = {"model": settings.get("revision"), "dictionaries": settings.get("sae_revision")}
    return {what: {"note": f"commit {commit}"} for what, commit in commits.items() if commit}


def _arxiv(key: str) -> str:
    title, author, year, number = _ARXIV[key]
    fields = {"title": title, "author": author, "year": str(year), "eprint": number, "archivePrefix": "arXiv"}
    return _entry("misc", key, fields)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])
