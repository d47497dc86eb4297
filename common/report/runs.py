"""What was run: every phase with its run, time, device, code and settings; models, SAEs, isolation, versions."""

import shlex
from typing import Any

from common import provenance
from common.handoffs import SCHEMAS, ArtifactSchema
from common.report.blocks import Block, Cell, Column, Facts, Section, Table, text, word_columns
from common.report.collect import FINISHED, NOT_USED, Collected, PhaseResult
from common.runs.discovery import plain_name
from common.words import any_value, count, duration, listed, number

TITLES = {  # artifact -> what its phase does
    "difficulty": "difficulty of the problems",
    "split": "split into selection, tuning and reporting",
    "generations": "programs, labels and activations",
    "general_text": "general text: activations, norms",
    "temperature_samples": "samples at several temperatures",
    "dictionaries": "dictionaries of one's own",
    "latents": "latents that separate correct from incorrect",
    "detection": "detection, against baselines",
    "coefficients": "dose response of steering",
    "steering": "steering, against controls",
    "attention": "attention under steering",
    "orthogonalisation": "weight orthogonalisation",
    "transfer": "transfer to another model or dataset",
    "prompt_ablation": "prompt ablation",
    "positive_control": "positive control of steering",
    "detector": "detector, with its card",
    "circuit_prompts": "prompts of behaviours",
    "circuit_baseline": "how well the model does on them",
    "circuit_graphs": "attribution graphs of them",
    "circuit_latents": "transcoder latents on them",
    "interventions": "latents that graphs name, tried in the model itself",
    "error_pairs": "pairs of programs that raise different errors",
    "error_gate": "which of these errors the model tells apart",
    "error_patching": "where the answer is carried: activation patching",
    "error_attribution": "which latents carry it, and what errors do",
    "error_latent_circuits": "circuits of latents, and edges",
    "error_dense": "circuits of heads and neurons",
    "error_nodes": "what the nodes of circuits are",
}
LEVELS = {0: "unconfined", 1: "limits only", 2: "limits and system-call filter", 3: "limits, filters and namespaces"}
Process = dict[str, Any]


def runs_section(collected: Collected) -> Section:
    section = Section("runs", "What was run", "With which models, versions, seeds and isolation, and for how long?")
    done = collected.done
    section.blocks += [_facts(collected, done), _states(collected), _settings(done), _commands(collected)]
    section.blocks.append(_versions(done))
    return section


def place_of(schema: ArtifactSchema) -> int:
    """Where a phase stands among all: numbers with letters, such as 6.1b, cannot be sorted as they are."""
    return [one.name for one in SCHEMAS].index(schema.name)


def processes(phase: PhaseResult) -> list[Process]:
    return phase.manifest["processes"]


def codes_of(phases: list[PhaseResult]) -> list[str]:
    """Each state of the code that made something, as '8f254fd' or '8f254fd with changes', first used first."""
    codes: dict[str, None] = {}
    for phase in phases:
        for process in processes(phase):
            codes[provenance.code_words(process["code"])] = None
    return list(codes)


def versions_of(phases: list[PhaseResult]) -> dict[str, list[str]]:
    """Every version of each library that a process used."""
    by_library: dict[str, dict[str, None]] = {}
    for phase in phases:
        for process in processes(phase):
            for name, version in process["libraries"].items():
                by_library.setdefault(name, {})[version] = None
    return {name: list(versions) for name, versions in by_library.items()}


def sandboxes_of(phases: list[PhaseResult]) -> list[tuple[PhaseResult, dict[str, Any]]]:
    return [(phase, process["sandbox"]) for phase in phases for process in processes(phase) if "sandbox" in process]


def isolation_words(sandbox: dict[str, Any]) -> str:
    """'level 3 (rlimits, seccomp, landlock v7, namespaces)'."""
    layers = f" ({', '.join(sandbox['layers'])})" if sandbox["layers"] else f" ({LEVELS[0]})"
    return f"level {sandbox['level']}{layers}"


def phases_words(names: list[str]) -> str:
    """'phases 1 and 1.2', each once."""
    names = [*dict.fromkeys(names)]
    return f"phase{'s' * (len(names) > 1)} {listed(names)}"


def _facts(collected: Collected, done: list[PhaseResult]) -> Facts:
    everything = [process for phase in done for process in processes(phase)]
    models = dict.fromkeys(_model_words(process["model"]) for process in everything if "model" in process)
    levels = dict.fromkeys(isolation_words(sandbox) for _, sandbox in sandboxes_of(done))
    machines = dict.fromkeys(map(_machine_words, everything))
    seeds: dict[str, list[str]] = {}
    for phase in done:
        if "seed" in phase.manifest["settings"]:
            seeds.setdefault(str(phase.manifest["settings"]["seed"]), []).append(phase.schema.phase)
    total = sum(process["seconds"] for process in everything)
    pairs = [
        ("Model", "; ".join(models) or collected.experiment["model"]),
        ("Dataset", collected.experiment["dataset"]),
        ("SAEs", collected.experiment["sae"] or "none used yet"),
        ("Isolation", "; ".join(levels) or "no program was run"),
        ("Seeds", "; ".join(f"{seed} in {phases_words(phases)}" for seed, phases in seeds.items()) or "none"),
        ("Machine", "; ".join(machines)),
        ("Code", "; ".join(codes_of(done))),
        ("Time", f"{duration(total)} of all processes together"),
    ]
    return Facts([(term, text(value)) for term, value in pairs])


def _model_words(model: dict[str, Any]) -> str:
    revision = f", revision {model['revision'][:12]}" if model.get("revision") else ""
    gpu = f", {model['gpu']}" if model.get("gpu") else ""
    size = f"{model['n_layers']} layers of width {count(model['d_model'])}"
    return f"{plain_name(model['name'])}{revision}: {size}, {model['dtype']} on {model['device']}{gpu}"


def _machine_words(process: Process) -> str:
    return f"{process['machine']['system']}, {process['machine']['processor']}"


def _states(collected: Collected) -> Table:
    columns = [
        *word_columns("Phase", "What", "State", "Run, or what to type", "Ended (UTC)"),
        Column("Time", "of all its processes"),
        *word_columns("Code"),
    ]
    shown = [phase for phase in collected.results if phase.state != NOT_USED]
    return Table("Phases", columns, [_state_row(phase) for phase in shown])


def _state_row(phase: PhaseResult) -> list[Cell]:
    start = [Cell(phase.schema.phase, sort=place_of(phase.schema)), Cell(TITLES[phase.schema.name])]
    if phase.state != FINISHED:
        return [*start, Cell(phase.state, under=phase.why), Cell(phase.command, code=True), *[text(None)] * 3]
    seconds = sum(process["seconds"] for process in processes(phase))
    n, ended = len(processes(phase)), phase.manifest["finished_utc"]
    return [
        *start,
        Cell(phase.state),
        Cell(phase.artifact.path.name, code=True),
        Cell(ended[:16].replace("T", " ")),
        Cell(duration(seconds), under=f"{count(n)} processes" if n > 1 else "", sort=seconds),
        Cell("; ".join(codes_of([phase]))),
    ]


def _settings(done: list[PhaseResult]) -> Table:
    columns = word_columns("Phase", "Preset", "Setting", "Value", "Changed")
    rows = []
    for phase in done:
        manifest = phase.manifest
        changed = manifest.get("changed_settings", {})
        for name, value in manifest["all_settings"].items():
            word = any_value(value) if not isinstance(value, float) else f"{value:g}"
            flag = Cell(f"--{name.replace('_', '-')}", code=True)
            first = [Cell(phase.schema.phase, sort=place_of(phase.schema)), Cell(manifest.get("preset", ""))]
            rows.append([*first, flag, Cell(word), Cell("yes" if name in changed else "no")])
    note = "Changed: not the preset's value."
    return Table("All settings", columns, rows, note=note, folded=True)


def _commands(collected: Collected) -> Table:
    columns = word_columns("Phase", "Command")
    rows = [
        [
            Cell(phase.schema.phase, sort=place_of(phase.schema)),
            Cell(phase.manifest["command"] if phase.state == FINISHED else phase.command, code=True),
        ]
        for phase in collected.results
    ]
    folder = shlex.quote(str(collected.data_dir))
    note = f"Add --data-dir {folder}." if str(collected.data_dir) != "data" else ""
    return Table("Commands that repeat it", columns, rows, note=note, folded=True)


def _versions(done: list[PhaseResult]) -> Block:
    columns = word_columns("Library", "Version")
    rows = [[Cell(name), Cell(" and ".join(versions))] for name, versions in versions_of(done).items()]
    return Table("Versions", columns, rows, folded=True)


def share_words(n: int, of: int) -> str:
    """'3 of 974 (0.3 %)'."""
    return f"{count(n)} of {count(of)} ({number(100 * n / of, 1)} %)"
