"""Random inputs of every type, from which the asserts of a problem are made."""

import random

EXAMPLE_WORDS = (
    "apple banana cherry grape lemon mango peach plum level radar noon civic dog cat horse tiger zebra lion bird fish "
    "red green blue pink black white sun moon star sky river ocean tree leaf stone house door window table chair book "
    "paper pen note song music dance light dark cold warm happy brave quick slow round sharp eight seven three python "
    "code data loop list stack queue graph node edge tests hello world summer winter spring autumn"
).split()
EXAMPLE_NAMES = "amy bob cara dan eve finn gus hana ivan joy ken lea max nina omar pam".split()


def draw_input(value_type: str, rng: random.Random) -> object:
    """One random value of `value_type`, small enough to stand in an assert."""
    return _DRAWERS[value_type](rng)


def _draw_ints(rng: random.Random) -> list[int]:
    length, style = rng.randint(3, 6), rng.random()
    low, high = (0, 20) if style < 0.45 else (1, 9) if style < 0.65 else (-12, 15) if style < 0.85 else (1, 60)
    return [rng.randint(low, high) for _ in range(length)]


def _draw_text(rng: random.Random) -> str:
    style = rng.random()
    if style < 0.45:
        return " ".join(rng.choice(EXAMPLE_WORDS) for _ in range(rng.randint(2, 3)))
    if style < 0.6:
        return f"{rng.choice(EXAMPLE_WORDS).capitalize()} {rng.choice(EXAMPLE_WORDS).upper()}"
    if style < 0.75:
        return rng.choice(EXAMPLE_WORDS)
    if style < 0.9:
        return f"{rng.choice(EXAMPLE_WORDS)}{rng.randint(1, 99)}{rng.choice(('', ' ', ''))}{rng.choice(EXAMPLE_WORDS)}"
    return "".join(rng.choice("aabbcd") for _ in range(rng.randint(4, 8)))


def _draw_words(rng: random.Random) -> list[str]:
    return [rng.choice(EXAMPLE_WORDS) for _ in range(rng.randint(3, 5))]


def _draw_dict(rng: random.Random) -> dict[str, int]:
    pool = EXAMPLE_NAMES if rng.random() < 0.5 else EXAMPLE_WORDS
    return {key: rng.randint(1, 40) for key in rng.sample(pool, rng.randint(3, 4))}


def _draw_pairs(rng: random.Random) -> list[tuple[str, int]]:
    if rng.random() < 0.7:
        keys = rng.sample(EXAMPLE_WORDS, rng.randint(3, 4))
    else:
        keys = [rng.choice(EXAMPLE_NAMES[:5]) for _ in range(4)]
    return [(key, rng.randint(1, 40)) for key in keys]


def _draw_matrix(rng: random.Random) -> list[list[int]]:
    return [
        [rng.randint(-5 if rng.random() < 0.2 else 1, 12) for _ in range(rng.randint(2, 4))]
        for _ in range(rng.randint(2, 3))
    ]


def _draw_positive(rng: random.Random) -> int:
    return rng.randint(2, 14) if rng.random() < 0.6 else rng.randint(5, 40)


def _draw_int(rng: random.Random) -> int:
    return rng.randint(10, 999) if rng.random() < 0.7 else rng.randint(1, 99)


_DRAWERS = {
    "ints": _draw_ints,
    "text": _draw_text,
    "words": _draw_words,
    "dict": _draw_dict,
    "pairs": _draw_pairs,
    "matrix": _draw_matrix,
    "positive": _draw_positive,
    "int": _draw_int,
}
