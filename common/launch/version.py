"""`run.py --version`."""

from common.launch.catalogue import Catalogue
from common.provenance import code_state, code_words, version


def main(_argv: list[str], _catalogue: Catalogue) -> int:
    print(f"pva-sae {version()} ({code_words(code_state())})")
    return 0
