"""How the question is put: what stands before the code and after it, and what the answer begins with.

seed       the code, then "# When this code is executed, Python will raise a"
neutral    the same with words that need no article, which speaks for TypeError and against IndexError
few-shot   the form of the seed after eight solved examples of other code, one of each error
chat       a question in the model's chat template, and the beginning of an answer up to the quote before the name: chat
           models put one there, and would else answer with it
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError
from common.handoffs.error_pairs import QUESTION
from common.model.chat import template_of
from common.model.tokenization import Span, ids_and_spans
from phase6_error_circuits.pair import FEW_SHOT, NEUTRAL, SEED
from phase6_error_circuits.pairs.templates import ERRORS

_NEUTRAL = "\n# When this code is executed, Python raises this exception:"
_ASKED = "What does Python raise when this code is executed?\n```python\n"
_TO_BE_ANSWERED = "\n```\nAnswer with the name of the exception."
_ANSWER = "Python raises a `"
SHOTS = (
    ("data = [1, 2]\nprint(data.upper())", "AttributeError"),
    ('print(7 + "b")', "TypeError"),
    ("print(limit)", "NameError"),
    ("print((3 + 4)", "SyntaxError"),
    ("user = {'x': 2}\nprint(user['y'])", "KeyError"),
    ("print(8 % 0)", "ZeroDivisionError"),
    ("data = [1, 2]\nprint(data[7])", "IndexError"),
    ('float("red")', "ValueError"),
)


@dataclass(frozen=True)
class PromptFormat:
    """`lead` stands between a prompt and the name.

    `body`: of a chat prompt, how many characters the template has written at its start and at its end.
    """

    name: str
    before: str
    after: str
    lead: str = " "
    body: tuple[int, int] | None = None

    def prompt(self, code: str) -> str:
        return f"{self.before}{code}{self.after}"

    def ids_and_spans(self, tokenizer: Any, prompts: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
        """Tokens of prompts, with the characters of each; (0, 0) of what the tokenizer puts in front."""
        bodies = None if self.body is None else [(self.body[0], len(prompt) - self.body[1]) for prompt in prompts]
        return ids_and_spans(tokenizer, prompts, bodies, offsets=True)

    def answer_tokens(self, tokenizer: Any) -> dict[str, int] | None:
        """The first token of each error's name after a prompt; None where a name changes the prompt's own tokens."""
        prompt = self.prompt(SHOTS[0][0])
        [(before, _)] = self.ids_and_spans(tokenizer, [prompt])
        tokens = {}
        for error in ERRORS:
            longer = f"{self.lead}{error}"
            body = None if self.body is None else [(self.body[0], len(prompt) - self.body[1])]
            [(ids, _)] = ids_and_spans(tokenizer, [prompt + longer], body, offsets=False)
            if ids[: len(before)] != before:
                return None
            tokens[error] = ids[len(before)]
        return tokens


def format_of(name: str, tokenizer: Any, model: str) -> PromptFormat | str:
    """A format for a model; why there is none where its tokenizer has no chat template."""
    if name == SEED:
        return PromptFormat(name, "", QUESTION)
    if name == NEUTRAL:
        return PromptFormat(name, "", _NEUTRAL)
    if name == FEW_SHOT:
        return PromptFormat(name, "".join(f"{code}{QUESTION} {error}\n\n" for code, error in SHOTS), QUESTION)
    try:
        chat = template_of(tokenizer, model)
    except ConfigError as error:
        return str(error).partition("\n")[0]
    before, after = f"{chat.before}{_ASKED}", f"{_TO_BE_ANSWERED}{chat.after}{_ANSWER}"
    return PromptFormat(name, before, after, "", body=(len(chat.before), len(chat.after) + len(_ANSWER)))
