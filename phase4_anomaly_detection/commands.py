"""Commands of run.py that make a detector, ask it about texts, and serve it.

    python3 run.py discover --preset demo --out my_detector
    python3 run.py detect --artifacts my_detector --file prompt.txt          # ends in '# Solution:' and a newline
    python3 run.py serve --artifacts my_detector

`detect` ends with status 0 (proceed), 3 (verify) or 4 (abstain), so that a shell can route; of several texts with 3 if
any is to be verified, else 4 if it abstains on any. 2 is an error, as in every command. A text is read as it is: its
last token is the last one of the file, a final newline included.
"""

import gc
import io
import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cli import Parser
from common.errors import ConfigError
from common.files import decoded
from common.launch.catalogue import Catalogue
from common.launch.running import carry_out, context_from, dry_run, flags_of, phase_parser, say_what_runs, words_among
from common.phases.phase import check_phase_takes_slices
from common.problems.json_values import values_of
from phase4_anomaly_detection.text_rows import text_of

if TYPE_CHECKING:
    from common.phases.context import RunContext
    from phase4_anomaly_detection.detector import Detection
    from phase4_anomaly_detection.pipeline import SAEAnomalyPipeline

STATUS = {"proceed": 0, "verify": 3, "abstain": 4}
SHOWN = 5  # latents of a text in the readable block


@dataclass(frozen=True)
class GivenText:
    """A text to look at, and what it is called. `id` is echoed in JSON where the line had one."""

    text: str
    where: str
    id: Any = None
    has_id: bool = False


def hand_over(context: "RunContext", out: Path) -> int:
    """Copy the detector of a finished run of phase 4.1 to where the user wants it."""
    from phase4_anomaly_detection.detector import AnomalyDetector
    from phase4_anomaly_detection.pipeline import folder_of

    run = folder_of(context)
    detector = AnomalyDetector.load(run)
    detector.save(out)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: layer {detector.layer} of {detector.model_name}, {len(detector.latents)} latents, {size:,} bytes")
    print(f"verdict: {detector.verdict}")
    print(f"scores {detector.population.words()}")
    print(f"next: python3 run.py detect --artifacts {shlex.quote(str(out))} --file TEXT")
    return 0


def discover(argv: list[str], catalogue: Catalogue) -> int:
    """Phase 4.1, and its detector where the user wants it."""
    phase = catalogue.phase("4.1")
    parser = phase_parser(phase)
    parser.prog = "run.py discover"
    text = "folder for the detector: detector.json, latents.safetensors and README.md"
    parser.add_argument("--out", type=Path, required=True, help=text)
    args = parser.parse_args(argv)
    check_phase_takes_slices(phase, args.start, args.end)
    from phase4_anomaly_detection.detector import check_folder

    check_folder(args.out, "--out ")  # better now than after discovery
    context = context_from(phase, args, ["phase", phase.id, *words_among(flags_of(phase), argv)])
    if args.dry_run:
        return dry_run(context)
    say_what_runs(context)
    return carry_out(context, context.forget_empty_runs) or hand_over(context, args.out)


def detect(argv: list[str], _catalogue: Catalogue) -> int:
    args = _detect_parser().parse_args(argv)
    texts = _texts(args)
    pipeline = _pipeline(args, threshold=args.threshold).load_model()
    gc.freeze()  # at its end a process looks for cycles among all that the libraries made: a quarter of its time
    detections = pipeline.detect([given.text for given in texts])
    for given, detection in zip(texts, detections, strict=True):
        if args.jsonl:
            print(json.dumps({**({"id": given.id} if given.has_id else {}), **detection.as_json()}, allow_nan=False))
        else:
            print("\n".join(_block(given, detection)))
    routes = {detection.route for detection in detections}
    return next(STATUS[route] for route in ("verify", "abstain", "proceed") if route in routes)


def serve(argv: list[str], _catalogue: Catalogue) -> int:
    parser = Parser(prog="run.py serve", description="Answer over HTTP what a detector says of texts.")
    _add_detector_flags(parser)
    from phase4_anomaly_detection.service import run as service

    service.add_flags(parser)
    args = parser.parse_args(argv)
    return service.serve(_pipeline(args), args)


def _detect_parser() -> Parser:
    parser = Parser(
        prog="run.py detect",
        description="What a detector says of texts. Exit status: 0 proceed, 3 verify, 4 abstain, 2 error.",
    )
    parser._negative_number_matcher = re.compile(r"-\.?\d")  # else argparse takes --threshold -1e-3 for a flag
    _add_detector_flags(parser)
    parser.add_argument("--input", metavar="TEXT", action="append", default=[], help="the text itself; repeatable")
    text = "file with a text, read as it is, its last newline included; repeatable"
    parser.add_argument("--file", type=Path, action="append", default=[], help=text)
    parser.add_argument("--stdin", action="store_true", help="read the text from standard input, likewise")
    text = 'every line of the input is a text: a JSON string, or {"text", "prompt", "code" or the last two, "id"?}'
    parser.add_argument("--jsonl", action="store_true", help=text)
    parser.add_argument(
        "--threshold", type=float, default=None, help="in place of the detector's; drops the abstain band"
    )
    return parser


def _add_detector_flags(parser: Parser) -> None:
    """Which detector, and how its model is run."""
    parser.add_argument("--artifacts", metavar="DIR", type=Path, required=True, help="folder of a detector")
    parser.add_argument("--model", default=None, help="where the detector's model lies now (default: where it lay)")
    parser.add_argument("--layer", type=int, default=None, help="checked: must be the detector's")
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N | mps (default: auto)")
    text = "auto | float64 | float32 | bfloat16 | float16 (auto: float64 for small models, else the detector's)"
    parser.add_argument("--dtype", default="auto", help=text)
    text = "none | 8bit | 4bit; checked: must be the detector's; bits need an NVIDIA GPU (default: the detector's)"
    parser.add_argument("--quantisation", default=None, help=text)
    text = "what becomes of a text longer than the context: refuse | windows, overlapping (default: refuse)"
    parser.add_argument("--long-input", default="refuse", help=text)
    parser.add_argument("--batch-size", type=int, default=16, help="texts read together (default: 16)")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: torch's own choice (default: 0)")


def _pipeline(args: Any, **further: Any) -> "SAEAnomalyPipeline":
    from phase4_anomaly_detection.pipeline import SAEAnomalyPipeline

    return SAEAnomalyPipeline.load(
        args.artifacts,
        args.device,
        model=args.model,
        layer=args.layer,
        dtype=args.dtype,
        threads=args.threads,
        quantisation=args.quantisation,
        long_input=args.long_input,
        batch_size=args.batch_size,
        **further,
    )


def _texts(args: Any) -> list[GivenText]:
    """Every text that was given, in order: --input, --file, standard input. Raises: ConfigError."""
    sources = [("--input", text.encode()) for text in args.input]
    sources += [(str(path), _content(path)) for path in args.file]
    sources += [("standard input", sys.stdin.buffer.read())] if args.stdin else []
    if not sources:
        raise ConfigError("there is no text to look at\nGive --input TEXT, --file FILE or --stdin")
    if not args.jsonl:
        return [_not_empty(GivenText(decoded(content, where), where)) for where, content in sources]
    rows = [row for where, content in sources for row in values_of(io.BytesIO(content), where)]
    if not rows:
        raise ConfigError(
            f"{', '.join(where for where, _ in sources)}: no line holds a text\nGive one JSON text a line"
        )
    return [_not_empty(_of_row(row, where)) for where, row in rows]


def _not_empty(given: GivenText) -> GivenText:
    if not given.text.strip():
        raise ConfigError(f"{given.where}: the text is empty\nGive a prompt or a program")
    return given


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--file {path} cannot be read: {error.strerror}\nGive an existing file") from error


def _of_row(row: Any, where: str) -> GivenText:
    if isinstance(row, str):
        return GivenText(row, where)
    text = text_of(row, where)
    try:
        json.dumps(row.get("id"), allow_nan=False)
    except ValueError as error:  # Python reads NaN, Infinity and 1e999, which are no JSON to others
        raise ConfigError(f"{where}: 'id' holds a number that JSON has not\nGive another one, or a string") from error
    return GivenText(text, where, id=row.get("id"), has_id="id" in row)


def _block(given: GivenText, detection: "Detection") -> list[str]:
    """A few lines for a reader."""
    if detection.probability is None or detection.anomaly_score is None:
        return [f"{detection.route}: {given.where}", f"  {detection.reason}", f"  detector: {detection.verdict}"]
    band = "" if detection.reason is None else f"; {detection.reason}"
    window = detection.window
    place = f", window {window['index'] + 1} of {window['count']} decides" if window else ""
    lines = [
        f"{detection.route}: {given.where} ({detection.n_tokens} tokens{place})",
        f"  P(incorrect) {detection.probability:.2f}: {detection.level}; score {detection.anomaly_score:.4f}, "
        f"threshold {detection.threshold:.4f}{band}",
    ]
    lines += [
        f"  {entry['contribution']:+.4f}  layer {entry['layer']} latent {entry['latent']}: activation "
        f"{entry['activation']:.3f} x weight {entry['weight']:.4f} (t {entry['t']:.1f})"
        for entry in detection.top_features[:SHOWN]
    ]
    left = len(detection.top_features) - SHOWN
    lines += [f"  and {left} latents more" if left > 1 else "  and 1 latent more"] if left > 0 else []
    lines += [] if detection.top_features else ["  none of its latents fires"]
    return [*lines, f"  detector: {detection.verdict}"]
