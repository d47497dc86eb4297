"""`run.py --version`."""

from common.launch.program import Program
from common.provenance import code_state, code_words, version


def main(_argv: list[str], _program: Program) -> int:
    print(f"pva-sae {version()} ({code_words(code_state())})")
    return 0
