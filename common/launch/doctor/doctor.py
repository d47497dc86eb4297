"""`run.py doctor`: is this machine ready, does it label programs rightly, and does a model behave? A line each."""

import logging
from collections.abc import Iterator
from pathlib import Path

from common.cli import Parser, add_sandbox_flags, sandbox_settings
from common.launch.catalogue import Catalogue
from common.launch.doctor.finding import BAD, GOOD, WORTH_KNOWING, Finding
from common.launch.doctor.machine import devices, libraries, on_the_hub, room
from common.launch.doctor.model import about_model
from common.launch.doctor.references import judged_here
from common.launch.running import context_for
from common.model.devices import resolve_device
from common.model.registry import is_on_this_disk
from common.model.settings import ModelConfig
from common.programs.expectations import empty_model, kept_bytes, memory_of

SIZED, PROBLEMS = "1", 974  # the phase whose memory and disk are told, on all of MBPP


def main(argv: list[str], catalogue: Catalogue) -> int:
    parser = Parser(prog="run.py doctor", description="What this machine has, and what would go wrong on it.")
    parser.add_argument("--model", default=None, help="load it, and see whether it and its SAEs are as they should be")
    parser.add_argument("--sae", default="auto", help="SAEs to look at (default: auto, those of the model)")
    parser.add_argument("--device", default="auto", help="where the model is loaded (default: auto)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    text = "whose reference solutions (default: mbpp where it is on this disk, else organism)"
    parser.add_argument("--dataset", default=None, help=text)
    parser.add_argument("--full", action="store_true", help="all of them, instead of ten seconds' worth")
    add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    logging.getLogger("pva_sae").setLevel(logging.ERROR)  # what is found is said once, here
    states = []
    for finding in [*libraries(), devices(), room(args.data_dir)]:
        states.append(_said(finding))
    settings = sandbox_settings(args)
    for finding in judged_here(args.dataset, settings["isolation"], settings["workers"], args.full):
        states.append(_said(finding))
    if args.model:
        for finding in _of_model(args.model, args.sae, args.device, args.data_dir, catalogue):
            states.append(_said(finding))
    n_bad, n_notes = states.count(BAD), states.count(WORTH_KNOWING)
    print(f"{n_bad} wrong, {n_notes} worth knowing" if n_bad or n_notes else "all is well")
    return 1 if n_bad else 0


def _said(finding: Finding) -> str:
    """Print it as soon as it is known; returns its state."""
    print(finding, flush=True)
    return finding.state


def _of_model(model: str, sae: str, device: str, data_dir: Path, catalogue: Catalogue) -> Iterator[Finding]:
    if not is_on_this_disk(model):
        yield on_the_hub(model)
        return
    yield _size_of_a_run(model, device, data_dir, catalogue)
    yield from about_model(model, sae, resolve_device(device))


def _size_of_a_run(model: str, device: str, data_dir: Path, catalogue: Catalogue) -> Finding:
    """Memory and disk of phase 1 on MBPP: what a dry run says, before there are problems."""
    context, _ = context_for(
        catalogue.phase(SIZED), ["--model", model, "--device", device, "--data-dir", str(data_dir)]
    )
    config = context.config
    assert isinstance(config, ModelConfig)
    empty = empty_model(config, context.device)
    if empty is None:
        return Finding(f"phase {SIZED}", WORTH_KNOWING, "what it takes is not known: the model's kind is not")
    n_layers = empty.config.get_text_config().num_hidden_layers
    disk = kept_bytes(empty, PROBLEMS, n_layers) / 1e9
    words = f"up to {memory_of(empty, config).all_gb:.1f} GB of memory, {disk:.2f} GB on disk for MBPP"
    return Finding(f"phase {SIZED}", GOOD, words)
