"""Write the minimal pairs that the organism was trained on as templates of phase 6.1, with words that were held out.

    python3 -m model_organism.write_error_templates

A row of minimal_pairs.txt becomes one template: its first alternatives are the clean program, its second ones the
corrupted one, and an expression is assigned to a name. Names and words are those held out from the training, so none
of the programs was trained on; templates that were held out whole are called "held out", the others "trained".

A number that stands only in the alternatives is drawn anew in the second ones, so that both can be of equal length.
"""

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from common.files import write_atomic
from model_organism.minimal_pairs import ALTERNATIVES, HELD_OUT_NAMES, HELD_OUT_WORDS, TEMPLATES, PairTemplate

FILE = Path(__file__).parent / "error_templates.txt"
FRAME = "$result = $use"
CLEAN, CORRUPTED = 0, 1
_NUMBER = re.compile(r"\$(number|second|digit)\b")
_FREE_IN_CLEAN, _FREE_IN_CORRUPTED = "$many", "$more"

logger = logging.getLogger(__name__)


def template_lines(template: PairTemplate) -> list[str]:
    """One template in the form of phase6_error_circuits/pairs/templates.txt."""
    kind = "held out" if template.is_held_out else "trained"
    clean, corrupted = template.contrast.split("/")
    code = re.sub(r"> (.*)", lambda match: FRAME.replace("$use", match[1]), template.code)
    head = f"{template.contrast}: {kind}, {template.name}; what raises {clean} is changed to what raises {corrupted}"
    return [head, *(f"    {line}" for line in _parts(code))]


def _parts(code: str) -> list[str]:
    fixed, changes = ALTERNATIVES.split(code)[::2], ALTERNATIVES.findall(code)
    fixed_numbers = {number for text in fixed for number in _NUMBER.findall(text)}

    def freed(text: str, slot: str) -> str:
        """With a number of its own for the first one that nothing else has."""
        return _NUMBER.sub(lambda match: match[0] if match[1] in fixed_numbers else slot, text, count=1)

    lines = []
    for place, text in enumerate(fixed):
        if text:
            lines.append(
                f"{'before' if place == 0 else 'after' if place == len(changes) else 'between'}: {_marked(text)}"
            )
        if place < len(changes):
            alternatives = changes[place].split("|")
            role = "change" if place == 0 else f"change{place + 1}"
            clean = freed(alternatives[CLEAN], _FREE_IN_CLEAN)
            lines.append(f"{role}: {_marked(clean)} -> {_marked(freed(alternatives[CORRUPTED], _FREE_IN_CORRUPTED))}")
    return lines


def _marked(text: str) -> str:
    return f"«{text}»".replace("\n", "\\n")


def file_text(templates: Sequence[PairTemplate] = TEMPLATES) -> str:
    words = [f"names: {' '.join(HELD_OUT_NAMES)}", f"words: {' '.join(HELD_OUT_WORDS)}"]
    return "\n\n".join(["\n".join(words), *("\n".join(template_lines(one)) for one in templates)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, help="file to write (default: the committed one)")
    args = parser.parse_args()
    write_atomic(args.out, file_text().encode())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logger.info("wrote %d templates to %s", len(TEMPLATES), args.out)


if __name__ == "__main__":
    main()
