"""The tokens of a run: pieces of text in the order in which they are read, those held out, and prompts.

1. A text's documents are shuffled. From the front, documents are held out until there are enough of their tokens; of
   few documents the end of each is held out instead. The rest is tokenized as far as it is needed.
2. Each document is cut into pieces of --context tokens, each with what the tokenizer puts in front of a text.
3. Pieces come in a random order, another one each time the text is gone through.
4. Of a piece every token counts but the first, and what stands in front; of a prompt only the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import ConfigError
from common.model.general_text import load_text
from common.model.language_model import LanguageModel
from common.model.tokenization import encode, tokens_in_front
from common.problems.json_values import as_object, field_of, values_in
from common.seeds import document_seed

HELD_OUT_SHARE = 0.1  # at most, of the documents of a text
FEW_DOCUMENTS = 20
LEAST_PROMPTS_HELD_OUT = 5
LEAST_PIECE = 3  # tokens of a text, behind what stands in front
DOCUMENTS_AT_ONCE = 32

Piece = np.ndarray  # token ids, int32


@dataclass
class Stream:
    """Pieces without end, in an order that depends on the seed alone. `n_skipped` tokens of each do not count."""

    name: str
    pieces: list[Piece]
    n_skipped: int
    seed: int
    _place: int = field(default=0, init=False)

    @property
    def n_tokens(self) -> int:
        """Tokens that count."""
        return sum(len(piece) - self.n_skipped for piece in self.pieces)

    def take(self, n_tokens: int) -> list[Piece]:
        """The next pieces, with so many tokens that count, or a few more."""
        taken: list[Piece] = []
        while n_tokens > 0:
            epoch, place = divmod(self._place, len(self.pieces))
            piece = self.pieces[self._order(epoch)[place]]
            taken.append(piece)
            n_tokens -= len(piece) - self.n_skipped
            self._place += 1
        return taken

    def _order(self, epoch: int) -> np.ndarray:
        if self._known[0] != epoch:
            rng = np.random.default_rng(document_seed(self.seed, f"{self.name}/{epoch}"))
            self._known = (epoch, rng.permutation(len(self.pieces)))
        return self._known[1]

    _known: tuple[int, np.ndarray] = field(default=(-1, np.empty(0)), init=False)


@dataclass(frozen=True)
class Text:
    """What a part of the mixture reads, and pieces that it never trains on."""

    stream: Stream
    held_out: list[Piece]
    source: str

    @property
    def n_tokens(self) -> int:
        return self.stream.n_tokens

    @property
    def n_held_out(self) -> int:
        return sum(len(piece) - self.stream.n_skipped for piece in self.held_out)


@dataclass(frozen=True)
class Prompts:
    """Prompts as token ids, those trained on and those held out; the last token of each counts."""

    trained: list[Piece]
    held_out: list[Piece]
    source: str

    @property
    def n_tokens(self) -> int:
        return len(self.trained)

    @property
    def n_held_out(self) -> int:
        return len(self.held_out)


Parts = dict[str, tuple[float, Text | Prompts]]  # by name: each with its share of every batch


def texts_of(parts: Parts) -> dict[str, Text]:
    return {name: part for name, (_, part) in parts.items() if isinstance(part, Text)}


def prompts_of(parts: Parts) -> dict[str, Prompts]:
    return {name: part for name, (_, part) in parts.items() if isinstance(part, Prompts)}


def text_part(
    lm: LanguageModel, name: str, text: str, n_tokens: int, *, context: int, held_out: int, seed: int
) -> Text:
    """As much of a text as `n_tokens` tokens need, or all of it. Raises: ConfigError for one that is too short."""
    loaded = load_text(text)
    documents = [document for document in loaded.documents if document.strip()]
    order = np.random.default_rng(document_seed(seed, name)).permutation(len(documents))
    front = tokens_in_front(lm.tokenizer)
    n_skipped = max(1, len(front))
    context = min(context, lm.context_length)
    trained: list[Piece] = []
    kept_out: list[Piece] = []
    by_document = len(documents) >= FEW_DOCUMENTS
    n_held_out = n_trained = 0
    for first in range(0, len(order), DOCUMENTS_AT_ONCE):
        some = [documents[place] for place in order[first : first + DOCUMENTS_AT_ONCE]]
        for place, ids in enumerate(encode(lm, some), start=first):
            pieces = _pieces(ids, front, context)
            n_own = sum(len(piece) - n_skipped for piece in pieces)
            if not by_document:
                most = max(1, held_out // len(documents) // context)
                end = len(pieces) - min(most, max(1, round(HELD_OUT_SHARE * len(pieces))))
                trained, kept_out = trained + pieces[:end], kept_out + pieces[end:]
                n_trained += sum(len(piece) - n_skipped for piece in pieces[:end])
            elif n_held_out < held_out and place < max(1, HELD_OUT_SHARE * len(documents)):
                enough = 1 + (held_out - n_held_out) // context  # of a long document its beginning
                kept_out += pieces[:enough]
                n_held_out += n_own
            else:
                trained += pieces
                n_trained += n_own
        if n_trained >= n_tokens:
            break
    if not trained or not kept_out:
        raise ConfigError(
            f"the text '{text}' has too few tokens to train on some and hold out others: {n_trained} and {n_held_out}\n"
            f"Give a longer one with --text, or leave the part '{name}' out of --mixture"
        )
    return Text(Stream(name, trained, n_skipped, seed), kept_out, loaded.source)


def prompts_part(lm: LanguageModel, name: str, ids: Sequence[list[int]], source: str, seed: int) -> Prompts:
    """A tenth of the prompts is held out. Raises: ConfigError for too few of them."""
    order = np.random.default_rng(document_seed(seed, name)).permutation(len(ids))
    n_held_out = max(LEAST_PROMPTS_HELD_OUT, round(HELD_OUT_SHARE * len(ids)))
    if len(ids) < 2 * n_held_out:
        raise ConfigError(
            f"the part '{name}' has {len(ids)} prompts, of which {n_held_out} are held out\n"
            f"Give at least {2 * LEAST_PROMPTS_HELD_OUT}, or leave it out of --mixture"
        )
    pieces = [np.array(ids[place][-lm.context_length :], np.int32) for place in order]
    return Prompts(pieces[n_held_out:], pieces[:n_held_out], source)


def prompts_in(path: Path) -> list[str]:
    """The prompts of a .jsonl file, one object with 'prompt' in each line. Raises: ConfigError."""
    prompts = []
    for where, value in values_in(path):
        prompts.append(field_of(as_object(value, where), ("prompt",), (str,), where))
        if not prompts[-1]:
            raise ConfigError(f'{where}: the prompt is empty\nGive a file with {{"prompt": "..."}} in each line')
    return prompts


def _pieces(ids: list[int], front: list[int], context: int) -> list[Piece]:
    behind, length = ids[len(front) :], context - len(front)
    starts = range(0, len(behind), length)
    cut = [behind[start : start + length] for start in starts]
    return [np.array(front + piece, np.int32) for piece in cut if len(piece) >= LEAST_PIECE]
