"""A data folder with a finished run of every phase, made by hand: what the report is tested on.

The numbers mean nothing, but have the form that the phases give them. `HOSTILE` is text that would run in a browser.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import documents
import numpy as np
from judged_directions import PROBES, SIMPLE_SCORES, judgement
from report_circuits import circuit_graphs, circuit_latents, interventions
from report_drawings import drawing, picture
from report_error_latents import of_error_latents
from report_errors import of_errors
from report_selection import GENERAL_TEXT, LEFT_OUT, LIMITS, SPARSE_PROBING, counted, interval

from common import handoffs
from common.handoffs import DICTIONARIES, SCHEMAS, ArtifactSchema
from common.report.collect import Collected, choose, collect_experiment, runs_in
from common.report.document import ReportResult, write_reports
from common.runs import discovery
from common.runs.artifacts import ArtifactWriter

MODEL, DATASET, SAE = "organism@00000000", "organism@11111111", "saes@22222222"
HOSTILE = '</script></pre><img src=x onerror="window.ran=1"><script>window.ran=2</script>&amp;"\''
N = 12  # problems of each split
USUAL = tuple(schema for schema in SCHEMAS if schema != DICTIONARIES)  # who has other SAEs needs none of their own
DIRECTIONS = ("predict_incorrect", "predict_correct", "steer_incorrect", "steer_correct")
STEERED = ("steer_incorrect", "steer_correct")
SANDBOX = {"level": 3, "layers": ["rlimits", "seccomp", "landlock v7", "namespaces"], "near_limit_count": 0}
Row = dict[str, Any]


def build(
    data: Path,
    names: Iterable[str] | None = None,
    *,
    model: str = MODEL,
    preset: str = "demo",
    changes: dict[str, Callable[[Any], None]] | None = None,
) -> Path:
    """Finished runs of the named artifacts, or of all. `changes` maps 'file.json' to what is done to its content."""
    lineage: dict[str, str] = {}
    for schema in USUAL:
        if names is None or schema.name in names:
            path = write_run(data, schema, lineage, model=model, preset=preset, changes=changes or {})
            lineage[schema.name] = discovery.read_run(path, schema).document["content_sha256"]
    return data


def collect(data: Path, given: dict[str, str]) -> Collected:
    """The newest experiment that fits."""
    runs = runs_in(data)
    return collect_experiment(runs, choose(runs, given, data)[0], data)


def write_report(*arguments: Any, **given: Any) -> ReportResult:
    """The report of the newest experiment that fits."""
    return write_reports(*arguments, **given)[0]


def write_run(
    data: Path,
    schema: ArtifactSchema,
    lineage: dict[str, str],
    *,
    model: str = MODEL,
    sae: str = SAE,
    preset: str = "demo",
    changes: dict[str, Callable[[Any], None]] | None = None,
) -> Path:
    """One finished run, made from the artifacts in `lineage`."""
    known = {"model": model, "dataset": DATASET, "sae": sae, "transcoders": "transcoders@33333333"}
    experiment = {key: known[key] for key in schema.scope if key in known}
    path = data / schema.folder / discovery.new_run_name(schema, data, experiment)
    identity = {
        "artifact": schema.name,
        "phase": schema.phase,
        "schema_version": schema.version,
        "experiment": experiment,
        "settings": {"seed": 42, "temperature": 0.0, "max_new_tokens": 400},
        "inputs": {},
        "lineage": dict(lineage),
    }
    command = f"python3 run.py phase {schema.phase} --preset demo"
    typed = {"model": discovery.plain_name(model), "dataset": "organism", "sae": "auto", "seed": 42}
    details = {
        "preset": preset,
        "changed_settings": {},
        "all_settings": typed,
        "command": command,
        "input_paths": {},
        "input_reasons": {},
    }
    with ArtifactWriter(schema, path, identity, details, logging.getLogger("test")) as out:
        if "model" in schema.scope:
            out.process["model"] = {
                "name": "organism",
                "revision": None,
                "dtype": "float32",
                "device": "cpu",
                "n_layers": 6,
                "d_model": 192,
            }
        if schema.name in ("generations", "temperature_samples", "steering"):
            out.process["sandbox"] = SANDBOX
        _FILL[schema.name](_Changing(out, changes or {}))
    return path


class _Changing:
    """A writer whose JSON files are changed on their way."""

    def __init__(self, out: ArtifactWriter, changes: dict[str, Callable[[Any], None]]):
        self._out, self._changes = out, changes

    def document(self, name: str, value: Any) -> None:
        self._changes.get(name, lambda value: None)(value)
        documents.write(self._out, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    def summarize(self, **summary: Any) -> None:
        self._out.summary = summary


def blank(fields: dict[str, handoffs.Field], **given: Any) -> Row:
    empty = {"int64": 0, "float64": 0.0, "string": "", "bool": False}
    return {name: empty.get(field.type, []) for name, field in fields.items()} | given


def problems(first: int = 0, n: int = 3 * N) -> list[Row]:
    return [
        blank(handoffs.PROBLEM_FIELDS, task_id=i, text=f"Write function {i}. {HOSTILE}", complexity=1 + i % 4)
        for i in range(first, first + n)
    ]


def program(task_id: int, **given: Any) -> Row:
    """Every third program fails; the texts would run in a browser."""
    failed = task_id % 3 == 0
    return blank(
        handoffs.GENERATION_FIELDS,
        task_id=task_id,
        code=f"def f(x):\n    return '{HOSTILE}'  # \ud83d {task_id}",
        label="incorrect" if failed else "correct",
        error="wrong_answer" if failed else None,
        failed_test=f"assert f(1) == '{HOSTILE}'" if failed else None,
        stop_reason="solution_complete",
        complexity=1 + task_id % 4,
        **given,
    )


def _difficulty(out: Any) -> None:
    out.table("difficulty.parquet", problems())
    out.summarize(problems=3 * N, mean_complexity=2.5, largest_complexity=4)


def _split(out: Any) -> None:
    for place, name in enumerate(handoffs.SPLIT_NAMES):
        out.table(f"{name}_{{dataset}}.parquet", problems(place * N, N))
    complexity = {name: {"n": N, "mean": 2.5, "sd": 1.0, "standard_error": 0.3} for name in handoffs.SPLIT_NAMES}
    out.document("split_metadata.json", {
        "seed": 42, "sizes": dict.fromkeys(handoffs.SPLIT_NAMES, N), "complexity": complexity, "n_groups": 1,
        "kolmogorov_smirnov_p": {"sae vs validation": 0.9}, "pairs_across_splits": [],
    })  # fmt: skip


def _grading(out: Any, task_ids: Iterable[int], fields: dict[str, handoffs.Field]) -> None:
    out.table("grading.parquet", [blank(fields, task_id=i, near_limit=i == 1) for i in task_ids])


def _generations(out: Any) -> None:
    out.table("dataset.parquet", [program(i) for i in range(3 * N)])
    _grading(out, range(3 * N), handoffs.GRADING_FIELDS)


def _general_text(out: Any) -> None:
    out.summarize(documents=1000, mean_norm_of_resid_post=[23.4, 71.0])


def _samples(out: Any) -> None:
    out.table("dataset_temp_0_6.parquet", [program(i, temperature=0.6) for i in range(2 * N, 3 * N)])
    out.table("dataset_temp_1_2.parquet", [])
    _grading(out, range(2 * N, 3 * N), handoffs.TEMPERATURE.tables["grading.parquet"])
    rates = [
        {"temperature": t, "problems": N, "programs": N, "pass_rate": rate, "pass_rate_95_percent_interval": bounds,
         "problems_with_a_correct_program": 8, "problems_with_only_correct_programs": 8, "file": file}
        for t, rate, bounds, file in ((0.6, 0.66, [0.4, 0.8], "dataset_temp_0_6.parquet"),
                                      (1.2, None, None, "dataset_temp_1_2.parquet"))
    ]  # fmt: skip
    out.document("temperature_metadata.json", {"interval": "95 %, bootstrap over problems", "temperatures": rates})
    out.file("figures/pass_rate_by_temperature.png", picture())


def latent(place: int, **given: Any) -> Row:
    return {"layer": place, "latent": 100 + place, "sae_id": f"{SAE} layer_{place}", "neuronpedia": None, "t": 5.84,
            "p_max": 0.000999, "significant": True, **given}  # fmt: skip


def _latents(out: Any) -> None:
    statistics = {"separation": -0.235, "f_correct": 0.1, "f_incorrect": 0.33, "auroc": 0.62, "general_text_rate": 0.01}
    found = {
        name: {"significant": True, "latents": [latent(place + k, rank=k + 1, **statistics) for k in range(3)]}
        for place, name in enumerate(DIRECTIONS)
    }
    found["predict_incorrect"]["left_out"] = LEFT_OUT
    found["predict_incorrect"]["latents"][0]["neuronpedia"] = "https://www.neuronpedia.org/small/0-res/100"
    out.document("selected.json", {
        "conclusion": "13 of 5,225 latents in 6 layers are significant at a family-wise 0.05: the largest |t| is 6.53.",
        "problems": N, "correct": 8, "incorrect": 4, "left_out": {"not_run": 1}, "latents": 9216, "kept": 5225,
        "general_text_limit": "auto", "null_maximum_of_abs_t": {"n_permutations": 1000}, "directions": found,
        "sites": [{"layer": 0, "sae_id": SAE, "fvu": 0.1, "fvu_ordinary": 0.1, "l0": 25.8, "n": 64,
                   "last_prompt_token": {"missed_share": 0.03, "fvu_between": 0.8, "n": N},
                   "general_text": GENERAL_TEXT}],
        "limits": LIMITS, "sparse_probing": SPARSE_PROBING,
    })  # fmt: skip
    top = [blank(handoffs.TOP_PROBLEM_FIELDS, direction=name, rank=1, place=1, text=HOSTILE) for name in DIRECTIONS]
    out.table("top_problems.parquet", top)
    for name in ("null_maximum", "volcano", "by_layer", "activations", "limits", "sparse_probing"):
        out.file(f"figures/{name}.png", picture())


def card(area: float, f1: float, **given: Any) -> Row:
    names = ("precision", "recall", "specificity", "balanced_accuracy", "mcc", "average_precision")
    return {"threshold": 1.5, "n": N, "n_positive": 4, "base_rate": 0.33, "f1": interval(f1), **given,
            **{name: interval(0.5) for name in names},
            "auroc": {**interval(area), "delong_low": area - 0.06, "delong_high": area + 0.06}}  # fmt: skip


def _detection(out: Any) -> None:
    found = {}
    for place, name in enumerate(DIRECTIONS):
        positive = name.rpartition("_")[2]
        beside = {name: card(area, f1) for name, area, f1 in SIMPLE_SCORES}
        probes = {name: card(area, 0.6, C=0.01, converged=True) for name, area in PROBES}
        found[name] = {"latent": latent(place), "positive": positive, "card": card(0.62 - 0.01 * place, 0.55),
                       "baselines": beside | probes, **judgement(place, interval)}  # fmt: skip
    out.document("detection.json", {
        "n": {"hyperparams": N, "validation": N}, "left_out": {"sae": {}, "samples": {"not_run": 2}}, "seed": 42,
        "n_resamples": 2000, "readings": 1, "baselines": {"prompt length": "characters of the prompt"},
        "baselines_left_out": [], "directions": found,
        "probes": {"layer": 5, "cross_validated_auroc": {"0": 0.7, "5": 0.76}},
    })  # fmt: skip
    rows = [
        {"direction": name, "score": "latent", "task_id": i, "split": "validation", "value": float(i), "threshold": 1.5}
        for name in DIRECTIONS
        for i in range(2 * N, 3 * N)
    ]
    out.columns("predictions.parquet", {key: np.array([row[key] for row in rows]) for key in rows[0]})
    for name in ("roc", "precision_recall", "baselines", "by_temperature"):
        out.file(f"figures/{name}.svg", drawing(name))


def _coefficients(out: Any) -> None:
    curve = [
        {"layer": 3, "coefficient": c, "n": N, "net_change": interval(0.1 * c), "pass_rate": interval(0.6),
         "n_corrected": 3, "n_corrupted": 1, "degenerate_rate": 0.1, "newly_degenerate_rate": 0.02,
         "trajectory_kl": 0.01, "admissible": c < 1}
        for c in (-0.5, 0.5, 1.0)
    ]  # fmt: skip
    found = {name: {"latent": latent(3), "wanted": "raise", "curve": curve, "why": "the largest net change, +5.0 %",
                    "chosen": {"layer": 3, "coefficient": 0.5}} for name in STEERED}  # fmt: skip
    out.document("coefficients.json", {"n": N, "baseline": interval(0.6), "degenerate_limit": 0.05, "directions": found,
                                   "agrees_with_phase_1": {"same_tokens": N, "of": N}})  # fmt: skip
    for name in STEERED:
        out.file(f"figures/dose_response_{name}.svg", drawing(f"dose-response-{name}"))


def effect(change: float) -> Row:
    return {"n": N, "left_out": 0, "correction": counted(1, 4), "corruption": counted(1, 8),
            "preservation": counted(7, 8), "net_change": interval(change), "pass_rate": interval(0.6),
            "degenerate_rate": 0.1, "newly_degenerate": counted(1, 20), "trajectory_kl": 0.02}  # fmt: skip


def control(n: int = 10) -> Row:
    each = [{"index": k, "net_change": 0.01 * k, "n_corrected": 1, "n_corrupted": k, "degenerate_rate": 0.1,
             "trajectory_kl": 0.01, "coefficient": 0.5} for k in range(n)]  # fmt: skip
    match = {"own": {"rate": 0.3}, "each": {"rate": [0.1] * n}, "worst": {"rate": 3.0}, "n_worse": n, "limit": 1.5}
    return {"n": n, "pooled": counted(4, 40), "fisher_p": 0.04, "binomial_p": 0.0002, "rank": 1, "rank_p": 0.09,
            "each": each, "match": match}  # fmt: skip


def _steering(out: Any) -> None:
    found = {}
    for name, wanted in zip(STEERED, ("lower", "raise"), strict=True):
        found[name] = {
            "latent": latent(3), "wanted": wanted, "layer": 3, "site": "resid_post", "coefficient": 0.5, "norm": 68.5,
            "effect": effect(0.041 if wanted == "raise" else -0.082), "mcnemar_p": 0.5,
            "p_holm": {"mcnemar": 0.0004, "fisher": 0.031}, "power": {"effect": 0.05, "power": 0.34, "needed": 0.8},
            "controls": {"matched_latent": control(), "random_direction": control()},
            "selective": {"by": "predict_incorrect", "threshold": 1.5, "n_steered": 5, "effect": effect(0.02)},
            "transitions": {"pass_to_pass": 7, "pass_to_fail": 1, "fail_to_pass": 1, "fail_to_fail": 3},
            "verdict": "raises the pass rate" if wanted == "raise" else "no measurable effect",
        }  # fmt: skip
    out.document("steering.json", {
        "n": N, "readings": 1, "seed": 42, "baseline": {"n_correct": 8, "pass_rate": interval(0.66)},
        "agrees_with_phase_1": {"same_tokens": N - 1, "of": N}, "errors": {}, "directions": found,
    })  # fmt: skip
    out.document("examples.json", {name: changed() for name in STEERED})
    for name in STEERED:
        for kind in ("among_controls", "transitions"):
            out.file(f"figures/{kind}_{name}.svg", drawing(f"{kind}-{name}"))


def changed() -> list[Row]:
    diff = f"--- unsteered\n+++ steered\n@@ -1,2 +1,2 @@\n def f(x):\n-    return x\n+    return '{HOSTILE}'"
    return [{"transition": "fail_to_pass", "task_id": 24, "text": HOSTILE, "error_before": "wrong_answer",
             "error_after": None, "degenerate": False, "diff": diff}]  # fmt: skip


def _general(name: str, figure: str) -> Callable[[Any], None]:
    def fill(out: Any) -> None:
        rows = [["steer_correct", 10, -0.5, "56.1 % (51.1 to 61.0)", None], [HOSTILE, 9, 1.5, interval(0.6), True]]
        columns = ["direction", "n", "change", "pass rate", "significant"]
        out.document(
            f"{name}.json",
            {
                "sentences": [f"Attention moves by -1.20 points (-1.50 to -0.90). {HOSTILE}"],
                "tables": [{"title": "by direction", "columns": columns, "rows": rows}],
            },
        )
        if name == "orthogonalisation":
            out.document("examples.json", {"steer_correct": changed()})
        out.file(f"figures/{figure}.svg", drawing(f"{name}-{figure}"))

    return fill


def _positive_control(out: Any) -> None:
    found = {"effect": effect(0.8) | {"correction": counted(10, N)}, "verdict": "raises the pass rate"}
    found |= {"wanted": "raise", "layer": 4, "site": "resid_post", "coefficient": 0.75, "mcnemar_p": 0.002}
    found |= {"p_holm": {"mcnemar": 0.002}, "controls": {"random_direction": {**control(19), "match": None}}}
    pair = {"n_read": 8, "passed": counted(10, N), "most_of_a_control": 1, "length": 9.5}
    given = {"n": N, "pairs": {HOSTILE: pair}, "examples": changed(), "positive_control": found}
    out.document("positive_control.json", given | {"baseline": {"n_correct": 0, "pass_rate": interval(0.0)}})


def _circuit_prompts(out: Any) -> None:
    one = {"n": 10, "asked": 20, "n_entities": 5, "n_paired": 8, "shortest": 3, "longest": 9}
    one |= {"refused": {"partners of unequal length": {"n": 4, "named": [HOSTILE]}}, "unpaired": {"n": 2}}
    bos = {"id": 2, "text": "<bos>"}
    splits = {"train": one, "test": one}
    given = {"source": HOSTILE, "seed": 42, "front": [bos], "sink": None, "behaviours": {"agreement": splits}}
    out.document("prompts.json", given)


def _circuit_baseline(out: Any) -> None:
    share = {"accuracy": counted(5, N), "sign_accuracy": counted(11, N), "threshold": 2.0, "needed": 0.8, "n": N}
    passed, missed = {**share, "passes": True}, {**share, "passes": False}
    behaviours = {"agreement": {"train": passed, "test": passed}, "addition": {"train": passed, "test": missed}}
    out.document("baseline.json", {"n": 4 * N, "forced": True, "missed": ["addition"], "behaviours": behaviours})
    out.file("figures/margins.png", picture())


def _detector(out: Any) -> None:
    card = {
        "auroc": interval(0.66),
        "f1": interval(0.6),
        "precision": interval(0.55),
        "recall": interval(0.8),
        "specificity": interval(0.5),
    }
    routes = {name: {"n": 4, "share": 1 / 3, "error_rate": interval(0.5)} for name in ("proceed", "verify", "abstain")}
    out.document("detector/detector.json", {
        "layer": 3, "verdict": "ranks", "weights_rule": "probe", "target": {"reached": False},
        "calibration": {"method": "platt", "note": "the score does not rise"},
        "latents": [{"latent": 7, "t": 4.2, "weight": -0.5, "general_text_rate": None, "n_fired": 3, "n": N}],
        "card": {
            "n": {"sae": N, "hyperparams": N, "validation": N}, "detector": card, "n_resamples": 2000,
            "baselines": {"always flag": {**card, "auroc": interval(None)}}, "baselines_left_out": ["text length"],
            "calibration": {"ece": 0.08, "ece_by_chance": {"median": 0.05, "q95": 0.07}, "brier": 0.2,
                            "brier_of_base_rate": 0.25,
                            "groups": [{"predicted": 0.4, "observed": interval(0.5), "n": N}]},
            "target": {"kind": "flag_rate", "wanted": 0.2, "met": "not met", **interval(0.4)}, "routes": routes,
            "readings": 2,
        },
    })  # fmt: skip


_FILL: dict[str, Callable[[Any], None]] = {
    "difficulty": _difficulty, "split": _split, "generations": _generations, "general_text": _general_text,
    "temperature_samples": _samples, "latents": _latents, "detection": _detection, "coefficients": _coefficients,
    "steering": _steering, "attention": _general("attention", "by_layer"),
    "orthogonalisation": _general("orthogonalisation", "orthogonalisation"),
    "transfer": _general("transfer", "transfer"), "prompt_ablation": _general("prompt_ablation", "prompt_ablation"),
    "positive_control": _positive_control, "detector": _detector,
    "circuit_prompts": _circuit_prompts, "circuit_baseline": _circuit_baseline,
    **of_errors(HOSTILE), **of_error_latents(HOSTILE, N),
    "circuit_latents": circuit_latents(HOSTILE, N), "interventions": interventions(HOSTILE, N),
    "circuit_graphs": circuit_graphs(HOSTILE, N),
}  # fmt: skip
