"""What phases 6.1b, 6.2 and 6.4b found of a natural model, as the tables of a page.

    python3 -m natural.circuits --data-dir data/natural/data --page docs/natural/circuits.md

Of each contrast and format the newest finished run in the folders counts; --data-dir may be given more than once. The
heat map of the first contrast that was patched is written beside the page.
"""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import handoffs
from common.cli import Parser, exit_with, new_log
from common.errors import ConfigError, MissingArtifactError
from natural.page import fill
from natural.tables import table, with_interval

if TYPE_CHECKING:
    from common.handoffs.error_dense import ErrorDenseDocument
    from common.handoffs.error_gate import ErrorGateDocument, GateFigures
    from common.handoffs.error_patching import ErrorPatchingDocument, PatchedPlace
    from common.handoffs.estimates import Counted
    from common.runs.artifacts import Artifact

HEAT_MAP, HEADS_TOLD, NODES_TOLD = "residual_denoising.svg", 6, 12
NAMED = ("diff_first", "end")  # positions of which directions are told


def newest(schema: handoffs.ArtifactSchema, folders: Iterable[Path]) -> dict[str, Artifact]:
    """The newest finished run of each contrast and format; gates, which are of several, by their folder.

    Raises: MissingArtifactError without any; ConfigError where they are of several models.
    """
    from common.runs.artifacts import Artifact
    from common.runs.discovery import list_runs

    folders = [*folders]
    runs = [(run, folder) for folder in folders for run in list_runs(schema, folder) if run.finished]
    if not runs:
        raise MissingArtifactError(
            f"no finished run of phase {schema.phase} in {', '.join(map(str, folders))}\n"
            f"Make one with: python3 run.py phase {schema.phase} --model MODEL --data-dir {folders[0]}"
        )
    models = sorted({str(run.of("model")) for run, _ in runs})
    if len(models) > 1:
        raise ConfigError(
            f"phase {schema.phase} was run on {' and on '.join(models)} in these folders\n"
            "Give --data-dir of one model: a page is about one"
        )
    artifacts: dict[str, Artifact] = {}
    for run, folder in sorted(runs, key=lambda one: one[0].path.name, reverse=True):
        made = Artifact(schema, run, "")
        told = made.document()  # and not its experiment: an older run's does not name its contrast
        studied = f"{told.contrast}, {told.format}" if "contrast" in schema.keys else str(folder)
        artifacts.setdefault(studied, made)
    return artifacts


def gate_table(gates: Iterable[ErrorGateDocument]) -> str:
    rows = [
        [contrast, form, template, result.verdict.name, *_answers(result.select), _both(result.held_out)]
        for gate in gates
        for contrast, forms in gate.contrasts.items()
        for form, studied in forms.items()
        for template, result in studied.by_template.items()
    ]
    figures = ("pairs", "clean", "corrupted", "both signs right", "clean above corrupted", "mass on the eight names")
    return table(("contrast", "format", "template", "verdict", *figures, "both signs, held out"), rows)


def _answers(figures: GateFigures) -> list[Any]:
    differences = [f"{value:+.2f}" for value in (figures.clean, figures.corrupted)]
    return [
        figures.n,
        *differences,
        _counted(figures.both_signs),
        _counted(figures.clean_above),
        f"{figures.mass:.2f}",
    ]


def _both(figures: GateFigures | None) -> str:
    return "" if figures is None else _counted(figures.both_signs)


def _counted(share: Counted) -> str:
    return f"{share.n}/{share.of} ({share.rate.low:.2f} to {share.rate.high:.2f})"


def path_table(maps: Iterable[ErrorPatchingDocument]) -> str:
    """Of each layer the position that carries most."""
    rows = (
        [one.contrast, place.layer, f"`{place.token.strip()}`", place.pos, *_both_ways(place)]
        for one in maps
        for place in one.path
    )
    return table(("contrast", "layer", "token", "position", "clean into corrupted", "corrupted into clean"), rows)


def parts_table(maps: Iterable[ErrorPatchingDocument]) -> str:
    """What attention, the MLP and single heads move."""
    return table(
        ("contrast", "part", "where", "clean into corrupted", "corrupted into clean"),
        (row for one in maps for row in (*_branches(one), *_heads(one))),
    )


def _branches(one: ErrorPatchingDocument) -> Iterator[list[Any]]:
    for place in one.strongest:
        if place.part != "resid_post":
            where = f"`{place.token.strip()}` ({place.pos})" if place.token else "all positions"
            yield [one.contrast, f"{place.part} {place.layer}", where, *_both_ways(place)]


def _heads(one: ErrorPatchingDocument) -> Iterator[list[Any]]:
    there, back = ({(head.layer, head.head): head for head in way.heads} for way in one.heads.values())
    for layer, head in [*there][:HEADS_TOLD]:
        both_ways = [ways.get((layer, head)) for ways in (there, back)]
        shares = ["" if way is None else with_interval(vars(way.exact)) for way in both_ways]
        yield [one.contrast, f"head {layer}.{head}", "all positions", *shares]


def _both_ways(place: PatchedPlace) -> list[str]:
    return [with_interval(vars(share)) for share in (place.denoising, place.noising)]


def circuits_table(circuits: Iterable[ErrorDenseDocument]) -> str:
    """Of pairs that were held out."""
    rows = []
    for one in circuits:
        curves = one.held_out
        for number, size in enumerate(one.sizes):
            shares = (curves.faithfulness[number], curves.completeness[number], curves.random[number])
            cells = [with_interval(vars(share)) for share in shares]
            rows.append([one.contrast, curves.n, f"{size:,}", f"{size / one.n_nodes:.2%}", *cells])
    kept = ("faithfulness", "completeness (less is better)", "as many random ones")
    return table(("contrast", "held-out pairs", "heads and neurons", "of those that differ", *kept), rows)


def nodes_table(circuits: Iterable[ErrorDenseDocument]) -> str:
    rows = (
        [one.contrast, f"{node.kind} {node.layer}.{node.unit}", f"`{node.token.strip()}` ({node.pos})", share]
        for one in circuits
        for node in one.nodes[:NODES_TOLD]
        for share in [f"{node.importance:+.3f}"]
    )
    return table(("contrast", "node", "where", "importance, share of the total"), rows)


def directions_table(circuits: Iterable[ErrorDenseDocument]) -> str:
    rows = (
        [
            one.contrast,
            fitted.layer,
            fitted.position,
            *(with_interval(vars(x)) for x in (fitted.direction, fitted.whole)),
        ]
        for one in circuits
        for fitted in one.directions
        if not {*fitted.position.split("+")}.isdisjoint(NAMED)
    )
    return table(("contrast", "layer", "position", "along the mean difference", "the whole difference"), rows)


def tables_of(folders: list[Path]) -> dict[str, str]:
    """Table by name, as the page's places are called."""
    gates, maps, circuits = (
        [made.document() for made in newest(schema, folders).values()]
        for schema in (handoffs.ERROR_GATE, handoffs.ERROR_PATCHING, handoffs.ERROR_DENSE)
    )
    return {
        "gate": gate_table(gates),
        "paths": path_table(maps),
        "parts": parts_table(maps),
        "circuits": circuits_table(circuits),
        "nodes": nodes_table(circuits),
        "directions": directions_table(circuits),
    }


def main(argv: list[str]) -> int:
    parser = Parser(prog="-m natural.circuits", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, action="append", required=True, help="folder of artifacts; repeatable")
    parser.add_argument("--page", type=Path, required=True, help="Markdown page whose tables are filled")
    args = parser.parse_args(argv)
    fill(args.page, tables_of(args.data_dir))
    for made in [*newest(handoffs.ERROR_PATCHING, args.data_dir).values()][:1]:
        drawing = (made.path / "figures" / HEAT_MAP).read_bytes()
        args.page.with_name("heat_map.svg").write_bytes(drawing)
    new_log().info("wrote %s", args.page)
    return 0


if __name__ == "__main__":
    exit_with(main)
