"""The text in a row that a user wrote: {"text": ...}, or a prompt with the code behind it."""

from collections.abc import Mapping
from typing import Any

from common.errors import ConfigError
from common.problems.problem import shown
from phase4_anomaly_detection.options import PROMPT_AND_CODE, TEXT_KEYS


def text_of(row: Any, where: str) -> str:
    """`text`, `prompt` or `code` of a row; a prompt and a code together are one text.

    Raises: ConfigError, naming the place, for a row with none of them, with several, or with an empty text.
    """
    if not isinstance(row, Mapping):
        raise ConfigError(f'{where}: is {shown(row)}, no object\nWrite an object: {{"text": "..."}}')
    given = [key for key in TEXT_KEYS if key in row]
    if len(given) != 1 and given != PROMPT_AND_CODE:
        has = f"has {' and '.join(given)}" if given else f"has the entries {', '.join(map(str, row)) or 'none'}"
        raise ConfigError(f"{where}: {has}\nGive exactly one of: {', '.join(TEXT_KEYS)}; or prompt and code")
    for key in given:
        text = row[key]
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{where}: '{key}' is {shown(text)}\nGive a text that is not empty")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ConfigError(f"{where}: '{key}' holds half a surrogate pair\nWrite the text as UTF-8")
    return "".join(row[key] for key in given)
