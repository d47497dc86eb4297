"""Chat templates: what a model's tokenizer puts around the message that the model is to answer.

A template is rendered once, around a mark in the message's place, and cut there. So every prompt of a run has the same
words around it, whatever the day; where the message begins and ends is known; and a control token's name in the message
is never mistaken for the template's.
"""

from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError
from common.registry import model_location

_MARK = "\ue000"  # a character of nobody's
# Templates that name today's date are told this one: prompts must not change overnight.
_DAY = "26 Jul 2024"
_ALWAYS_THAT_DAY = f"{{%- macro strftime_now(format) -%}}{_DAY}{{%- endmacro -%}}"


@dataclass(frozen=True)
class ChatTemplate:
    """What stands before and after the user's message, up to where the answer begins."""

    before: str
    after: str

    def put(self, message: str) -> tuple[str, tuple[int, int]]:
        """The prompt for a message, and where the message stands in it. A prompt that is whole already stays so."""
        if message.startswith(self.before) and message.endswith(self.after):
            message = message.removeprefix(self.before).removesuffix(self.after)
        start = len(self.before)
        return self.before + message + self.after, (start, start + len(message))


def chat_template_for(form: str, model: str, revision: str = "") -> ChatTemplate | None:
    """The template of a model for the prompts' form; None for plain ones. The model itself is not loaded.

    Raises: ConfigError where it has none.
    """
    if form == "plain":
        return None
    from transformers import AutoTokenizer

    return template_of(AutoTokenizer.from_pretrained(model_location(model), revision=revision or None), model)


def template_of(tokenizer: Any, model: str) -> ChatTemplate:
    """The chat template of a tokenizer, without the beginning-of-sequence token that the tokenizer puts there itself.

    No system message is given, and a model that can think before it answers is told not to.
    Raises: ConfigError where there is no template, or none that takes a message as it is.
    """
    import jinja2

    if not tokenizer.chat_template:
        raise ConfigError(f"the tokenizer of {model} has no chat template\nGive --prompt plain")
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": _MARK}], tokenize=False, add_generation_prompt=True,
            chat_template=_ALWAYS_THAT_DAY + tokenizer.get_chat_template(), enable_thinking=False, date_string=_DAY,
        )  # fmt: skip
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise ConfigError(f"the chat template of {model} cannot be used: {error}\nGive --prompt plain") from error
    before, mark, after = text.partition(_MARK)
    if not mark or _MARK in after:
        raise ConfigError(f"the chat template of {model} does not hold the message as it is\nGive --prompt plain")
    bos = tokenizer.bos_token
    if bos and before.startswith(bos) and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]:
        before = before.removeprefix(bos)
    return ChatTemplate(before, after)
