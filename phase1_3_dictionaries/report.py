"""Phase 1.3 on the page: what the dictionaries were trained on, and what they do on what was held out."""

from collections.abc import Iterator

from common.handoffs.dictionaries import DictionariesDocument, DictionaryCard
from common.report.blocks import Cell, Column, Paragraph, Section, Table, count_cell, figure_cell, share
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count
from phase1_3_dictionaries.figures import CAPTIONS

MANY_DEAD = 0.05
HARDLY_SEEN, FEW_ACTIVE = 0.5, 0.1  # FVU between last prompt tokens; active there, of those active on text


def section(phase: PhaseResult, _collected: Collected) -> Section:
    document: DictionariesDocument = phase.document()
    words = (
        f"Dictionaries of one's own at {document.site}, trained on {count(document.tokens)} tokens while the model "
        f"read them, and measured on text and prompts that were held out."
    )
    made = Section("problems", blocks=[Paragraph(words), _cards(document), _parts(document)])
    made.blocks += figures_of(phase, CAPTIONS)
    made.warnings = [Paragraph(words, tone="warning") for words in doubts(document)]
    return made


def doubts(document: DictionariesDocument) -> Iterator[str]:
    """What is wrong with a dictionary, and what would mend it."""
    for layer, card in document.layers.items():
        if card.dead_share > MANY_DEAD:
            yield (
                f"Of the dictionary of layer {layer}, {100 * card.dead_share:.0f} % of the latents are dead: train it "
                f"on more tokens, or with fewer latents"
            )
        for fit in card.last_tokens.values():
            if (fit.fvu_between or 0.0) > HARDLY_SEEN or fit.l0 < FEW_ACTIVE * card.text.l0:
                yield (
                    f"The dictionary of layer {layer} hardly sees what prompts differ in: it misses "
                    f"{share(fit.fvu_between).text} of what varies between last prompt tokens, with {fit.l0:.1f} "
                    f"latents active there and {card.text.l0:.1f} on text. Train it with --threshold topk, or with "
                    f"more active latents (--l0)"
                )


def _cards(document: DictionariesDocument) -> Table:
    columns = [
        Column("Layer"),
        Column("Latents"),
        Column("L0", "latents active at a token of held-out text, mean"),
        Column("FVU", "fraction of variance unexplained on held-out text"),
        Column("FVU at last tokens", "of held-out prompts, once the mean error is taken off"),
        Column("L0 there", "latents active at a held-out prompt's last token, mean"),
        Column("FVU beside", "the lower of those on the layers beside"),
        Column("Cross-entropy recovered", "(zero - spliced) / (zero - clean)"),
        Column("Dead", "share of latents that never fire on text"),
    ]
    rows = [_row(layer, card) for layer, card in document.layers.items()]
    return Table("Dictionaries", columns, rows)


def _row(layer: str, card: DictionaryCard) -> list[Cell]:
    at_prompts = next(iter(card.last_tokens.values()), None)
    beside = min((one.fvu for one in card.neighbours), default=None)
    return [
        Cell(layer, sort=int(layer)),
        count_cell(card.n_latents),
        figure_cell(card.text.l0, 1),
        figure_cell(card.text.fvu, 3),
        figure_cell(at_prompts and at_prompts.fvu_between, 3),
        figure_cell(at_prompts and at_prompts.l0, 1),
        figure_cell(beside, 3),
        share(card.cross_entropy.recovered),
        share(card.dead_share),
    ]


def _parts(document: DictionariesDocument) -> Table:
    columns = [
        Column("Part", numeric=False),
        Column("From", numeric=False),
        Column("Share of a batch"),
        Column("Tokens"),
        Column("Times", "how often each token was trained on"),
        Column("Held out"),
    ]
    rows = [
        [
            Cell(name.rpartition("/")[2]),
            Cell(part.source),
            share(part.share),
            count_cell(part.n_tokens),
            figure_cell(part.times, 1),
            count_cell(part.n_held_out),
        ]
        for name, part in document.parts.items()
    ]
    return Table("What they were trained on", columns, rows, folded=True)
