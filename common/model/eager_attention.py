"""Attention that forms its weights, and hands them on; faster implementations never have them in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from common.model.language_model import LanguageModel


@contextmanager
def eager(lm: LanguageModel) -> Iterator[None]:
    """Use eager attention, and have it hand on its weights, in the passes made meanwhile."""
    config = lm.model.config.get_text_config()
    usual, output = cast(tuple[str, bool], (config._attn_implementation, config.output_attentions))
    try:
        if usual != "eager":
            lm.model.set_attn_implementation("eager")
            config._attn_implementation = "eager"  # of Falcon, which the line above leaves as it is
        config.output_attentions = True
        yield
    finally:
        config.output_attentions = output
        if usual != "eager":
            lm.model.set_attn_implementation(usual)
            config._attn_implementation = usual
