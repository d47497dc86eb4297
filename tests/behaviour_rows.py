"""Prompts of behaviours as a user may write them, and tokenizers without BOS."""

import json
from pathlib import Path

from tiny_models import make_tokenizer, save_tiny_qwen

ROW = {"prompt": "The parser", "correct_answer": " is", "incorrect_answer": " are"}
ROWS = [  # two partners in each split, and two of one template
    {**ROW, "behaviour": "words", "entity": "parser", "pair": 1, "number": "singular"},
    {**ROW, "prompt": "The string", "behaviour": "words", "entity": "string", "pair": 1},
    {**ROW, "prompt": "if name", "behaviour": "words", "split": "test", "entity": "name", "template": "if {word}"},
    {
        **{"prompt": "if self", "correct_answer": " in", "incorrect_answer": " not"},
        **{"behaviour": "words", "split": "test", "entity": "self", "template": "if {word}"},
    },
]


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def tokenizer_without_bos(**names):
    """As Qwen's: it puts nothing in front. `names` are those of its special tokens."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    for name in ("bos_token", "pad_token", "eos_token"):
        setattr(tokenizer, name, names.get(name))
    return tokenizer


def save_qwen_without_bos(folder: Path) -> Path:
    """A tiny Qwen3, whose tokenizer has a pad token and no BOS."""
    save_tiny_qwen(folder)
    tokenizer_without_bos(pad_token="<pad>", eos_token="<eos>").save_pretrained(folder)
    return folder
