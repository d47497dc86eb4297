"""What is wrong with a tokenizer for reading programs: found out by reading some and writing them out again."""

from typing import Any

from tokenizers import AddedToken

from common.model.tokenization import tokens_in_front

# What must come through, and a text of it.
KEPT = {
    "the words themselves": "def f(x): return [x, 'a1']",
    "capital letters": "return True if x is None else MyClass(X)",
    "line breaks": "# solution:\ndef f(x):\ny",
    "indentation": "if x:\n    return y\n\treturn z",
    "double spaces": "a  b   c",
    "a first newline": "\nx = 1",
    "a final newline": "# solution:\n",
}
SHOWN = 5


def faults_of(tokenizer: Any, n_known: int) -> list[str]:
    """Each thing that would make another text of a prompt, or tokens that the model's `n_known` embeddings lack.

    Control tokens beyond the embeddings are no fault: text is never read as one (see `common.model.tokenization`).
    """
    if not tokenizer.is_fast:
        return ["it is none of the fast tokenizers"]
    _make_unknown_tokens_control(tokenizer, n_known)
    beyond = [token for token, number in tokenizer.get_vocab().items() if number >= n_known]
    from_text = sorted(set(beyond) - _control_tokens(tokenizer))
    front = tokens_in_front(tokenizer)
    faults = []
    if from_text:
        shown = ", ".join(map(repr, from_text[:SHOWN])) + (" and more" if len(from_text) > SHOWN else "")
        faults.append(f"the model has no embedding for {len(from_text)} of its tokens ({shown})")
    if any(number >= n_known for number in front):
        faults.append(f"it begins every text with {tokenizer.convert_ids_to_tokens(front)}, which has no embedding")
    if len(front) != len(set(front)):
        faults.append(f"it begins every text with {tokenizer.convert_ids_to_tokens(front)}: one of them twice")
    lost = [what for what, text in KEPT.items() if not _comes_through(tokenizer, text)]
    return [*faults, f"it loses {', '.join(lost)}"] if lost else faults


def _make_unknown_tokens_control(tokenizer: Any, n_known: int) -> None:
    """An added token without an embedding must not be made from text, even where its makers did not call it special."""
    known = tokenizer.added_tokens_decoder
    unknown = [token for number, token in known.items() if number >= n_known and not token.special]
    kept = ("normalized", "lstrip", "rstrip")
    tokenizer.backend_tokenizer.add_special_tokens(
        [AddedToken(one.content, special=True, **{name: getattr(one, name) for name in kept}) for one in unknown]
    )


def _control_tokens(tokenizer: Any) -> set[str]:
    return {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}


def _comes_through(tokenizer: Any, text: str) -> bool:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    read = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return read in (text, f" {text}")  # some put a space in front of every text, and leave it there
