"""How many programs are written at a time, by what memory holds; what is in flight when it runs out is begun anew.

1. Before prompts are read, what rows of their length can take is compared with what is free (`RowLimit`).
2. Where memory runs out all the same, every row in flight is begun again, half as many at a time, down to one. What has
   ended is handed on already: nothing of it is lost.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

from common.errors import ConfigError
from common.model.generation import Group, write_rows
from common.model.language_model import LanguageModel
from common.model.memory import FittingParts, Room, batch_bytes, is_lack_of_memory, too_much
from common.model.rows import Row
from common.runs.records import TOKENS_PER_ROW

Item = TypeVar("Item")
Other = TypeVar("Other")
Result = TypeVar("Result")
TOO_MANY = "%d together are too much for the memory of %s: going on with halves"


class RowLimit(Generic[Item]):
    """At most `n_rows`, fewer where memory does not suffice.

    `length` gives the tokens of an item's prompt, `name` what to call one that is too much alone; `n_bytes` is what
    writing takes besides the weights and the rows.
    """

    def __init__(
        self,
        lm: LanguageModel,
        n_rows: int,
        *,
        max_new_tokens: int,
        length: Callable[[Item], int],
        name: Callable[[Item], str],
        log: logging.Logger,
        n_bytes: int = 0,
    ) -> None:
        self._lm, self._n_new, self._n_bytes = lm, max_new_tokens, n_bytes
        self._length, self._name, self._log = length, name, log
        self._room = Room(lm.device)
        self._most = self._now = n_rows

    def of(self, item: Callable[[Other], Item]) -> "RowLimit[Other]":
        """The same for what is written of an item, which `item` gives."""
        limit: RowLimit[Any] = copy.copy(self)
        limit._length = lambda one: self._length(item(one))
        limit._name = lambda one: self._name(item(one))
        return cast("RowLimit[Other]", limit)

    def __call__(self) -> int:
        """Rows that may be written now."""
        return self._now

    def parts(self, items: Sequence[Item]) -> list[list[Item]]:
        """The items, as they are read together: few enough for the memory there is."""
        self._now = self._most
        while self._now > 1 and not self._room.holds(self._bytes(self._now, items)):
            self._now = (self._now + 1) // 2
        return [list(items[first : first + self._now]) for first in range(0, len(items), self._now)]

    def lower(self, in_flight: Sequence[Item]) -> list[list[Item]]:
        """So many were too much: gives them in parts that are tried next."""
        self._log.warning(TOO_MANY, len(in_flight), self._lm.device)
        self._room.empty()
        self._most = (min(len(in_flight), self._most) + 1) // 2
        return [list(in_flight[first : first + self._most]) for first in range(0, len(in_flight), self._most)]

    def too_much(self, item: Item) -> ConfigError:
        return too_much(self._name(item), self._lm.device)

    def fitting(
        self, compute: Callable[[list[Item]], Sequence[Result]], expected: int | None = None
    ) -> FittingParts[Item, Result]:
        """The same for items that are computed batch by batch; `expected` bytes, where it is not what writing takes."""
        return FittingParts(
            compute,
            size=lambda part: len(part) * (max(map(self._length, part)) + self._n_new),
            expected=lambda part: self._bytes(len(part), part) if expected is None else expected,
            name=self._name,
            device=self._lm.device,
            log=self._log,
        )

    def _bytes(self, n_rows: int, items: Sequence[Item]) -> int:
        width = max(TOKENS_PER_ROW, *map(self._length, items))  # what is in flight may be longer than these
        return batch_bytes(self._lm.model, n_rows, width, self._n_new) + self._n_bytes


def rows_in_flight(
    lm: LanguageModel,
    batches: Iterator[list[Item]],
    limit: RowLimit[Item],
    read: Callable[[list[Item]], Group],
    on_rows: Callable[[list[Row]], None] = lambda rows: None,
) -> Iterator[Row]:
    """The rows of all batches, each as soon as it has ended; `read` gives the group of a batch, with items as keys.

    Raises: ConfigError where one item alone is too much.
    """
    waiting: list[list[Item]] = []
    in_flight: dict[Item, None] = {}

    def groups() -> Iterator[Group]:
        while True:
            if not waiting:
                batch = next(batches, None)
                if batch is None:
                    return
                if not batch:
                    continue
                waiting.append(batch)
            waiting[:1] = limit.parts(waiting[0])
            yield begun()

    def begun() -> Group:
        part = waiting[0]
        in_flight.update(dict.fromkeys(part))
        group = read(part)
        del waiting[0]
        for item in set(part) - {row.key for row in group.rows}:
            del in_flight[item]  # read for the sake of its neighbours, and not wanted
        return group

    while True:
        try:
            for row in write_rows(lm, groups(), limit, on_rows):
                del in_flight[row.key]
                yield row
            return
        except (RuntimeError, MemoryError) as error:
            if not in_flight or not is_lack_of_memory(error):
                raise
            if len(in_flight) == limit() == 1:
                raise limit.too_much(*in_flight) from error
        # Outside of the handler, whose traceback holds the tensors of what failed.
        if waiting and waiting[0][0] in in_flight:  # it was being read
            del waiting[0]
        waiting[:0] = limit.lower(list(in_flight))
        in_flight.clear()
