"""How often latents fire in the prompts of each behaviour and split."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from common.saes.dictionary import Latent
from common.tables import TableRow

COMMON = 0.2  # share of a behaviour's prompts in which a latent has to fire to be listed


@dataclass
class Fires:
    """One split of a behaviour: prompts, and by latent how many it fires in and the sum of its activations."""

    n: int = 0
    anywhere: Counter[Latent] = field(default_factory=Counter)
    at_last: Counter[Latent] = field(default_factory=Counter)
    largest: dict[Latent, float] = field(default_factory=dict)
    last: dict[Latent, float] = field(default_factory=dict)

    def note(self, row: TableRow) -> None:
        """Count one prompt, a row of fired.parquet."""
        self.n += 1
        columns = (row[name] for name in ("layers", "latents", "largest", "at_last"))
        for layer, latent, largest, at_last in zip(*columns, strict=True):
            place = (layer, latent)
            self.anywhere[place] += 1
            self.largest[place] = self.largest.get(place, 0.0) + largest
            if at_last > 0:
                self.at_last[place] += 1
                self.last[place] = self.last.get(place, 0.0) + at_last

    def row(self, place: Latent) -> TableRow:
        """Of one latent, whether it fires here or not."""
        n_anywhere, n_last = self.anywhere[place], self.at_last[place]
        return {
            "layer": place[0],
            "latent": place[1],
            "n": self.n,
            "share_last": n_last / self.n,
            "share_anywhere": n_anywhere / self.n,
            "mean_last": self.last[place] / n_last if n_last else math.nan,
            "mean_largest": self.largest[place] / n_anywhere if n_anywhere else math.nan,
        }


def frequencies(rows: Iterable[TableRow]) -> Iterator[TableRow]:
    """Rows of frequencies.parquet, of rows of fired.parquet.

    Of each behaviour the latents that fire in at least a fifth of its prompts, both splits together; each split has
    its own row.
    """
    fires: dict[str, dict[str, Fires]] = {}
    for row in rows:
        fires.setdefault(row["behaviour"], {}).setdefault(row["split"], Fires()).note(row)
    for behaviour, splits in fires.items():
        n = sum(one.n for one in splits.values())
        together: Counter[Latent] = Counter()
        for one in splits.values():
            together.update(one.anywhere)
        common = sorted(place for place, n_fires in together.items() if n_fires >= COMMON * n)
        for split, one in splits.items():
            yield from ({"behaviour": behaviour, "split": split, **one.row(place)} for place in common)
