"""Phase 6.1: pairs of programs that raise different errors, as prompts of equal length.

    python3 run.py phase 6.1 --preset demo

1. Words and numbers are drawn for every template, until clean and corrupted prompt have as many tokens for this model's
   tokenizer, in each format of the prompt (drawing.py, alignment.py). What cannot be aligned is counted, and named.
2. Every program is run in the sandbox: a pair whose errors are not those of its contrast is refused (labels.py).
3. Pairs whose tokens mean the same place by place form a shape; shapes with too few pairs are refused, and the clean
   prompts of each shape make null pairs (shapes.py).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError
from common.handoffs.error_pairs import (
    ErrorPairsDocument,
    FormatOfPrompts,
    FrontToken,
    PairsOfTemplate,
    TemplateOfPairs,
)
from common.model.answers import Front, front_of
from common.model.loading import load_tokenizer, vocabulary_size
from common.phases.context import RunContext
from common.programs.isolation import sandbox_of
from common.sandbox import Sandbox
from common.words import count
from phase6_error_circuits.pair import NULL, REAL, ErrorPair
from phase6_error_circuits.pairs.alignment import Aligned
from phase6_error_circuits.pairs.config import ErrorPairsConfig
from phase6_error_circuits.pairs.drawing import Drawn, Source, draw_pairs
from phase6_error_circuits.pairs.formats import PromptFormat, format_of
from phase6_error_circuits.pairs.labels import raised_errors
from phase6_error_circuits.pairs.shapes import Shape, lengths_of, shapes_of
from phase6_error_circuits.pairs.templates import PairTemplate, read_templates

SAME_ANSWER, CHANGES = "the answers begin with one token", "a name changes the prompt's tokens"


@dataclass(frozen=True)
class Kept:
    """The shapes of a template in one format, and what became of its draws."""

    form: str
    drawn: Drawn
    shapes: list[Shape]


def run(ctx: RunContext[ErrorPairsConfig], config: ErrorPairsConfig) -> None:
    templates = templates_of(config)
    tokenizer = load_tokenizer(config.model, config.revision)
    front = front_of(tokenizer, vocabulary_size(config.model, config.revision), config.model)
    described_formats = {name: format_of(name, tokenizer, config.model) for name in dict.fromkeys(config.formats)}
    formats = [form for form in described_formats.values() if isinstance(form, PromptFormat)]
    answers = {form.name: form.answer_tokens(tokenizer) or {} for form in formats}
    source = Source(tokenizer, front, formats, (config.n_pairs + 1) // 2, config.n_draws, config.seed)
    with ctx.write() as out, sandbox_of(config, ctx.log) as sandbox:
        made = [(template, kept_of(template, source, answers, sandbox, config)) for template in templates]
        pairs = numbered(made, answers)
        document = ErrorPairsDocument(
            python=sandbox.describe()["python"],
            seed=config.seed,
            templates=config.experiment()["templates"],
            n=sum(not pair.is_null for pair in pairs),
            held_out=sum(pair.is_held_out and not pair.is_null for pair in pairs),
            null_pairs=sum(pair.is_null for pair in pairs),
            front=front_tokens(tokenizer, front),
            formats={name: described(form, answers.get(name, {})) for name, form in described_formats.items()},
            contrasts=contrasts_of(made),
            without=[line for template, kept in made for line in lines_about(template, kept, answers)],
        )
        for line in document.without:
            ctx.log.info("no pairs: %s", line)
        check_some(pairs, document, config)
        out.table("pairs.parquet", [pair.as_row() for pair in pairs])
        out.document("pairs.json", document)
        out.summary = {"pairs": document.n, "null_pairs": document.null_pairs, "templates": len(templates)}
        out.process |= {"sandbox": sandbox.describe()}


def templates_of(config: ErrorPairsConfig) -> list[PairTemplate]:
    """The general templates and the model's own, of the contrasts that are asked for. Raises: ConfigError."""
    own = config.own_templates()
    every = [*read_templates(), *(read_templates(own, is_own=True) if own else [])]
    wanted = [template for name in config.contrasts_wanted for template in every if template.contrast == name]
    twice = [name for name, n in Counter((one.contrast, one.name) for one in wanted).items() if n > 1]
    if twice:
        raise ConfigError(f"two templates are called {': '.join(twice[0])}\nName the one in {own} otherwise")
    return wanted


def kept_of(
    template: PairTemplate,
    source: Source,
    answers: dict[str, dict[str, int]],
    sandbox: Sandbox,
    config: ErrorPairsConfig,
) -> list[Kept]:
    """The shapes of a template, format by format, of pairs that raise what they should."""
    usable = [form for form in source.formats if refusal(template, answers[form.name]) is None]
    drawn = draw_pairs(template, source, usable)
    wanted = {}
    for pair in (pair for one in drawn.values() for pair in one.kept):
        wanted |= dict(zip(pair.draw.codes, template.errors, strict=True))
    raised = raised_errors(sandbox, wanted)
    kept = []
    for name, one in drawn.items():
        right = [pair for pair in one.kept if as_wanted(pair, template, raised, one.refused)]
        kept.append(Kept(name, one, shapes_of(right, template.changed, config.fewest, config.n_shapes, one.refused)))
    return kept


def refusal(template: PairTemplate, answers: dict[str, int]) -> str | None:
    """Why a template cannot be used in a format, whatever is drawn."""
    if not answers:
        return CHANGES
    clean, corrupted = (answers[error] for error in template.errors)
    return SAME_ANSWER if clean == corrupted else None


def as_wanted(pair: Aligned, template: PairTemplate, raised: dict[str, str], refused: Counter[str]) -> bool:
    """Whether both programs raise the errors of the contrast; those that do not are counted."""
    errors = tuple(raised[code] for code in pair.draw.codes)
    if errors != template.errors:
        refused[f"raises {'/'.join(errors)}"] += 1
    return errors == template.errors


def numbered(made: Iterable[tuple[PairTemplate, list[Kept]]], answers: dict[str, dict[str, int]]) -> list[ErrorPair]:
    """Every pair as a row, those of a shape together, null pairs after the real ones."""
    pairs: list[ErrorPair] = []
    numbers: dict[tuple[str, ...], int] = {}
    for template, kept in made:
        for one in kept:
            tokens = [answers[one.form][error] for error in template.errors]
            for number, shape in enumerate(one.shapes):
                both = [(REAL, pair, pair) for pair in shape.pairs]
                both += [(NULL, shape.pairs[first], shape.pairs[second]) for first, second in shape.nulls]
                for kind, pair, other in both:
                    clean, changed = pair.draw.codes[0], other.draw.codes[kind == REAL]
                    key = (template.contrast, template.name, clean, changed)
                    row = ErrorPair(
                        record=len(pairs),
                        pair=numbers.setdefault(key, len(numbers)),
                        kind=kind,
                        contrast=template.contrast,
                        template=template.name,
                        format=one.form,
                        split=pair.draw.split,
                        shape=number,
                        corruption=template.corruption,
                        clean=clean,
                        corrupted=changed,
                        clean_error=template.errors[0],
                        corrupted_error=template.errors[kind == REAL],
                        clean_ids=pair.clean_ids,
                        corrupted_ids=pair.corrupted_ids if kind == REAL else other.clean_ids,
                        roles=pair.roles,
                        code_start=pair.code_start,
                        positions=pair.positions,
                        clean_token=tokens[0],
                        corrupted_token=tokens[1],
                    )
                    pairs.append(row)
    return pairs


def front_tokens(tokenizer: Any, front: Front) -> list[FrontToken]:
    words = tokenizer.convert_ids_to_tokens(list(front.ids))
    return [FrontToken(id=one, text=word, is_sink=front.is_sink) for one, word in zip(front.ids, words, strict=True)]


def described(form: PromptFormat | str, answers: dict[str, int]) -> FormatOfPrompts:
    if isinstance(form, str):
        return FormatOfPrompts(before="", after="", chat=True, answers={}, refused=form)
    refused = "" if answers else CHANGES
    return FormatOfPrompts(
        before=form.before, after=form.after, chat=form.body is not None, answers=answers, refused=refused
    )


def contrasts_of(made: Sequence[tuple[PairTemplate, list[Kept]]]) -> dict[str, dict[str, TemplateOfPairs]]:
    contrasts: dict[str, dict[str, TemplateOfPairs]] = {}
    for template, kept in made:
        contrasts.setdefault(template.contrast, {})[template.name] = TemplateOfPairs(
            corruption=template.corruption,
            own=template.is_own,
            changed=template.changed,
            formats={one.form: told(one, template) for one in kept},
        )
    return contrasts


def told(kept: Kept, template: PairTemplate) -> PairsOfTemplate:
    shapes, drawn = [shape.described() for shape in kept.shapes], kept.drawn
    return PairsOfTemplate(
        n_draws=drawn.n_draws,
        n_aligned=drawn.n_aligned,
        n=sum(shape.select + shape.held_out for shape in shapes),
        held_out=sum(shape.held_out for shape in shapes),
        null_pairs=sum(shape.null_pairs for shape in shapes),
        refused={reason: n for reason, n in sorted(drawn.refused.items()) if n},
        shapes=shapes,
        lengths=lengths_of(kept.shapes, [part.role for part in template.parts]),
    )


def lines_about(template: PairTemplate, kept: Sequence[Kept], answers: dict[str, dict[str, int]]) -> list[str]:
    """A line for each format in which there is no pair: 'divide: 0 of 2,666 draws aligned on this tokenizer'."""
    name, lines = f"{template.contrast}, {template.name}", []
    for form, tokens in answers.items():
        if (why := refusal(template, tokens)) is not None:
            lines.append(f"{name}, {form}: {why}")
    for one in (one for one in kept if not one.shapes):
        n, of = count(one.drawn.n_aligned), count(one.drawn.n_draws)
        refused = "; ".join(f"{count(n)} {reason}" for reason, n in sorted(one.drawn.refused.items()) if n)
        lines.append(f"{name}, {one.form}: {n} of {of} draws aligned on this tokenizer ({refused})")
    return lines


def check_some(pairs: Sequence[ErrorPair], document: ErrorPairsDocument, config: ErrorPairsConfig) -> None:
    """Raises: ConfigError where not one pair is left."""
    if pairs:
        return
    refused = [f"{name}: {form.refused}" for name, form in document.formats.items() if form.refused]
    told_of = "; ".join([*refused, *document.without[:3]])
    raise ConfigError(
        f"there is no pair for the tokenizer of {config.model}: {told_of}\n"
        f"Give more --n-draws, fewer --fewest, or other --contrasts or --formats"
    )
