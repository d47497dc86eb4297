"""Train the model organism on CPU, from nothing or from a trained one, and write the model.

    python3 -m model_organism.train_model
    python3 -m model_organism.train_model --start model_organism/weights/model --out data/organism/model \
        --curve data/organism/training_curve.jsonl

Builds the corpus, refuses it if it holds text of the evaluation, trains the tokenizer and the model
(about half an hour on two idle cores) and writes model_organism/weights/model,
model_organism/weights/training.json and model_organism/training_curve.jsonl. With --start the model
and tokenizer of a folder are trained on, with a corpus half of which are snippets, and lower learning
rates. A run that was stopped goes on from its last checkpoint when the same command is given again;
--export writes the last checkpoint as it is.
"""

import argparse
import hashlib
import json
import logging
import platform
import shlex
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.multiprocessing
from transformers import PreTrainedTokenizerFast

from common.errors import MissingArtifactError, PipelineError
from model_organism.architecture import initial_model
from model_organism.corpus import (
    BEHAVIOUR,
    CONTINUED_SIZE,
    FULL_SIZE,
    GENERAL,
    PROBLEM,
    SNIPPET,
    CorpusSize,
    Document,
    build_documents,
    check_no_evaluation_text,
    evaluation_lines_of,
    tokenize_documents,
)
from model_organism.problems import evaluation_problems
from model_organism.tokenizer import train_tokenizer
from model_organism.training.checkpoints import CheckpointFolder, read_progress, restore
from model_organism.training.process import SharedState, split_flat, train_in_process
from model_organism.training.settings import CONTINUED, TrainingSettings

HERE = Path(__file__).parent
WORK_FOLDER = HERE.parent / "data" / "organism_training"
TOKENIZER_DOCUMENTS = {PROBLEM: 25_000, SNIPPET: 14_000, BEHAVIOUR: 40_000, GENERAL: 6_000}

logger = logging.getLogger(__name__)


def build_corpus(folder: Path, size: CorpusSize, seed: int, n_processes: int, start: Path | None) -> None:
    """Write the tokenizer, the tokenized corpus and the model to start from to `folder`, unless they are there."""
    if (folder / "corpus.json").exists():
        logger.info("using the corpus in %s", folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    banned_lines = evaluation_lines_of(evaluation_problems())
    documents = build_documents(size, seed, banned_lines, n_processes)
    check_no_evaluation_text(documents, banned_lines)
    if start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
        shutil.copytree(start, folder / "start", dirs_exist_ok=True)
        shutil.copy(start.parent / "training.json", folder / "start")
    else:
        tokenizer = train_tokenizer(_texts_for_tokenizer(documents))
    tokenizer.save_pretrained(folder / "tokenizer")
    corpus = tokenize_documents(documents, tokenizer)
    corpus.save(folder / "corpus.safetensors")
    counts = {kind: sum(document.kind == kind for document in documents) for kind in TOKENIZER_DOCUMENTS}
    manifest = {
        "documents": counts,
        "size": asdict(size),
        "tokens": len(corpus.token_ids),
        "rows": len(corpus.lengths),
    }
    (folder / "corpus.json").write_text(json.dumps(manifest, indent=1) + "\n")
    logger.info("corpus: %s", manifest)


def train(settings: TrainingSettings, folder: Path) -> None:
    """Run the training processes until the last token; raises RuntimeError if one of them fails."""
    n_parameters = sum(parameter.numel() for parameter in initial_model(settings.shape, settings.seed).parameters())
    logger.info("training %d parameters on %.2f million tokens", n_parameters, settings.mtokens)
    context = torch.multiprocessing.get_context("spawn")
    shared = SharedState.allocate(n_parameters, settings.n_processes)
    barrier = context.Barrier(settings.n_processes)
    processes = [
        context.Process(target=train_in_process, args=(rank, settings, folder, shared, barrier), daemon=True)
        for rank in range(settings.n_processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    exit_codes = [process.exitcode for process in processes]
    if any(exit_codes):
        raise RuntimeError(f"training processes ended with {exit_codes}; run the same command to go on")


def save_model(settings: TrainingSettings, folder: Path, model_folder: Path) -> None:
    """Write the newest checkpoint in Hugging Face format, bfloat16, with its tokenizer."""
    checkpoint = CheckpointFolder(folder / "checkpoints", settings).newest()
    if checkpoint is None:
        raise MissingArtifactError(f"no checkpoint in {folder}\nTrain first: the same command without --export")
    model = initial_model(settings.shape, settings.seed)
    flat = torch.zeros(sum(parameter.numel() for parameter in model.parameters()))
    restore(checkpoint, "shared", {"masters": flat})
    with torch.no_grad():
        parameters = list(model.parameters())
        for parameter, master in zip(parameters, split_flat(flat, parameters), strict=True):
            parameter.copy_(master)
    model.tie_weights()
    model_folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16)  # pyright: ignore[reportArgumentType] - its decorator hides that this is a method
    model.save_pretrained(model_folder)
    for path in (folder / "tokenizer").iterdir():
        shutil.copy(path, model_folder)
    logger.info("wrote %s", model_folder)


def write_record(settings: TrainingSettings, folder: Path, model_folder: Path) -> None:
    """Write beside the model how it was made: command, settings, duration, versions, SHA-256."""
    import tokenizers
    import transformers

    weights = model_folder / "model.safetensors"
    checkpoint = CheckpointFolder(folder / "checkpoints", settings).newest()
    assert checkpoint is not None  # the training has ended
    progress = read_progress(checkpoint)
    start = folder / "start" / "training.json"
    record = {
        "command": shlex.join(["python3", "-m", "model_organism.train_model", *sys.argv[1:]]),
        "settings": asdict(settings),
        "steps": progress.step,
        "tokens": progress.n_tokens,
        "minutes": round(progress.seconds / 60, 1),
        "corpus": json.loads((folder / "corpus.json").read_text()),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "bytes": weights.stat().st_size,
        "sha256": sha256_of(weights),
        "start": json.loads(start.read_text()) if settings.start_sha256 else None,
    }
    (model_folder.parent / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _texts_for_tokenizer(documents: list[Document]) -> list[str]:
    remaining = dict(TOKENIZER_DOCUMENTS)
    texts = []
    for document in documents:
        if remaining[document.kind] > 0:
            remaining[document.kind] -= 1
            texts.append(document.text)
    return texts


def _settings(arguments: argparse.Namespace) -> TrainingSettings:
    given = {name: getattr(arguments, name) for name in ("mtokens", "seed", "n_processes")}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.start is None:
        return replace(TrainingSettings(), **given)
    for needed in (arguments.start / "model.safetensors", arguments.start.parent / "training.json"):
        if not needed.is_file():
            raise MissingArtifactError(
                f"--start is {arguments.start}, but there is no {needed}\n"
                f"Give the folder of a model that this command wrote, as model_organism/weights/model"
            )
    return replace(CONTINUED, start_sha256=sha256_of(arguments.start / "model.safetensors"), **given)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    defaults, continued = TrainingSettings(), CONTINUED
    parser.add_argument("--start", type=Path, help="folder of a trained model to continue from (default: from nothing)")
    shown = f"default: {defaults.mtokens:g}, with --start {continued.mtokens:g}"
    parser.add_argument("--mtokens", type=float, help=f"million tokens to train on ({shown})")
    shown = f"default: {defaults.seed}, with --start {continued.seed}"
    parser.add_argument("--seed", type=int, help=f"seed of corpus, weights and batches ({shown})")
    shown = f"default: {defaults.n_processes}"
    parser.add_argument("--processes", dest="n_processes", type=int, help=f"of one thread each ({shown})")
    parser.add_argument("--out", type=Path, default=HERE / "weights" / "model", help="folder for the model")
    parser.add_argument("--work", type=Path, default=WORK_FOLDER, help="folder for corpus, checkpoints and curve")
    parser.add_argument("--curve", type=Path, default=HERE / "training_curve.jsonl", help="file for the curve")
    parser.add_argument("--export", action="store_true", help="train no further, write the last checkpoint")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        settings = _settings(arguments)
        start_name = f"_after_{settings.start_sha256[:8]}" if settings.start_sha256 else ""
        folder = arguments.work / f"seed_{settings.seed}{start_name}"
        if not arguments.export:
            size = CONTINUED_SIZE if arguments.start else FULL_SIZE
            build_corpus(folder, size, settings.seed, settings.n_processes, arguments.start)
            train(settings, folder)
        save_model(settings, folder, arguments.out)
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    write_record(settings, folder, arguments.out)
    shutil.copy(folder / "curve.jsonl", arguments.curve)


if __name__ == "__main__":
    main()
