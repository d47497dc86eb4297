"""How much a change disturbs a model: the KL divergence of its next-token distributions along the unsteered program.

The program that the model writes unsteered is read again while the model is changed, token by token the same (teacher
forcing), from the last prompt token on. At each token KL(unsteered || changed) of the distribution that it was chosen
from; their mean is the program's. At the first token alone it would measure nothing: nearly every program begins with
`def`, whatever is done to the model.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from common.model.forward import logits_of_every_token
from common.model.hooks import embeddings_of
from common.model.language_model import LanguageModel
from common.model.memory import cache_bytes
from common.model.row_cache import rows_may_join

NUMBERS_AT_ONCE, NUMBERS_AT_ONCE_GPU = 1 << 25, 1 << 28  # of next-token distributions
HELD_BYTES, HELD_BYTES_GPU = 1 << 29, 1 << 32  # of keys and values, for prompts and programs
TOKENS_AT_ONCE = 8  # of every row, where memory allows: rows that share a prompt are worth more than longer passes


def parts(lm: LanguageModel, n_prompts: Sequence[int], programs: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Which rows are read together: of like length, since each part is read to its longest program's end.

    `n_prompts` are the tokens of their prompts. With a vocabulary of 256,000 the distribution behind one token takes a
    megabyte, and a prompt of 4,000 tokens as much room as forty others.
    """
    most_rows = max(1, _n_distributions(lm) // TOKENS_AT_ONCE)
    most_held = _either(lm, HELD_BYTES, HELD_BYTES_GPU) // cache_bytes(lm.model) // 2  # each row changed and unchanged
    part, widest, longest = list[int](), 0, 0
    for row in sorted(range(len(programs)), key=lambda row: (len(programs[row]), n_prompts[row])):
        wide, long = max(widest, n_prompts[row]), max(longest, len(programs[row]))
        if part and (len(part) == most_rows or (len(part) + 1) * (wide + long) > most_held):
            yield part
            part, wide, long = [], n_prompts[row], len(programs[row])
        part.append(row)
        widest, longest = wide, long
    if part:
        yield part


def along_programs(
    lm: LanguageModel,
    programs: Sequence[Sequence[int]],
    first: Float[Tensor, "batch d_vocab"],
    cache: DynamicCache,
    mask: Int[Tensor, "called pos"],
) -> Iterator[Float[Tensor, "batch 1 d_vocab"]]:
    """Log-probabilities behind each token of the programs; behind a program's end they mean nothing.

    `first` are the logits behind the prompts, which the cache holds; the programs enter it, part by part. The model is
    called on as many rows as there are programs, and may give more (common/model/parting.py), as many as `first` has.
    """
    yield torch.log_softmax(first.float(), dim=-1)[:, None]
    longest = max(map(len, programs)) - 1
    read = [list(program[:-1]) for program in programs]
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in read], dtype=torch.long, device=mask.device)
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in read], device=mask.device)
    # Mamba's recurrence starts afresh in a pass of several tokens, whatever the cache holds.
    at_once = max(1, _n_distributions(lm) // len(first)) if rows_may_join(lm) else 1
    for start in range(0, longest, at_once):
        some = slice(start, start + at_once)
        mask = torch.cat([mask, real[:, some].to(mask)], dim=1)
        with lm.meter.reading(lm.model, ids[:, some].numel()):
            logits = logits_of_every_token(lm, ids[:, some], mask, cache)
        for token in logits.split(1, dim=1):  # large temporaries would come as new pages each time
            yield torch.log_softmax(token.float(), dim=-1)
        del logits, token  # before the next are computed


def mean_kls(
    distributions: Iterable[tuple[Float[Tensor, "batch 1 d_vocab"], Float[Tensor, "batch 1 d_vocab"]]],
    programs: Sequence[Sequence[int]],
) -> list[float]:
    """KL(unsteered || changed) [nats] of each program, mean over its tokens, from both log-probabilities of each."""
    kls = []
    for unsteered, changed in distributions:
        kls.append((unsteered.exp() * (unsteered - changed)).sum(-1).clamp(min=0))  # rounding can leave it below
    kl = torch.cat(kls, dim=1)
    return [float(of_row[: len(program)].mean()) for of_row, program in zip(kl, programs, strict=True)]


def _n_distributions(lm: LanguageModel) -> int:
    """How many are held at once."""
    return max(1, _either(lm, NUMBERS_AT_ONCE, NUMBERS_AT_ONCE_GPU) // embeddings_of(lm.model).num_embeddings)


def _either(lm: LanguageModel, on_processor: int, on_gpu: int) -> int:
    return on_processor if torch.device(lm.device).type == "cpu" else on_gpu
