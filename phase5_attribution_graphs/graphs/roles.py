"""What a position is to its prompt, so that nodes of different prompts can be told to be the same.

`last`; `entity` for the tokens of what the prompt is about (its last token), `entity, n before its end`; else the
token's own text, in quotes, with a number where it stands there more than once. Prompts of one template so have roles
in common whatever their entities' lengths.
"""

from collections import Counter
from collections.abc import Sequence

from common.model.language_model import LanguageModel

LAST, ENTITY, FIRST = "last", "entity", "first"


def roles_of(lm: LanguageModel, token_ids: Sequence[int], entity: str) -> list[str]:
    """A role for each position; the last place where the entity stands counts."""
    inside = _entity_positions(lm, token_ids, entity)
    texts = [str(lm.tokenizer.decode([token])) for token in token_ids]
    seen: Counter[str] = Counter()
    roles = []
    for pos, text in enumerate(texts):
        seen[text] += 1
        if pos == len(texts) - 1:
            roles.append(LAST)
        elif pos == 0:
            roles.append(FIRST)
        elif pos in inside:
            before = inside[-1] - pos
            roles.append(f"{ENTITY}, {before} before its end" if before else ENTITY)
        else:
            roles.append(f'"{text}"' + (f" {seen[text]}" if seen[text] > 1 else ""))
    return roles


def _entity_positions(lm: LanguageModel, token_ids: Sequence[int], entity: str) -> range:
    """The positions whose tokens make up the entity in the text; none where it is not in it as it is written."""
    ends = [len(str(lm.tokenizer.decode(list(token_ids[: n + 1])))) for n in range(len(token_ids))]
    start = str(lm.tokenizer.decode(list(token_ids))).rfind(entity) if entity else -1
    if start < 0:
        return range(0)
    stop = start + len(entity)
    begins = [0, *ends[:-1]]
    inside = [pos for pos, (begin, end) in enumerate(zip(begins, ends, strict=True)) if begin < stop and end > start]
    inside = [pos for pos in inside if pos > 0]
    return range(inside[0], inside[-1] + 1) if inside else range(0)
