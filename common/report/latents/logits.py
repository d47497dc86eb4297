"""What one latent adds to the logits by the direct path: the tokens that it raises and lowers most."""

from common.report.blocks import Block, Cell, Column, Paragraph, Table, count_cell, figure_cell
from common.report.latents.inputs import Inputs
from common.report.latents.tokens import token_words
from common.words import count

N_TOKENS = 10  # to either side


def blocks_of_logits(inputs: Inputs, layer: int, latent: int) -> list[Block]:
    """Raises: PipelineErrors for what is not there."""
    tokenizer, end = inputs.tokenizer, inputs.unembedding
    effects = end.effects(inputs.latent_of(layer, latent).W_dec[latent], len(tokenizer))
    order = effects.argsort(descending=True).tolist()
    columns = [
        Column("Place"),
        Column("Raised", "tokens whose logit it raises most", numeric=False),
        Column("by", "W_U (g * d) minus its mean, per unit of activation"),
        Column("Lowered", "tokens whose logit it lowers most", numeric=False),
        Column("by"),
    ]
    rows = []
    for place, (raised, lowered) in enumerate(zip(order[:N_TOKENS], order[: -N_TOKENS - 1 : -1], strict=True), start=1):
        cells = [count_cell(place)]
        for token in (raised, lowered):
            cells.append(Cell(token_words(tokenizer, token), code=True))
            cells.append(figure_cell(float(effects[token]), 3, signed=True))
        rows.append(cells)
    tied = "which is the table of embeddings too" if end.tied else "which is not the table of embeddings"
    words = [
        f"The latent's decoder row d goes through the gain g of the final norm ({type(end.norm).__name__}"
        f"{', which takes the mean off d first' if end.centres else ''}) and the unembedding W_U, {tied}: W_U (g * d), "
        f"minus its mean over the {count(len(effects))} tokens of the vocabulary.",
        "That is the direct path alone, without what later blocks make of the latent. The length by which the final "
        "norm divides is left out, since it depends on the rest of the stream: the numbers order the tokens, and are "
        "no logits.",
        "So is the cap that this model puts on its logits." if end.caps_logits else "",
    ]
    return [Table("What it writes", columns, rows), Paragraph(" ".join(filter(None, words)), "note")]
