"""The direction from one operation to another, in the residual stream's own units.

1. Each twin's prompts, A's and B's, are read with their reference programs behind them.
2. The stream is taken at the last token that both programs share: what comes next is where they part. (The difference
   at the last prompt token did not survive another training of the model organism.)
3. The direction is the mean over twins of B's stream minus A's.

Source: difference of means, Marks & Tegmark 2023, arXiv:2310.06824; on contrast pairs, as in Rimsky et al. 2023,
arXiv:2312.06681.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from common.model.answers import n_shared
from common.model.forward import next_token_logits
from common.model.hooks import Activations, read_sites
from common.model.language_model import LanguageModel
from common.model.tokenization import encode_padded
from common.problems.prompt import ChatTemplate, bodies_of
from phase3_validation.positive_control.twins import Twin, prompt_of


def mean_difference(
    lm: LanguageModel, twins: Sequence[Twin], site: str, chat: ChatTemplate | None = None
) -> Float[Tensor, " d_model"]:
    """Mean over twins of the stream of B minus that of A at `site`, float32 on the processor.

    Raises: UnknownHookError for a site that the model does not have.
    """
    problems = [problem for twin in twins for problem in (twin.a, twin.b)]
    prompts = [prompt_of(problem, chat) for problem in problems]
    texts = [f"{prompt.text}{problem.code}\n" for prompt, problem in zip(prompts, problems, strict=True)]
    encoded = encode_padded(lm, texts, bodies=bodies_of(prompts), offsets=True)
    starts, ids = encoded["offset_mapping"][..., 0], encoded["input_ids"]
    behind_prompt = starts >= torch.tensor([[len(prompt.text)] for prompt in prompts])
    written = behind_prompt & ~encoded["special_tokens_mask"].bool()
    programs = [row[mask].tolist() for row, mask in zip(ids, written, strict=True)]
    columns = []
    for a, b in zip(programs[::2], programs[1::2], strict=True):
        # Padding stands on the left, so a program ends with its row.
        columns += [ids.shape[1] - len(program) - 1 + n_shared(a, b) for program in (a, b)]
    taken: list[Tensor] = []

    def take(_site: str, resid: Activations) -> None:
        taken.append(resid[torch.arange(len(columns)), torch.tensor(columns)].float().cpu())

    with torch.inference_mode(), read_sites(lm.model, [site], take, stop=True):
        next_token_logits(lm, ids.to(lm.device), encoded["attention_mask"].to(lm.device), None)
    [streams] = taken
    return (streams[1::2] - streams[::2]).mean(0)
