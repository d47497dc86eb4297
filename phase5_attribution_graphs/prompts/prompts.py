"""Phase 5.1: prompts of simple behaviours, each with a right and a wrong answer, as token ids.

    python3 run.py phase 5.1 --preset demo
    python3 run.py phase 5.1 --model MODEL --prompts FILE.jsonl

1. Candidates come from a file of one's own, from the one that comes with the model, or from lists for any model.
2. They are read in random order. One whose tokens change when its answer is appended, whose answers do not differ, or
   whose partner has another length is refused, and named; until there are as many as are asked for.
3. Each gets a partner to be patched with. What every phase gives the model is stored as token ids, and made nowhere
   else (token_lists.py).
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import ConfigError
from common.handoffs.circuit_prompts import CircuitPromptsDocument, PromptsOfSplit
from common.model.loading import load_tokenizer, vocabulary_size
from common.model.registry import behaviour_prompts
from common.model.settings import AUTO, file_identity
from common.phases.context import RunContext
from common.tables import TableRow
from phase5_attribution_graphs.prompts.candidates import SPLITS, TRAIN, Unit
from phase5_attribution_graphs.prompts.config import ALL, BEHAVIOURS, CircuitPromptsConfig
from phase5_attribution_graphs.prompts.drawing import NO_PARTNER, Draw, Drawn, draw, named, partners
from phase5_attribution_graphs.prompts.general import general_units
from phase5_attribution_graphs.prompts.own import chosen_behaviours, read_candidates, units_of
from phase5_attribution_graphs.prompts.token_lists import TokenLists

GENERAL = "general lists"


def run(ctx: RunContext[CircuitPromptsConfig], config: CircuitPromptsConfig) -> None:
    behaviours, units, source = source_of(config)
    tokenizer = load_tokenizer(config.model, config.revision)
    tokens = TokenLists(tokenizer, vocabulary_size(config.model, config.revision), config.model)
    if tokens.sink is not None:
        ctx.log.info("the tokenizer puts no BOS in front: %r stands there, as an attention sink", tokens.sink.text)
    rows: list[TableRow] = []
    lines: dict[str, bytes] = {}
    told: dict[str, dict[str, PromptsOfSplit]] = {}
    for behaviour, split in itertools.product(behaviours, SPLITS):
        asked = config.n_train if split == TRAIN else config.n_test
        drawn = draw(units(behaviour, split), asked, tokens)
        if drawn.prompts or drawn.refused:  # a file may have prompts of one split alone
            new = rows_of(drawn, first=len(rows))
            told.setdefault(behaviour, {})[split] = described(drawn, new, asked)
            log(ctx, behaviour, split, told[behaviour][split])
            lines[f"prompts/{behaviour}_{split}.jsonl"] = lines_of(drawn, new)
            rows += new
    check_some(rows, told, source)
    with ctx.write() as out:
        out.table("prompts.parquet", rows)
        for name, content in lines.items():
            out.file(name, content)
        out.document(
            "prompts.json",
            CircuitPromptsDocument(
                source=source, seed=config.seed, front=tokens.front, sink=tokens.sink, behaviours=told
            ),
        )
        out.summary = {"prompts": len(rows), "behaviours": len(told), "source": source}


def source_of(config: CircuitPromptsConfig) -> tuple[list[str], Callable[[str, str], Iterator[Unit]], str]:
    """The behaviours, what gives the candidates of one of them and a split, and where they come from."""
    path = behaviour_prompts(config.model) if config.prompts == AUTO else Path(config.prompts)
    if path is None:
        behaviours = list(BEHAVIOURS if config.behaviours == (ALL,) else dict.fromkeys(config.behaviours))
        share = config.n_test / (config.n_train + config.n_test)
        return behaviours, lambda name, split: general_units(name, split, config.seed, share), GENERAL
    candidates = read_candidates(path)
    behaviours = chosen_behaviours(candidates, list(dict.fromkeys(config.behaviours)), ALL, path)
    return behaviours, lambda name, split: units_of(candidates, name, split, config.seed), file_identity(path)


def rows_of(drawn: Draw, first: int) -> list[TableRow]:
    """Rows of the table, numbered from `first`."""
    partner_of = partners(drawn.prompts)
    return [
        _row(one, first + place, NO_PARTNER if partner == NO_PARTNER else first + partner)
        for place, (one, partner) in enumerate(zip(drawn.prompts, partner_of, strict=True))
    ]


def _row(one: Drawn, record: int, partner: int) -> TableRow:
    candidate, reading = one.candidate, one.reading
    correct_token, incorrect_token = reading.next_tokens
    return {
        "record": record,
        "behaviour": candidate.behaviour,
        "split": candidate.split,
        "prompt": candidate.prompt,
        "correct_answer": candidate.correct,
        "incorrect_answer": reading.incorrect,
        "entity": candidate.entity,
        "template": candidate.template,
        "made_from": json.dumps(candidate.made_from),
        "pair": partner,
        "token_ids": reading.token_ids,
        "n_prompt": reading.n_prompt,
        "correct_ids": reading.correct_ids,
        "incorrect_ids": reading.incorrect_ids,
        "correct_token": correct_token,
        "incorrect_token": incorrect_token,
    }


def lines_of(drawn: Draw, rows: list[TableRow]) -> bytes:
    """The same as lines of JSON, in the form that --prompts reads."""
    told = ("prompt", "correct_answer", "incorrect_answer", "behaviour", "split", "entity", "template")
    lines = []
    for one, row in zip(drawn.prompts, rows, strict=True):
        pair = {"pair": one.candidate.pair} if one.candidate.pair else {}
        place = {"record": row["record"], "partner": None if row["pair"] == NO_PARTNER else row["pair"]}
        line = {**{name: row[name] for name in told if row[name]}, **pair, **one.candidate.made_from, **place}
        lines.append(json.dumps(line) + "\n")
    return "".join(lines).encode()


def described(drawn: Draw, rows: list[TableRow], asked: int) -> PromptsOfSplit:
    lengths = [one.length for one in drawn.prompts]
    return PromptsOfSplit(
        n=len(rows),
        asked=asked,
        n_entities=len({row["entity"] for row in rows}),
        n_paired=sum(row["pair"] != NO_PARTNER for row in rows),
        shortest=min(lengths, default=0),
        longest=max(lengths, default=0),
        refused={reason: named(prompts) for reason, prompts in drawn.refused.items()},
        unpaired=named([row["prompt"] for row in rows if row["pair"] == NO_PARTNER]),
    )


def log(ctx: RunContext[CircuitPromptsConfig], behaviour: str, split: str, told: PromptsOfSplit) -> None:
    ctx.log.info("%s, %s: %d prompts, %d of them with a partner", behaviour, split, told.n, told.n_paired)
    if told.n < told.asked:
        ctx.log.warning("%s, %s: %d of the %d prompts that were asked for", behaviour, split, told.n, told.asked)
    for reason, prompts in told.refused.items():
        shown = ", ".join(map(repr, prompts.named))
        ctx.log.warning("%s, %s: %d prompts refused, %s: %s", behaviour, split, prompts.n, reason, shown)


def check_some(rows: list[TableRow], told: dict[str, dict[str, PromptsOfSplit]], source: str) -> None:
    """Raises: ConfigError where nothing is left."""
    if rows:
        return
    reasons = dict.fromkeys(reason for splits in told.values() for one in splits.values() for reason in one.refused)
    raise ConfigError(
        f"no prompt of {source} can be used: {'; '.join(reasons)}\n"
        "Give others with --prompts FILE.jsonl: answers begin with a space where the prompt ends in a word"
    )
