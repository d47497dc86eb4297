"""The one prompt every phase uses: description, asserts, and the marker after which the model writes.

In the chat form the same sections are the user's message, and a request stands in the place of the marker; around the
message stands what the model's own chat template puts there, up to where the answer begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.problems.shown_asserts import shown_asserts

SOLUTION_MARKER = "# Solution:"
CHAT_REQUEST = "Write this function in Python."


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


@dataclass(frozen=True)
class Prompt:
    """A prompt and where its sections end, in characters of `text` (exclusive ends).

    `body` is where the user's message stands in a chat prompt: what is around it is the chat template's, and only there
    the name of a control token is the token. None for a plain prompt.
    """

    text: str
    description_end: int
    tests_end: int
    body: tuple[int, int] | None = None

    @property
    def description_start(self) -> int:
        return 0 if self.body is None else self.body[0]


def bodies_of(prompts: Sequence[Prompt]) -> list[tuple[int, int]] | None:
    """The messages' places in chat prompts, as `common.model.tokenization` asks for them; None for plain ones."""
    bodies = [prompt.body for prompt in prompts if prompt.body is not None]
    assert len(bodies) in (0, len(prompts)), "the prompts of a run have one form"
    return bodies or None


def build_prompt(description: str, tests: Sequence[str], chat: ChatTemplate | None = None) -> Prompt:
    """The prompt of one problem: description, blank line, one assert per line, blank line, marker.

    The text ends with a newline, so the last prompt token is that newline and the model's
    first token starts the program; with `chat` it is the last token of the template. `tests` are complete statements
    ("assert f(1) == 2"): prefixing them with another `assert` was one of the mistakes of earlier work. Of whole test
    code the prompt shows the asserts that `shown_asserts` finds.
    An empty description, or no tests (the prompts of phase 3.7), leaves out its blank line too.
    """
    description = description.strip()
    asserts = "\n".join(shown_asserts(tests))
    body = "\n\n".join(section for section in (description, asserts) if section)
    if chat is None:
        return Prompt(f"{body}\n\n{SOLUTION_MARKER}\n", len(description), len(body))
    text, place = chat.put(f"{body}\n\n{CHAT_REQUEST}")
    return Prompt(text, place[0] + len(description), place[0] + len(body), place)
