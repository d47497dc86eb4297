"""Train the model organism on CPU, from nothing, and write the model that the project ships.

    python3 -m model_organism.train_model

Builds the corpus, refuses it if it holds text of the evaluation, trains the tokenizer and the model
(about half an hour on two idle cores) and writes model_organism/weights/model,
model_organism/weights/training.json and model_organism/training_curve.jsonl. A run that was stopped
goes on from its last checkpoint when the same command is given again.
"""

import argparse
import hashlib
import json
import logging
import platform
import shlex
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import torch.multiprocessing

from model_organism.architecture import initial_model
from model_organism.corpus import (
    BEHAVIOUR,
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
from model_organism.training.settings import TrainingSettings

HERE = Path(__file__).parent
WORK_FOLDER = HERE.parent / "data" / "organism_training"
TOKENIZER_DOCUMENTS = {PROBLEM: 25_000, SNIPPET: 14_000, BEHAVIOUR: 40_000, GENERAL: 6_000}

logger = logging.getLogger(__name__)


def build_corpus(folder: Path, size: CorpusSize, seed: int, n_processes: int) -> None:
    """Write the tokenizer and the tokenized corpus to `folder`, unless they are there."""
    if (folder / "corpus.json").exists():
        logger.info("using the corpus in %s", folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    banned_lines = evaluation_lines_of(evaluation_problems())
    documents = build_documents(size, seed, banned_lines, n_processes)
    check_no_evaluation_text(documents, banned_lines)
    tokenizer = train_tokenizer(_texts_for_tokenizer(documents))
    tokenizer.save_pretrained(folder / "tokenizer")
    corpus = tokenize_documents(documents, tokenizer)
    corpus.save(folder / "corpus.safetensors")
    counts = {kind: sum(document.kind == kind for document in documents) for kind in TOKENIZER_DOCUMENTS}
    manifest = {"documents": counts, "tokens": len(corpus.token_ids), "rows": len(corpus.lengths)}
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
    assert checkpoint is not None  # the training has ended
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
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    (model_folder.parent / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def _texts_for_tokenizer(documents: list[Document]) -> list[str]:
    remaining = dict(TOKENIZER_DOCUMENTS)
    texts = []
    for document in documents:
        if remaining[document.kind] > 0:
            remaining[document.kind] -= 1
            texts.append(document.text)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    defaults = TrainingSettings()
    parser.add_argument("--mtokens", type=float, default=defaults.mtokens, help="million tokens to train on")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of corpus, weights and batches")
    parser.add_argument("--out", type=Path, default=HERE / "weights" / "model", help="folder for the model")
    parser.add_argument("--work", type=Path, default=WORK_FOLDER, help="folder for corpus, checkpoints and curve")
    parser.add_argument("--curve", type=Path, default=HERE / "training_curve.jsonl", help="file for the curve")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = TrainingSettings(mtokens=arguments.mtokens, seed=arguments.seed)
    folder = arguments.work / f"seed_{arguments.seed}"
    build_corpus(folder, FULL_SIZE, arguments.seed, settings.n_processes)
    train(settings, folder)
    save_model(settings, folder, arguments.out)
    write_record(settings, folder, arguments.out)
    shutil.copy(folder / "curve.jsonl", arguments.curve)


if __name__ == "__main__":
    main()
