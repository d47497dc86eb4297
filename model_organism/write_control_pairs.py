"""Write the organism's pairs of problems for the positive control of phase 3.8.

    python3 -m model_organism.write_control_pairs

Twins are two problems of one operation each, with the same arguments, argument name, generic function name and draws of
the wording: only the operation differs, and with it the description, the program and what the asserts expect.
Arguments are such that the two operations differ on every one.

Pairs, layer and coefficient were chosen on other problems than those that are written, with the phase itself:

    python3 -m model_organism.write_control_pairs --candidates --seed screen --steer 4 --out screen.jsonl
    python3 run.py phase 3.8 --preset demo --pairs screen.jsonl --layer 4 --coefficient 0.75 --n-controls 1
"""

import argparse
import copy
import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_atomic
from model_organism.example_inputs import draw_input
from model_organism.operations import OPERATIONS, Operation
from model_organism.phrasing import ARGUMENT_NAMES, GENERIC_NAMES, Constants, describe
from model_organism.problems import BUILTINS_OF_SOLUTIONS, N_TESTS
from model_organism.rendering import render_function

FILE = Path(__file__).parent / "control_pairs.jsonl"
PAIRS = (  # of the candidates, those of which 4 of 4 were turned at layer 4, both with 0.75 and with 1
    "s_low>s_title s_title>s_up s_swap>s_up s_up>s_low w_longest>w_shortest w_rev>w_cap sort>reverse sum>min "
    "d_vals>d_keys d_keys>d_vals p_first>p_second m_sums>m_mins"
).split()
CANDIDATES = (
    *PAIRS,
    *"s_up>s_rev filter_even>filter_pos w_len>w_total s_len>s_words min>len w_sort>w_sortlen w_cap>w_rev "
    "filter_odd>filter_neg sort>sort_desc reverse>dedupe cumsum>cummax sum>prod range>second_largest d_sortv>d_sortk "
    "p_swap>p_sort2 m_flat>m_firsts i_digsum>i_rev map_square>map_double".split(),
)
LONGEST_ARGUMENT, LONGEST_RESULT, LARGEST = 60, 55, 10**5
ATTEMPTS = 20  # arguments that are tried for a problem

logger = logging.getLogger(__name__)


def draw_twin(pair: str, rng: random.Random) -> dict[str, Any]:
    """A problem of the first operation of a pair, and its twin of the second: a row without its use."""
    operations = [OPERATIONS[name] for name in pair.split(">")]
    input_type = operations[0].input_type
    assert operations[1].input_type == input_type, f"the operations of {pair} have other arguments"
    while True:
        wording = rng.getrandbits(32)
        constants: list[Constants] = [(each.constant.draw(rng) if each.constant else "", "") for each in operations]
        name, argument = rng.choice(GENERIC_NAMES), rng.choice(ARGUMENT_NAMES[input_type])
        codes = [
            render_function(name, argument, [each], [constant])
            for each, constant in zip(operations, constants, strict=True)
        ]
        arguments = _telling_arguments(codes, name, input_type, rng)
        if len(arguments) == N_TESTS:
            sides = zip(operations, constants, codes, strict=True)
            a, b = (_side(name, input_type, wording, arguments, *side) for side in sides)
            return {"pair": pair, "a": a, "b": b}


def _side(
    name: str,
    input_type: str,
    wording: int,
    arguments: list[Any],
    operation: Operation,
    constants: Constants,
    code: str,
) -> dict[str, Any]:
    text = describe([operation], [constants], input_type, random.Random(wording))
    tests = [f"assert {name}({value!r}) == {_result(code, name, value)!r}" for value in arguments]
    return {"text": text, "code": code, "test_list": tests}


def _telling_arguments(codes: list[str], name: str, input_type: str, rng: random.Random) -> list[Any]:
    """Arguments on which the two programs differ; fewer than are needed where most do not."""
    arguments: list[Any] = []
    for _ in range(ATTEMPTS):
        value = draw_input(input_type, rng)
        try:
            results = [_result(code, name, value) for code in codes]
        except (IndexError, ValueError, TypeError, ZeroDivisionError):
            continue
        if results[0] != results[1] and value not in arguments and len(repr(value)) <= LONGEST_ARGUMENT:
            arguments += [value] if all(map(_is_short, results)) else []
        if len(arguments) == N_TESTS:
            break
    return arguments


def _result(code: str, name: str, value: Any) -> Any:
    namespace: dict[str, Any] = {"__builtins__": BUILTINS_OF_SOLUTIONS}
    exec(code, namespace)  # our own templates, not a model's output
    return namespace[name](copy.deepcopy(value))


def _is_short(result: Any) -> bool:
    numbers = [one for one in (result if isinstance(result, list | tuple) else [result]) if isinstance(one, int)]
    return len(repr(result)) <= LONGEST_RESULT and all(abs(number) <= LARGEST for number in numbers)


def pair_lines(pairs: Sequence[str] = PAIRS, seed: str = "fresh", read: int = 8, steer: int = 4) -> list[str]:
    """The rows of the file: of each pair `read` twins to read the difference from, then `steer` to steer."""
    rows = []
    for pair in pairs:
        rng = random.Random(f"{seed} {pair}")
        seen: set[str] = set()
        while len(seen) < read + steer:
            twin = draw_twin(pair, rng)
            if (asserts := repr(twin["a"]["test_list"])) not in seen:
                rows.append({"use": "read" if len(seen) < read else "steer", **twin})
                seen.add(asserts)
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, help="file to write (default: the committed one)")
    parser.add_argument("--candidates", action="store_true", help="all pairs that were considered")
    parser.add_argument("--seed", default="fresh", help="another one draws other problems (default: fresh)")
    parser.add_argument("--read", type=int, default=8, help="twins of a pair to read (default: 8)")
    parser.add_argument("--steer", type=int, default=4, help="twins of a pair to steer (default: 4)")
    args = parser.parse_args()
    lines = pair_lines(CANDIDATES if args.candidates else PAIRS, args.seed, args.read, args.steer)
    write_atomic(args.out, "".join(f"{line}\n" for line in lines).encode())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logger.info("wrote %d twins to %s", len(lines), args.out)


if __name__ == "__main__":
    main()
