"""English prose out of documentation: docstrings, reStructuredText, Markdown.

1. Code goes: fenced and indented blocks, doctests, tables, HTML, and with the indentation every list of parameters.
2. A paragraph stays if it reads like English: sentences of words, a fifth of them the commonest of the language, and
   next to none of the characters that code is made of.
3. Inline markup is taken off; its words stay.
"""

import ast
import re
import textwrap

MIN_WORDS = 8  # of a paragraph
MIN_COMMON = 0.2  # share of words among the commonest
MAX_CODE = 0.02  # share of characters that prose seldom has
COMMON = frozenset(
    "a all also an and any are as at be because been but by can do does each for from has have if in into is it its "
    "may more must no not of on one only or other should so some such than that the their then there these they this "
    "to used was we when where which will with would you your".split()
)

_FENCE = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[^\n]*$", re.DOTALL | re.MULTILINE)
_NO_PROSE = re.compile(r"\s|[-*+|#:@.>=!\[]|\d+[.)]\s|\w+:$")  # a list, table, heading, directive
_CODE = re.compile(r"[_{}\[\]<>=\\|/*#$^~@+]|\(\)|[a-z]\.[a-z]|[a-z][A-Z]")
_MARKUP = (  # pattern -> what stays of it
    (re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL), ""),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),
    (re.compile(r":[a-z:+-]+:`~?([^`<]+?)\s*(?:<[^`>]*>)?`"), r"\1"),
    (re.compile(r"`{1,2}([^`<]+?)\s*(?:<[^`>]*>)?`{1,2}_{0,2}"), r"\1"),
    (re.compile(r"\*{1,2}([^\s*](?:[^*]*[^\s*])?)\*{1,2}"), r"\1"),
    (re.compile(r"\s*\[[\w#]+\]_"), ""),
)


def docstrings(source: str) -> list[str]:
    """The docstrings of a module, its classes and functions, from the first line on; none of what does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return [text for text in texts if text]


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text that are English prose, each on one line, without markup."""
    text = _FENCE.sub("\n\n", textwrap.dedent(text.expandtabs()))
    blocks = re.split(r"\n[ \t]*\n", text.strip())
    cleaned = (_plain(block) for block in blocks if _is_running_text(block))
    return [paragraph for paragraph in cleaned if reads_like_english(paragraph)]


def reads_like_english(paragraph: str) -> bool:
    """Whether a paragraph is sentences of common words, and not code, a table or a list of names."""
    words = re.findall(r"[A-Za-z]+(?:['’-][A-Za-z]+)*", paragraph)
    if len(words) < MIN_WORDS or not re.match(r"[\"'(]?[A-Z]", paragraph) or not re.search(r"[.!?]['\")]?$", paragraph):
        return False
    common = sum(word.lower() in COMMON for word in words) / len(words)
    code = len(_CODE.findall(paragraph)) / len(paragraph)
    return common >= MIN_COMMON and code <= MAX_CODE and len(words) >= 0.7 * len(paragraph.split())


def _is_running_text(block: str) -> bool:
    """Whether no line of a block is indented, or begins as those of lists, tables, doctests and directives do."""
    return not any(_NO_PROSE.match(line) for line in block.splitlines()) and "http" not in block


def _plain(block: str) -> str:
    for pattern, kept in _MARKUP:
        block = pattern.sub(kept, block)
    return re.sub(r"::$", ":", " ".join(block.split()))
