"""Phase 6.1b: which errors the model tells apart, before anyone asks what carries the answer.

    python3 run.py phase 6.1b --preset demo

1. After every prompt the logits of the eight names are read, in float32 (reading.py, ../metric.py).
2. Of every contrast, template and format it is counted how often both signs are right: the clean program's error is
   more likely than the other after the clean prompt, and less after the corrupted one (figures.py).
3. PASS: the lower bound of that share reaches 0.8. WEAK: it does not, but the clean prompt speaks more for its error
   than the corrupted one does, in 0.95 of the pairs. Else STOP.
4. The pairs that select choose what is studied (choice.py). Where nothing goes on, the later phases stop, unless this
   one is told to --force.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from common import handoffs
from common.handoffs.error_gate import ErrorGateDocument, GateFigures, GateOfContrast
from common.handoffs.error_pairs import ErrorPairsDocument
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.tokenization import TextOfToken
from common.phases.context import RunContext
from common.words import count, number, percent
from phase6_error_circuits.gate.choice import Contrasts, gate_of_contrast, nearest, studied
from phase6_error_circuits.gate.config import ErrorGateConfig
from phase6_error_circuits.gate.figures import Answered, answers_of_format
from phase6_error_circuits.gate.reading import mean_logits, read_answers
from phase6_error_circuits.pair import ErrorPair, pair_of

CARRIED_OVER = ("record", "pair", "kind", "contrast", "template", "format", "split", "shape")


def run(ctx: RunContext[ErrorGateConfig], config: ErrorGateConfig) -> None:
    artifact = ctx.read(handoffs.ERROR_PAIRS)
    pairs, made = [pair_of(row) for row in artifact.table("pairs.parquet")], artifact.document()
    with ctx.write() as out:
        ctx.log.info("loading %s", config.model)
        lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
        answered = answers_to(lm, pairs, made, ctx)
        words = words_of(lm)
        contrasts = contrasts_of(answered, words)
        for line in lines_about(contrasts):
            ctx.log.info("%s", line)
        document = document_of(answered, contrasts, config.force)
        say_what_is_studied(ctx, document)
        out.table("gate.parquet", [row_of(one, words) for one in answered])
        out.document("gate.json", document)
        out.summary = summary_of(document)
        out.process |= {"model": lm.describe()}


def answers_to(
    lm: LanguageModel, pairs: Sequence[ErrorPair], made: ErrorPairsDocument, ctx: RunContext[ErrorGateConfig]
) -> list[Answered]:
    """Every pair with its answers, in the order of the table."""
    answered: dict[int, Answered] = {}
    for name, form in made.formats.items():
        some = [pair for pair in pairs if pair.format == name]
        if not some:
            continue
        names, tokens = tuple(form.answers), tuple(form.answers.values())
        prompts = [tuple(ids) for pair in some for ids in (pair.clean_ids, pair.corrupted_ids)]
        ctx.log.info("%s: %s prompts", name, count(len({*prompts})))
        answers = read_answers(lm, prompts, tokens, ctx.config.batch_size, ctx.log)
        prior = mean_logits(answers, prompts)
        for pair in some:
            clean, corrupted = answers[tuple(pair.clean_ids)], answers[tuple(pair.corrupted_ids)]
            answered[pair.record] = Answered(pair, clean, corrupted, names, tokens, prior)
    return [answered[pair.record] for pair in pairs]


def words_of(lm: LanguageModel) -> TextOfToken:
    """What gives the text of a token."""

    @cache
    def text(token: int) -> str:
        return str(lm.tokenizer.decode([token]))

    return text


def contrasts_of(answered: Sequence[Answered], words: TextOfToken) -> Contrasts:
    groups: dict[tuple[str, str], list[Answered]] = {}
    for one in answered:
        groups.setdefault((one.pair.contrast, one.pair.format), []).append(one)
    contrasts: Contrasts = {}
    for (contrast, form), some in groups.items():
        contrasts.setdefault(contrast, {})[form] = gate_of_contrast(some, words)
    return contrasts


def document_of(answered: Sequence[Answered], contrasts: Contrasts, force: bool) -> ErrorGateDocument:
    chosen = studied(contrasts, force)
    every = [gate for forms in contrasts.values() for gate in forms.values()]
    told = contrasts[chosen.contrast][chosen.format] if chosen else nearest(every)
    real = [one for one in answered if not one.pair.is_null]
    return ErrorGateDocument(
        n=len(real),
        both_signs=told.together.select.both_signs,
        held_out=told.together.held_out,
        null_pairs=told.together.null_pairs,
        studied=chosen,
        formats={
            form: answers_of_format([one for one in real if one.pair.format == form])
            for form in dict.fromkeys(one.pair.format for one in real)
        },
        contrasts=contrasts,
    )


def lines_about(contrasts: Contrasts) -> list[str]:
    return [
        f"{name}, {form}: {gate.verdict.name} ({_told(gate)})"
        for name, forms in contrasts.items()
        for form, gate in forms.items()
    ]


def _told(gate: GateOfContrast) -> str:
    figures: GateFigures = gate.together.select
    return (
        f"{len(gate.templates)} of {len(gate.by_template)} templates; both signs {percent(figures.both_signs.rate)}, "
        f"logit differences {number(figures.clean, signed=True)} and {number(figures.corrupted, signed=True)}, "
        f"{count(figures.n)} pairs"
    )


def say_what_is_studied(ctx: RunContext[ErrorGateConfig], document: ErrorGateDocument) -> None:
    chosen = document.studied
    if chosen is None:
        words = (
            "%s tells no two errors apart: the later phases stop here, unless they are told to go on with: %s --force"
        )
        ctx.log.warning(words, ctx.config.model, ctx.again)
        return
    ctx.log.info("studied: %s, %s (%s)", chosen.contrast, chosen.format, chosen.verdict)
    if chosen.forced:
        ctx.log.warning("going on, since --force is given, with an answer that the model does not give")


def row_of(one: Answered, words: TextOfToken) -> dict[str, Any]:
    clean, corrupted = one.differences
    return {
        **{name: getattr(one.pair, name) for name in CARRIED_OVER},
        "ld_clean": clean,
        "ld_corrupted": corrupted,
        "clean_answer": one.name_of(one.clean),
        "corrupted_answer": one.name_of(one.corrupted),
        "clean_top": words(one.clean.top),
        "corrupted_top": words(one.corrupted.top),
        "clean_mass": one.clean.mass,
        "corrupted_mass": one.corrupted.mass,
    }


def summary_of(document: ErrorGateDocument) -> dict[str, Any]:
    chosen, both = document.studied, document.both_signs
    return {
        "pairs": document.n,
        "studied": f"{chosen.contrast}, {chosen.format}" if chosen else "none",
        "verdict": chosen.verdict.name if chosen else "STOP",
        "both_signs": f"{both.n} of {both.of}",
    }
