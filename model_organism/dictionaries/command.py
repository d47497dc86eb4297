"""The command that `train_saes` and `train_transcoders` share: gather once, then train layer by layer."""

import argparse
import hashlib
import logging
import shlex
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from common.saes.mixture import Part, Samples
from common.saes.training import DictionarySettings, train_dictionary
from model_organism.dictionaries.activations import PROMPTS, TEXT, SampleSize, load_site, store_activations
from model_organism.dictionaries.sites import SAE, read_by, written_by
from model_organism.dictionaries.storage import COMMANDS, FOLDERS, layer_folder, read_training, save_dictionary

ORGANISM = Path(__file__).parents[1]
WORK_FOLDER = ORGANISM.parent / "data" / "organism_dictionaries"
N_LAYERS = 6
SAMPLE_SEED = 1  # not the model's own, so that the documents are new to it

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What one training process needs."""

    kind: str
    settings: DictionarySettings
    activations: Path
    out: Path
    made_by: dict


def run_command(kind: str, description: str, defaults: DictionarySettings) -> None:
    """Parse the command line, train every layer that is not there yet, and save each as it is finished."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--msamples", type=float, default=defaults.n_samples / 1e6, help="million samples a layer")
    parser.add_argument("--l0", type=float, default=defaults.l0, help="mean number of active latents to train for")
    parser.add_argument("--layers", type=int, nargs="+", default=list(range(N_LAYERS)), help="layers to train")
    parser.add_argument("--processes", type=int, default=2, help="layers trained at once, one thread each")
    parser.add_argument("--model", type=Path, default=ORGANISM / "weights" / "model", help="folder of the model")
    parser.add_argument("--out", type=Path, default=ORGANISM / "weights" / FOLDERS[kind], help="folder for the layers")
    parser.add_argument("--work", type=Path, default=WORK_FOLDER, help="folder for the stored activations, 7 GB")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = replace(defaults, n_samples=int(arguments.msamples * 1e6), l0=arguments.l0)
    weights = (arguments.model / "model.safetensors").read_bytes()
    made_by = {
        "command": shlex.join(["python3", "-m", f"model_organism.{COMMANDS[kind]}", *sys.argv[1:]]),
        "model_sha256": hashlib.sha256(weights).hexdigest(),
        "settings": asdict(settings),
        "sample": {**asdict(SampleSize()), "seed": SAMPLE_SEED},
    }
    job = Job(kind, settings, arguments.work / f"seed_{SAMPLE_SEED}", arguments.out, made_by)
    missing = missing_layers(job, arguments.layers)
    if missing:
        store_activations(arguments.model, SampleSize(), SAMPLE_SEED, job.activations, arguments.processes)
        n_processes = min(arguments.processes, len(missing))
        shares = [missing[rank::n_processes] for rank in range(n_processes)]
        spawn(train_layers, (job, shares), nprocs=n_processes)
    logger.info("all of %s are in %s", [layer_folder(job.out, layer).name for layer in arguments.layers], job.out)


def missing_layers(job: Job, layers: list[int]) -> list[int]:
    """The layers whose folder is absent, or was made of another model or under other settings."""
    missing = []
    for layer in layers:
        found = read_training(layer, job.out)
        if found is None or any(found[name] != job.made_by[name] for name in ("model_sha256", "settings", "sample")):
            missing.append(layer)
    return missing


def train_layers(rank: int, job: Job, shares: list[list[int]]) -> None:
    """One process: its layers one after the other."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # One thread a process: two threads of one process wait for each other as soon as anything else runs.
    torch.set_num_threads(1)
    for layer in shares[rank]:
        train_layer(job, layer)


def train_layer(job: Job, layer: int) -> None:
    """Train and save the dictionary of one layer, with its duration among its metadata."""
    started = time.monotonic()
    text, prompts = (load_samples(job.activations, part, job.kind, layer) for part in (TEXT, PROMPTS))
    logger.info("%s of layer %d", job.kind, layer)
    dictionary = train_dictionary(job.settings, [Part(0.8, text), Part(0.2, prompts)])
    minutes = round((time.monotonic() - started) / 60, 2)
    save_dictionary(dictionary, job.kind, layer, {**job.made_by, "minutes": minutes}, job.out)
    logger.info("wrote %s after %.1f minutes", layer_folder(job.out, layer), minutes)


def load_samples(folder: Path, part: str, kind: str, layer: int) -> Samples:
    inputs = load_site(folder, part, read_by(kind, layer))
    same = kind == SAE
    return Samples(inputs, inputs if same else load_site(folder, part, written_by(kind, layer)))
