"""The sidecar: a model that reads texts, and gives the residual stream at each one's last token.

    reading = SidecarModel(SidecarConfig(model="organism", layer=4)).read(["def f(x):\\n    return x"])
    reading.resid          # [1, d_model] float64: the output of block 4 at the last token

1. A text is tokenised as in every phase: BOS once where there is one, control tokens that are written out are text.
2. Texts are read in batches of like length, padded on the right: attention looks back only, so no token sees the
   padding, and a text's last token stands where it stands when the text is read alone.
3. Only the blocks up to the layer are kept. A forward hook takes the output of the block.

Small models (under 200 million parameters) are read on a CPU or an NVIDIA GPU in float64 throughout, unless their
weights are quantised: then the batch, its order and its padding change a score by less than 1e-9. Where that is not
wanted of every text, `exact=False` reads them in float32, twice as fast. Larger ones compute in the number type of the
detector, or else of the registry, where the batch changes a score's last digits, as in every batched computation.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import ConfigError, UnknownHookError
from common.model.devices import resolve_device
from common.model.registry import MODELS, ModelEntry
from common.phases.settings import kind_of
from common.problems.prompt import CHAT_REQUEST, ChatTemplate
from phase4_anomaly_detection.float64 import float32_as_float64

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from common.model.language_model import LanguageModel

DTYPES = ("auto", "float64", "float32", "bfloat16", "float16")
QUANTISATIONS = ("none", "8bit", "4bit")
LONG_INPUT = ("refuse", "windows")
FLOAT64_BELOW = 200_000_000  # parameters, with dtype auto
TOKENS_AT_ONCE = 8192  # of a batch, padding included; a single text may have more


@dataclass(frozen=True, kw_only=True)
class SidecarConfig:
    """Which model reads, where, and what becomes of a text that is longer than its context.

    `layer` None is the registry's layer for the model, where it has one. `threads` 0 is torch's own choice.
    `revision` is the commit of a model of the hub; with `prompt` chat each text is the user's message in a chat.
    """

    model: str = "organism"
    layer: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantisation: str = "none"
    batch_size: int = 16
    long_input: str = "refuse"
    threads: int = 0
    revision: str = ""
    prompt: str = "plain"

    def __post_init__(self) -> None:
        for name, allowed in (("dtype", DTYPES), ("quantisation", QUANTISATIONS), ("long_input", LONG_INPUT)):
            if getattr(self, name) not in allowed:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag} is '{getattr(self, name)}'\nGive one of: {', '.join(allowed)}")
        if self.batch_size < 1:
            raise ConfigError(f"--batch-size is {self.batch_size}\nGive 1 or more")
        if self.dtype == "float64" and self.quantisation != "none":
            raise ConfigError(
                f"--dtype is float64 and --quantisation {self.quantisation}: weights of so few bits know no "
                f"float64\nLeave out one of the two"
            )


@dataclass(frozen=True, eq=False)
class Reading:
    """The residual stream at the last token: a row for each text, or for each window of a text read in windows.

    `owners` gives the text (from 0) of each row, ascending; `n_tokens` counts those of each text, BOS included.
    """

    resid: Float[np.ndarray, "n_rows d_model"]
    n_tokens: Int[np.ndarray, " n"]
    owners: Int[np.ndarray, " n_rows"]


@dataclass(eq=False)
class _Loaded:
    """A model in memory, and in float64 once that is asked for, where `widens` says that it may be."""

    lm: LanguageModel
    widens: bool
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)  # hooks are the model's, not the caller's

    @functools.cached_property
    def wide(self) -> Any:
        model = self.lm.model
        return model if next(model.parameters()).dtype.itemsize == 8 else copy.deepcopy(model).double()


class SidecarModel:
    """A model that is loaded at the first text, or by `load`.

    `usual_dtype` is the number type of a model that is not small, where the config says auto: that of a detector.
    """

    def __init__(self, config: SidecarConfig | None = None, usual_dtype: str = "auto"):
        self.config, self.usual_dtype = config or SidecarConfig(), usual_dtype
        self._loaded: _Loaded | None = None

    def load(self) -> SidecarModel:
        """Load the model, if it is not; returns self. Raises: ConfigError, AssetError, UnknownHookError."""
        self._in_memory()
        return self

    def _in_memory(self) -> _Loaded:
        if self._loaded is None:
            with _without_garbage_collection():
                self._loaded = self._load()
        return self._loaded

    def _load(self) -> _Loaded:
        from common.model.loading import load_model

        config = self.config
        device = resolve_device(config.device)
        check_quantisation(config.quantisation, device)
        dtype = self.usual_dtype if config.dtype == "auto" else config.dtype
        dtype = "float32" if dtype == "float64" else dtype  # which load_model does not know: widened when it is needed
        lm = load_model(config.model, device, dtype, config.threads, config.quantisation, config.revision)
        self._check_layer(config.layer, lm)
        widens = config.dtype == "float64" or (config.dtype == "auto" and _is_small(lm, config.quantisation))
        if widens and lm.dtype != "float32":  # its weights were rounded
            lm = load_model(config.model, device, "float32", config.threads, revision=config.revision)
        if config.layer is not None:
            _drop_blocks_above(lm, config.layer)
        if config.dtype == "float64":  # nothing is read in float32: no second copy is held
            lm.model.double()
        return _Loaded(lm, widens)

    def at_layer(self, layer: int) -> SidecarModel:
        """A sidecar that reads another layer: of the same loaded model, unless that has not kept the block."""
        from common.model.hooks import decoder_blocks

        other = SidecarModel(dataclasses.replace(self.config, layer=layer), self.usual_dtype)
        loaded = self._loaded
        if loaded is not None:
            self._check_layer(layer, loaded.lm)
            if layer < len(decoder_blocks(loaded.lm.model)):
                other._loaded = loaded
        return other

    def unload(self) -> None:
        """Give the model's memory back; the next text loads it again."""
        self._loaded = None

    @property
    def lm(self) -> LanguageModel:
        return self._in_memory().lm

    @property
    def layer(self) -> int | None:
        """The layer that `read` reads: the config's, or else the one that the registry has for the model."""
        if self.config.layer is not None:
            return self.config.layer
        return MODELS.get(self.config.model, ModelEntry()).detector_layer

    @property
    def context_length(self) -> int:
        """Tokens that the model reads at once, BOS included."""
        return self.lm.context_length

    @property
    def dtype(self) -> str:
        """The number type that the model computes in, where `exact=False` does not ask for less."""
        return "float64" if self._in_memory().widens else self.lm.dtype

    @property
    def reads_quickly(self) -> bool:
        """Whether `exact=False` reads in float32 what is otherwise read in float64."""
        return self.config.dtype == "auto" and self._in_memory().widens

    def read(self, texts: Sequence[str], exact: bool = True) -> Reading:
        """The output of block `layer` at the last token of each text.

        Raises: ConfigError for an empty text, one longer than the context (unless it is read in windows), and where
        neither the config nor the registry names a layer.
        """
        if self.layer is None:
            raise ConfigError(
                f"no layer of {self.config.model} is chosen\nGive one of 0 to {self.lm.n_layers - 1} as "
                f"SidecarConfig(layer=...) or --layer"
            )
        return self.read_layers(texts, [self.layer], exact)[self.layer]

    def read_layers(self, texts: Sequence[str], layers: Sequence[int], exact: bool = True) -> dict[int, Reading]:
        """`read` for several layers, with one pass over the texts."""
        wide = self._in_memory().widens and (exact or not self.reads_quickly)
        check_texts(texts)
        rows, owners, n_tokens = self._rows(texts)
        resid = {layer: np.empty((len(rows), self.lm.d_model)) for layer in layers}
        for batch in _batches([len(row) for row in rows], self.config.batch_size):
            self._forward([rows[i] for i in batch], batch, resid, wide)
        return {layer: Reading(resid[layer], n_tokens, owners) for layer in layers}

    def check_fits(self, text: str, max_windows: int) -> int:
        """How many windows a text needs, without reading it. Threads may ask this while others read.

        Raises: ConfigError for what `read` refuses, and for more windows than `max_windows`.
        """
        check_texts([text])
        rows, _, n_tokens = self._rows([text])
        if len(rows) > max_windows:
            raise ConfigError(
                f"the text is too long: its {n_tokens[0]} tokens need {len(rows)} windows of {self.context_length}; "
                f"{max_windows} may be read\nShorten it, or allow more with --max-windows"
            )
        return len(rows)

    def _rows(self, texts: Sequence[str]) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
        """Token ids of every row to be read, the text of each row, and the tokens of each text."""
        from common.model.tokenization import tokens_in_front

        encoded = _tokenise(self.lm, texts, self.config.prompt) if texts else []
        limit, rows, owners = self.context_length, [], []
        too_long = {i: len(ids) for i, ids in enumerate(encoded) if len(ids) > limit}
        if too_long and self.config.long_input == "refuse":
            shown = ", ".join(f"text {i + 1} has {n} tokens" for i, n in list(too_long.items())[:10])
            raise ConfigError(
                f"{len(too_long)} of {len(texts)} texts are too long for {self.config.model}, which reads {limit} "
                f"tokens: {shown}\nShorten them, or read them in overlapping windows with --long-input windows"
            )
        n_first = len(tokens_in_front(self.lm.tokenizer)) if too_long else 0
        for i, ids in enumerate(encoded):
            parts = windows(ids, limit, n_first)
            rows += parts
            owners += [i] * len(parts)
        return rows, np.array(owners, dtype=np.int64), np.array([len(ids) for ids in encoded], dtype=np.int64)

    def _forward(self, rows: list[list[int]], places: list[int], resid: dict[int, np.ndarray], wide: bool) -> None:
        """Read one batch, and write each row's last token into its place in `resid`."""
        import torch

        from common.model.hooks import read_sites
        from common.model.sites import resid_post_site

        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self.lm.pad_token_id)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        mask = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
        numbers, last, device = torch.arange(len(rows)), lengths - 1, self.lm.device
        of_site = {resid_post_site(layer): layer for layer in resid}

        def take(site: str, stream: Any) -> None:
            # Indices on the processor serve a model that lies on several devices.
            resid[of_site[site]][places] = stream[numbers, last].to("cpu").double().numpy()

        loaded = self._in_memory()
        with loaded.one_at_a_time, torch.inference_mode(), _readable_errors(self.config):
            model = loaded.wide if wide else loaded.lm.model
            decoder = model.get_decoder()  # without the output layer, which nothing here needs
            with read_sites(model, list(of_site), take), float32_as_float64(wide):
                decoder(input_ids=ids.to(device), attention_mask=mask.long().to(device), use_cache=False)

    def _check_layer(self, layer: int | None, lm: LanguageModel) -> None:
        if layer is not None and not 0 <= layer < lm.n_layers:
            raise UnknownHookError(
                f"{self.config.model} has no layer {layer}\nGive one of 0 to {lm.n_layers - 1} as --layer"
            )


def check_texts(texts: Sequence[str]) -> None:
    """Raises: ConfigError for what is no text, has nothing in it, or cannot be written in UTF-8."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ConfigError(f"text {i + 1} is of type {type(text).__name__}\nGive texts")
        if not text.strip():
            raise ConfigError(f"text {i + 1} of {len(texts)} is empty\nGive a prompt or a program")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"text {i + 1} holds half of a surrogate pair at character {error.start}\nGive text in UTF-8"
            ) from error


def check_quantisation(quantisation: str, device: str) -> None:
    """Whether weights can be held in 8 or 4 bits here. Raises: ConfigError, saying what is missing."""
    if quantisation == "none":
        return
    import importlib.util

    lacking = ["an NVIDIA GPU (--device cuda)"] if kind_of(device) != "cuda" else []
    lacking += [] if importlib.util.find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if lacking:
        raise ConfigError(
            f"--quantisation {quantisation} does not work here, on the device {device}: transformers needs "
            f"{' and '.join(lacking)} for it\nLeave out --quantisation, for a detector that was made without it; or "
            f"use a machine with an NVIDIA GPU and: pip install bitsandbytes"
        )


def windows(ids: list[int], limit: int, n_first: int) -> list[list[int]]:
    """`ids` as it is where it fits; else overlapping windows of `limit` tokens, the last of which ends at its end.

    Each begins with the first `n_first` tokens (BOS), without which the model reads nothing as it was trained to, and
    is half a window further on than the one before.
    """
    if len(ids) <= limit:
        return [ids]
    first, body = ids[:n_first], ids[n_first:]
    width = limit - n_first
    starts = [*range(0, len(body) - width, max(1, width // 2)), len(body) - width]
    return [first + body[start : start + width] for start in starts]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """The collector would look at all that the libraries make at import, again and again: a sixth of the start."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _tokenise(lm: LanguageModel, texts: Sequence[str], prompt: str) -> list[list[int]]:
    """Ids of each text, without padding or cutting. Raises: ConfigError for a text that has no token of its own."""
    from common.model.chat import template_of
    from common.model.tokenization import encode, tokens_in_front

    bodies, n_in_front = None, len(tokens_in_front(lm.tokenizer))
    if prompt == "chat":
        chat = template_of(lm.tokenizer, lm.name)
        texts, bodies = zip(*(in_chat(chat, text) for text in texts), strict=True)
    encoded = encode(lm, texts, bodies=bodies)
    for i, ids in enumerate(encoded):
        if len(ids) <= n_in_front:
            raise ConfigError(f"text {i + 1} of {len(texts)} has no token\nGive a prompt or a program")
    return encoded


def in_chat(chat: ChatTemplate, text: str) -> tuple[str, tuple[int, int]]:
    """A message in the template, with the program behind it where one stands behind the request; and its place."""
    head, request, rest = text.rpartition(CHAT_REQUEST)
    program = rest.removeprefix(chat.after).lstrip("\n")
    if not request or not program:
        return chat.put(text)
    prompt, body = chat.put(head.removeprefix(chat.before) + request)
    return prompt + program, body


def _batches(lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Numbers of the rows to read together, the shortest rows first."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[row] > TOKENS_AT_ONCE):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _is_small(lm: LanguageModel, quantisation: str) -> bool:
    n_parameters = sum(parameter.numel() for parameter in lm.model.parameters())
    return kind_of(lm.device) in ("cpu", "cuda") and quantisation == "none" and n_parameters < FLOAT64_BELOW


def _drop_blocks_above(lm: LanguageModel, layer: int) -> None:
    """Forget the blocks that come after the one that is read."""
    from common.model.hooks import decoder_blocks

    del decoder_blocks(lm.model)[layer + 1 :]


@contextmanager
def _readable_errors(config: SidecarConfig) -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"--batch-size {config.batch_size} is too much for the memory of this device\nGive a smaller one"
        ) from error
