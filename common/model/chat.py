"""Chat templates: what a model's tokenizer puts around the message that the model is to answer.

A template is rendered once, around a mark in the message's place, and cut there. So every prompt of a run has the same
words around it, whatever the day; where the message begins and ends is known; and a control token's name in the message
is never mistaken for the template's.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.model.registry import hub_repository, model_location
from common.phases.hub import COMMIT, hub_file
from common.problems.prompt import ChatTemplate

_MARK = "\ue000"  # a character of nobody's
# Templates that name today's date are told this one: prompts must not change overnight.
_DAY = "26 Jul 2024"
_ALWAYS_THAT_DAY = f"{{%- macro strftime_now(format) -%}}{_DAY}{{%- endmacro -%}}"


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
        message, template = [{"role": "user", "content": _MARK}], _ALWAYS_THAT_DAY + tokenizer.get_chat_template()
        text = tokenizer.apply_chat_template(
            message,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
            date_string=_DAY,
        )
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise ConfigError(f"the chat template of {model} cannot be used: {error}\nGive --prompt plain") from error
    before, mark, after = text.partition(_MARK)
    if not mark or _MARK in after:
        raise ConfigError(f"the chat template of {model} does not hold the message as it is\nGive --prompt plain")
    bos = tokenizer.bos_token
    if bos and before.startswith(bos) and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]:
        before = before.removeprefix(bos)
    return ChatTemplate(before, after)


def has_chat_template(model: str, revision: str, network: bool) -> bool | None:
    """Whether a model's tokenizer has a chat template; None where it cannot be known."""
    repository = hub_repository(model)

    def file(name: str) -> Path | None:
        if repository is None:
            path = Path(model_location(model)) / name
            return path if path.is_file() else None
        return hub_file(repository, revision, name, network=network) if COMMIT.fullmatch(revision) else None

    config = file("tokenizer_config.json")
    if config is not None and json.loads(config.read_bytes()).get("chat_template"):
        return True
    if file("chat_template.jinja") is not None:
        return True
    return None if config is None and repository is not None else False


def with_form(config: Any, log: logging.Logger, network: bool) -> Any:
    """A PromptConfig with the form of its prompts settled. Raises: ConfigError where the model has no such form."""
    if config.prompt == "plain" and not config.runs_a_model:
        return config
    known = has_chat_template(config.model, config.revision, network)
    if config.prompt == "chat" and known is False:
        told = f"--prompt is chat, but the tokenizer of {config.model} has no chat template"
        raise ConfigError(f"{told}\nGive --prompt plain, or auto")
    if config.prompt == "plain" and known:
        words = "%s has a chat template, but is given the plain prompt, as base models are"
        log.warning(f"{words}; --prompt chat uses the template", config.model)
    if config.prompt == "auto" and known is not None:
        config = dataclasses.replace(config, prompt="chat" if known else "plain")
        log.info("prompt: %s", config.prompt)
    if config.prompt == "auto" and network:
        told = f"--prompt is auto, but nothing tells whether {config.model} has a chat template"
        why = "it is not on this disk, and the hub does not answer"
        raise ConfigError(f"{told}: {why}\nGive --prompt plain or chat")
    return config
