"""Run any decoder of transformers from the middle: change a stream, and compute only what follows.

1. In one ordinary pass it is caught what the model hands to each block beside the stream (mask, rotary embedding,
   positions). Blocks called with that compute as they do in the model; nothing of the architecture is made up here.
   It is the same in every row: for other numbers of rows it is repeated, and no pass is made among someone's hooks.
2. Tokens that begin all prompts alike are computed once: what follows reads their keys and values. A prompt with eight
   solved examples in front of it then costs no more than one without. Streams hold the positions behind them. Where a
   layer carries more than keys and values along (a recurrence, a convolution), nothing is shared.
3. When a replay is made, all blocks are run so on some of the prompts and compared with the model: one whose blocks are
   given something of the tokens themselves is refused.
4. No token sees those behind it. Where runs are like known ones up to some position, only what stands from there on is
   computed, beside the keys and values that the known ones have before it (`KnownRuns`).

All prompts have one length, and no padding. What a block reads at its sites (common/model/sites.py) can be read and
changed meanwhile with the hooks of common/model/hooks.py.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from common.errors import ConfigError
from common.model.hooks import decoder_blocks, name_of, read_sites
from common.model.logit_difference import LogitDifference
from common.model.sites import RESID_PRE, resid_post_site, site_name
from common.model.traces import first_tensor

Stream = Float[Tensor, "batch pos d_model"]
ROWS_CHECKED = 4
ROWS_AT_ONCE = 64  # prompts that are read together: all streams of more would have to be in memory
# A pass of all blocks one by one against the model's own may miss it by rounding: relative to each position's length,
# so that a massive activation at one does not hide what is wrong at others. 4 roundings, which add up over layers as in
# a random walk; in float32 1e-4. Sharp attention makes more of it (2e-4 in random weights of two blocks): then by 20
# times what the same stream moves where its embeddings are moved by rounding, up to 5e-3. Keys at wrong places miss it
# by 0.5 and more in prompts of eleven tokens, one of 1,500 keys by 3e-3.
ROUNDINGS, LEAST_MISS = 4, 1e-4
NUDGES, MOST_MISS = 20, 5e-3


class Replay:
    """A decoder over prompts of `n_tokens` tokens, of which streams leave the first `n_shared` out."""

    def __init__(self, model: PreTrainedModel, prompts: Int[Tensor, "batch n_tokens"], n_shared: int = 0) -> None:
        """`n_shared`: tokens with which all prompts begin, at most.

        Raises: ConfigError for a model that computes something else when its blocks are called one by one.
        """
        self.model, self.blocks = model, decoder_blocks(model)
        shared = prompts[:1, :n_shared]
        assert n_shared < prompts.shape[1] and bool((prompts[:, :n_shared] == shared).all()), "all prompts begin alike"
        self.logit_difference = LogitDifference(model)
        self._cache = self._read(shared) if n_shared else None
        self.n_tokens, self.n_shared = prompts.shape[1], n_shared if self._cache else 0
        self._given_to_one, self._given_to_two = (self._caught(prompts[:1].expand(n, -1)) for n in (1, 2))
        self._check(prompts[:: max(1, len(prompts) // ROWS_CHECKED)])

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def n_positions(self) -> int:
        """Positions of a stream: those behind the shared tokens."""
        return self.n_tokens - self.n_shared

    def embedded(self, prompts: Int[Tensor, "batch n_tokens"]) -> Stream:
        """What enters block 0, its scale and learned positions included."""
        entering: list[Stream] = []
        with (
            torch.no_grad(),
            read_sites(self.model, [site_name(0, RESID_PRE)], lambda _, x: entering.append(x), stop=True),
        ):
            self._pass(prompts[:, self.n_shared :])
        return entering[0].clone()

    def block(self, layer: int, resid: Stream) -> Stream:
        """resid_post of a block whose input is `resid`."""
        arguments, named = _for_rows(len(resid), self._given_to_one[layer], self._given_to_two[layer])
        output = first_tensor(self.blocks[layer](resid, *arguments, **named))
        assert output is not None, "a block hands on the stream"
        return output

    def run_from(self, layer: int, resid: Stream) -> Stream:
        """The stream after the last block when `resid` enters block `layer`; `n_layers` is behind the last."""
        for each in range(layer, self.n_layers):
            resid = self.block(each, resid)
        return resid

    def streams(self, embedded: Stream) -> list[Stream]:
        """resid_post of every block."""
        streams = list(itertools.accumulate(range(self.n_layers), lambda x, i: self.block(i, x), initial=embedded))
        return streams[1:]

    def knowing(self, prompts: Int[Tensor, "batch n_tokens"]) -> "KnownRuns":
        """What runs that change something of these prompts behind some position can be shortened by."""
        return KnownRuns(self, prompts)

    def _caught(self, prompts: Int[Tensor, "batch n_tokens"]) -> list[tuple[tuple, dict[str, Any]]]:
        """What each block is handed beside the stream."""
        given: list[tuple[tuple, dict[str, Any]]] = []

        def catch(_block: Any, arguments: tuple, named: dict[str, Any]) -> None:
            given.append((arguments[1:], named))

        with torch.no_grad(), ExitStack() as hooks:
            for block in self.blocks:
                hooks.enter_context(block.register_forward_pre_hook(catch, with_kwargs=True))
            self._pass(prompts[:, self.n_shared :])
        return given

    def _read(self, shared: Int[Tensor, "1 n_shared"]) -> "_ReadOnlyCache | None":
        """Keys and values of the shared tokens; None where a layer has others than these to hand on."""
        layers = _filled(self.model, shared, DynamicCache(config=self.model.config))
        return _ReadOnlyCache(layers) if layers else None

    def _pass(self, ids: Int[Tensor, "batch pos"]) -> None:
        known = {} if self._cache is None else {"past_key_values": self._cache}
        self.model.get_decoder()(input_ids=ids.contiguous(), use_cache=False, **known)

    def _is_like(self, run: Callable[[Stream], Stream], embedded: Stream, expected: Stream) -> bool:
        """Whether a run gives what is expected but for rounding; nan is like nothing."""
        replayed, eps = run(embedded), torch.finfo(embedded.dtype).eps
        rounding, missed = max(ROUNDINGS * eps * self.n_layers**0.5, LEAST_MISS), _missed(replayed, expected)
        if bool((missed <= rounding).all()):
            return True
        nudge = torch.ones_like(embedded[0, 0])
        nudge[1::2] += eps
        amplified = NUDGES * _missed(run(embedded * nudge), replayed)
        return bool((missed <= amplified.clamp(max=MOST_MISS).clamp(min=rounding)).all())

    @torch.no_grad()
    def _check(self, prompts: Int[Tensor, "batch n_tokens"]) -> None:
        read: list[Stream] = []
        last = resid_post_site(self.n_layers - 1)
        with read_sites(self.model, [last], lambda _, resid: read.append(resid[:, self.n_shared :].clone())):
            self.model.get_decoder()(input_ids=prompts, use_cache=False)
        embedded = self.embedded(prompts)
        if not self._is_like(lambda stream: self.run_from(0, stream), embedded, read[0]):
            missed = _missed(self.run_from(0, embedded), read[0]).max()
            raise ConfigError(
                f"{name_of(self.model)} ({type(self.model).__name__}) cannot be run from the middle: its blocks, "
                f"called one by one, miss its own stream by {missed:.1g} of its length\n"
                f"Give a --model whose blocks read nothing but the stream, like Llama, Gemma, Qwen or GPT-2"
            )


def _for_rows(n_rows: int, one: Any, two: Any) -> Any:
    """What is handed to a block for so many equal rows, from what it is for one and for two of them.

    BLOOM's alibi has a row for each head of each row; most masks and embeddings are one for all.
    """
    if isinstance(one, Tensor):
        return one if one.shape == two.shape else one.repeat(n_rows, *[1] * (one.ndim - 1))
    if isinstance(one, dict):
        return {name: _for_rows(n_rows, entry, two[name]) for name, entry in one.items()}
    if type(one) in (tuple, list):
        return type(one)(_for_rows(n_rows, *both) for both in zip(one, two, strict=True))
    return one


class KnownRuns:
    """Runs of some prompts, behind whose tokens others go on."""

    def __init__(self, replay: Replay, prompts: Int[Tensor, "batch n_tokens"]) -> None:
        self._replay, self._prompts = replay, prompts
        self._layers = self._read()
        self._from: dict[int, Replay] = {0: replay}

    def replay_from(self, pos: int) -> tuple[Replay, int]:
        """What runs the positions of a stream from `pos` on, and the first that it runs: 0 where nothing else will do.

        Rows are the prompts in order, once or more often.
        """
        first = pos if self._layers else 0
        if first not in self._from:
            self._from[first] = _Behind(self._replay, self._prompts, self._layers, self._replay.n_shared + first)
        return self._from[first], first

    @torch.no_grad()
    def _read(self) -> list[Any]:
        """Keys and values of every token, ROWS_AT_ONCE prompts at a time; nothing where a layer hands on others."""
        model = self._replay.model
        if not _filled(model, self._prompts[:1], DynamicCache(config=model.config)):
            return []
        parts = []
        for some in self._prompts.split(ROWS_AT_ONCE):
            layers = _filled(model, some, DynamicCache())
            if not layers or not self._goes_on_behind(some, layers):
                return []
            parts.append(layers)
        return [_joined(of_layer) for of_layer in zip(*parts, strict=True)]

    def _goes_on_behind(self, prompts: Int[Tensor, "batch n_tokens"], layers: list[Any]) -> bool:
        """Whether nothing changes where nothing was changed: no for a model that reads a cache unlike a prompt."""
        replay = self._replay
        middle = (replay.n_shared + replay.n_tokens) // 2
        embedded = replay.embedded(prompts)
        expected = replay.run_from(0, embedded)[:, middle - replay.n_shared :]
        behind = _Behind(replay, prompts, layers, middle)
        return replay._is_like(
            lambda stream: behind.run_from(0, stream), embedded[:, middle - replay.n_shared :], expected
        )


class _Behind(Replay):
    """The positions of known prompts from the token `first` on."""

    def __init__(self, whole: Replay, prompts: Tensor, layers: list[Any], first: int) -> None:
        self.model, self.blocks, self.logit_difference = whole.model, whole.blocks, whole.logit_difference
        self._cache = _ReadOnlyCache([_beginning(layer, first) for layer in layers])
        self.n_tokens, self.n_shared = whole.n_tokens, first
        self._given_to_one, self._given_to_two = (self._caught(prompts[:1].expand(n, -1)) for n in (1, 2))


def _filled(model: PreTrainedModel, prompts: Int[Tensor, "batch pos"], cache: DynamicCache) -> list[Any]:
    """Keys and values of prompts, layer by layer; nothing where a layer has others than these to hand on."""
    with torch.no_grad():
        model.get_decoder()(input_ids=prompts, past_key_values=cache, use_cache=True)
    layers: list[Any] = cache.layers
    plain = [type(one) in (DynamicLayer, DynamicSlidingWindowLayer) and one.is_initialized for one in layers]
    return layers if all(plain) else []


def _joined(parts: Sequence[Any]) -> Any:
    """Keys and values of one layer, of the prompts of all parts."""
    whole = copy.copy(parts[0])
    whole.keys, whole.values = (torch.cat([getattr(one, name) for one in parts]) for name in ("keys", "values"))
    return whole


def _beginning(layer: Any, n_tokens: int) -> Any:
    """Of the first tokens alone."""
    part = copy.copy(layer)
    part.keys, part.values = layer.keys[..., :n_tokens, :], layer.values[..., :n_tokens, :]
    return part


def _missed(replayed: Stream, expected: Stream) -> Float[Tensor, "batch pos"]:
    """The length of the difference at each position, relative to that of what was expected."""
    return (replayed.double() - expected.double()).norm(dim=-1) / expected.double().norm(dim=-1)


class _ReadOnlyCache(DynamicCache):
    """Keys and values of tokens before a prompt's own, of one row for any number of rows, or of each of the rows, which
    come once or more often: nothing that is read is kept."""

    def __init__(self, layers: list[Any]) -> None:
        super().__init__()
        self.layers = layers

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: Any, **_named: Any
    ) -> tuple[Tensor, Tensor]:
        layer: Any = self.layers[layer_idx]
        both = (layer.keys, key_states), (layer.values, value_states)
        keys, values = (torch.cat([_for_each(before, len(new)), new], dim=-2) for before, new in both)
        return keys, values


def _for_each(before: Tensor, n_rows: int) -> Tensor:
    """Fewer rows than are known are the first ones: so it is caught what blocks are handed."""
    if len(before) == 1:
        return before.expand(n_rows, -1, -1, -1)
    return before[:n_rows].repeat(max(1, n_rows // len(before)), 1, 1, 1)
