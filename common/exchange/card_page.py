"""The README.md of an exported dataset: its configurations, what made it, and what each column holds."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from common.exchange.rows import PROGRAM_FIELDS
from common.handoffs import DETECTION, JUDGED, Field
from common.provenance import version
from common.report.collect import Collected
from common.runs.discovery import plain_name

Places = Mapping[str, Mapping[str, str]]  # table -> split -> file
ABOUT = {
    "programs": "what the model wrote greedily, judged by the problem's tests in a sandbox (phase 1)",
    "samples": "what it wrote at other temperatures (phase 1.2)",
    "predictions": "every score that phase 3.1 compares, for each problem that reports",
    "cards": "what each score is worth on the problems that report, with 95 % intervals (phases 3.1 and 4.1)",
    "resid_post": "the residual stream after each block, at prompt positions, before anything is written (phase 1)",
}
RESID_FIELDS = {
    "task_id": Field("int64", "number of the problem in its dataset"),
    "layer": Field("int32", "block, from 0"),
    "position": Field("string", "last: the last prompt token; description_end, tests_end: of that part"),
    "resid_post": Field("list<float32>", "output of the block there, [d_model]"),
}
FIELDS = {
    "programs": PROGRAM_FIELDS,
    "samples": PROGRAM_FIELDS,
    "predictions": DETECTION.columns("predictions.parquet"),
    "resid_post": RESID_FIELDS,
}
MADE_BY = ("0", "0.1", "1", "1.2", "3.1", "4.1")  # phases whose results are in the folder, and what they rest on


def card_page(collected: Collected, places: Places) -> str:
    """The whole file, front matter first."""
    return "\n".join([*_front_matter(collected, places), *_text(collected, places), ""])


def _front_matter(collected: Collected, places: Places) -> list[str]:
    """What the hub and `datasets` read: which files are which split of which configuration."""
    configurations = [
        {
            "config_name": name,
            **({"default": True} if name == "programs" else {}),
            "data_files": [{"split": split, "path": path} for split, path in files.items()],
        }
        for name, files in places.items()
    ]
    told: dict[str, Any] = {
        "pretty_name": f"{_plain(collected, 'model')} on {_plain(collected, 'dataset')}: programs and their labels",
        "tags": ["pva-sae", "code", "mechanistic-interpretability"],
        "configs": configurations,
    }
    return ["---", yaml.safe_dump(told, sort_keys=False, allow_unicode=True).rstrip(), "---", ""]


def _text(collected: Collected, places: Places) -> Iterator[str]:
    yield f"# {_plain(collected, 'model')} on {_plain(collected, 'dataset')}\n"
    yield f"Made with PVA-SAE {version()}. `datasets.load_dataset(FOLDER, NAME)` reads it; names are:\n"
    yield from (f"- **{name}**: {ABOUT[name]}" for name in places)
    yield f"\nSplits: `sae` selected latents, `hyperparams` tuned, `validation` reports. Labels: {', '.join(JUDGED)}; "
    yield "any other says why a program could not be judged. The problems, and what is quoted of them in the prompts,"
    yield "are under the licence of their dataset. Cite what references.bib lists.\n"
    yield "## What made it\n"
    for key, words in collected.described:
        yield f"- {key}: {words}"
    yield "\n```bash"
    yield from (str(phase.manifest["command"]) for phase in collected.done if phase.schema.phase in MADE_BY)
    yield "```\n"
    yield "## Columns\n"
    for name in (name for name in places if name in FIELDS):
        yield f"### {name}\n\n| column | type | meaning |\n|---|---|---|"
        yield from (f"| {column} | {field.type} | {_cell(field.meaning)} |" for column, field in FIELDS[name].items())
        yield ""


def _plain(collected: Collected, key: str) -> str:
    return plain_name(collected.experiment[key])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
