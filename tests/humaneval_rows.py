"""Twenty rows in HumanEval's schema with the traits of the official file, made here."""

from typing import Any

_METADATA = "\n\nMETADATA = {\n    'author': 'us',\n    'dataset': 'test'\n}\n"


def _row(
    number: int, entry_point: str, prompt: str, solution: str, test: str, metadata: bool = False
) -> dict[str, Any]:
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": prompt,
        "entry_point": entry_point,
        "canonical_solution": solution,
        "test": (_METADATA if metadata else "") + "\n\n" + test,
    }


IMPORT_FIRST = _row(  # as task 115
    0,
    "trips",
    'def trips(loads, limit):\n    import math\n    """\n'
    "    How many trips a cart of the given limit needs for loads.\n\n"
    '    Example:\n        Input: loads [3, 4], limit 5\n        Output: 2\n    """\n',
    "    return math.ceil(sum(loads) / limit)\n",
    "def check(candidate):\n\n    # Check some simple cases\n"
    '    assert True, "This prints if this assert fails 1 (good)"\n'
    '    assert candidate([3, 4], 5) == 2, "Error"\n    assert candidate([], 5) == 0\n\n'
    "    # Check some edge cases that are easy to work out by hand.\n"
    '    assert True, "This prints if this assert fails 2 (also good)"\n    assert candidate([9, 9], 6) == 3\n',
)

LOOPED_PAIR = _row(  # as task 38: the test encodes with a helper of the prompt, and the docstring names no example
    1,
    "unswap",
    'def swap(s: str):\n    """\n    swaps each two neighbours of s.\n    """\n'
    '    return "".join(s[i : i + 2][::-1] for i in range(0, len(s), 2))\n\n\n'
    'def unswap(s: str):\n    """\n    takes a string that swap has made. Returns what it was.\n    """\n',
    "    return swap(s)\n",
    "def check(candidate):\n    from random import randint, choice\n    import string\n\n"
    "    letters = string.ascii_lowercase\n    for _ in range(100):\n"
    "        str = ''.join(choice(letters) for i in range(randint(10, 20)))\n        swapped = swap(str)\n"
    "        assert candidate(swapped) == str\n",
    metadata=True,
)

ROOT_FINDER = _row(  # as task 32: two functions, an import for them, and only a property of the answer is tested
    2,
    "find_root",
    'import math\n\n\ndef line(factors: list, x: float):\n    """\n'
    '    The value of factors[0] + factors[1] * x.\n    """\n'
    "    return sum([factor * math.pow(x, i) for i, factor in enumerate(factors)])\n\n\n"
    'def find_root(factors: list):\n    """ find_root finds x such that line(factors, x) = 0.\n'
    '    >>> round(find_root([1, 2]), 2) # 1 + 2x\n    -0.5\n    """\n',
    "    return -factors[0] / factors[1]\n",
    "def check(candidate):\n    import math\n    import random\n    rng = random.Random(42)\n    import copy\n"
    "    for _ in range(100):\n        factors = [rng.randint(-10, 10), rng.randint(1, 10)]\n"
    "        found = candidate(copy.deepcopy(factors))\n"
    "        assert math.fabs(line(factors, found)) < 1e-4\n",
    metadata=True,
)

UNNAMED_HELPER = _row(  # as task 10: a helper that the docstring does not name
    3,
    "next_square",
    'def is_square(n: int) -> bool:\n    """ Test if n is a square """\n'
    "    return round(n ** 0.5) ** 2 == n\n\n\n"
    'def next_square(n: int) -> int:\n    """ Find the smallest square above n.\n    >>> next_square(4)\n'
    '    9\n    """\n',
    "    n += 1\n    while not is_square(n):\n        n += 1\n    return n\n",
    "def check(candidate):\n    assert candidate(0) == 1\n    assert candidate(4) == 9\n"
    "    assert candidate(10) == 16\n",
    metadata=True,
)

CONSTANT_FIRST = _row(  # as task 64
    4,
    "count_low",
    'LOW = """\nthe low ones\n"""\n\ndef count_low(s):\n    """Count the letters a, b and c in s.\n\n'
    '    Example:\n    >>> count_low("abacus")\n    4\n    """\n',
    '    return sum(letter in "abc" for letter in s)\n',
    'def check(candidate):\n\n    # Check some simple cases\n    assert candidate("abacus") == 4, "Test 1"\n'
    '    assert candidate("zzz") == 0, "Test 2"\n\n'
    "    # Check some edge cases that are easy to work out by hand.\n"
    '    assert True, "This prints if this assert fails 2 (also good)"\n',
)

BY_ITS_NAME = _row(  # the test calls the function by its own name
    5,
    "middle",
    "from typing import List, Optional\n\n\ndef middle(values: List[int]) -> Optional[int]:\n"
    "    ''' The value in the middle, None of an empty list.\n    >>> middle([1, 5, 9])\n    5\n    '''\n",
    "    return values[len(values) // 2] if values else None\n",
    "def check(candidate):\n    assert middle([1, 5, 9]) == 5\n    assert candidate([]) is None\n"
    "    assert candidate([2, 4]) == 4\n\ncheck(middle)\n",
)

NEVER_NAMED = _row(  # neither the docstring nor a literal assert says what it is called
    6,
    "halve_all",
    'def halve_all(values: list, times: int = 1) -> list:\n    """Half of each value, as often as asked for."""\n',
    "    return [value / 2**times for value in values]\n",
    "def check(candidate):\n    for values, halves in (([2], [1]), ([], [])):\n"
    "        assert candidate(values) == halves\n",
)

HUMANEVAL_ROWS = [
    IMPORT_FIRST,
    LOOPED_PAIR,
    ROOT_FINDER,
    UNNAMED_HELPER,
    CONSTANT_FIRST,
    BY_ITS_NAME,
    NEVER_NAMED,
    _row(
        7,
        "fraction_of",
        "def fraction_of(number: float) -> float:\n"
        '    """ What stands behind the point of a positive number.\n\n'
        '    >>> fraction_of(2.25)\n    0.25\n    """\n',
        "    return number % 1.0\n",
        "def check(candidate):\n    assert candidate(2.25) == 0.25\n"
        "    assert abs(candidate(1.33) - 0.33) < 1e-6\n"
        "    assert abs(candidate(123.456) - 0.456) < 1e-6\n",
        metadata=True,
    ),
    _row(
        8,
        "digest",
        'def digest(text):\n    """\n    The md5 hash of text, None for an empty text.\n\n'
        '    >>> digest(\'\') == None\n    True\n    """\n',
        "    import hashlib\n    return hashlib.md5(text.encode('ascii')).hexdigest() if text else None\n",
        "def check(candidate):\n    import hashlib\n    assert candidate('') == None\n"
        "    assert candidate('abc') == '900150983cd24fb0d6963f7d28e17f72'\n"
        "    assert candidate('A b') == hashlib.md5('A b'.encode('ascii')).hexdigest()\n    assert True\n",
    ),
    _row(
        9,
        "sum_and_product",
        "from typing import List, Tuple\n\n\ndef sum_and_product(numbers: List[int]) -> Tuple[int, int]:\n"
        '    """ Sum and product as a tuple; 0 and 1 of an empty list.\n    >>> sum_and_product([2, 3])\n'
        "    (5, 6)\n"
        '    """\n',
        "    total, product = 0, 1\n    for number in numbers:\n        total += number\n"
        "        product *= number\n"
        "    return total, product\n",
        "def check(candidate):\n    assert candidate([]) == (0, 1)\n    assert candidate([2, 3]) == (5, 6)\n"
        "    assert candidate([100, 0]) == (100, 0)\n    assert candidate([10]) == (10, 10)\n",
        metadata=True,
    ),
    _row(
        10,
        "sort_thirds",
        'def sort_thirds(values: list):\n    """ Sort what stands at every third place.\n'
        '    >>> sort_thirds([5, 0, 0, 1])\n    [1, 0, 0, 5]\n    """\n',
        "    values = list(values)\n    values[::3] = sorted(values[::3])\n    return values\n",
        "def check(candidate):\n    assert tuple(candidate([5, 0, 0, 1])) == tuple([1, 0, 0, 5])\n"
        "    given = [3, 2, 1]\n    assert candidate(given) == [3, 2, 1] and given == [3, 2, 1]\n"
        "    import copy\n    for n in range(20):\n        values = list(range(n, 0, -1))\n"
        "        kept = copy.deepcopy(values)\n        assert sorted(candidate(values)) == sorted(kept)\n",
        metadata=True,
    ),
    _row(
        11,
        "parse_depths",
        "from typing import List\n\n\ndef parse_depths(groups: str) -> List[int]:\n"
        '    """ For each group of brackets, how deep it goes.\n    >>> parse_depths(\'(()) ()\')\n'
        '    [2, 1]\n    """\n',
        "    def depth(group):\n        level = deepest = 0\n        for c in group:\n"
        "            level += 1 if c == '(' else -1\n"
        "            deepest = max(level, deepest)\n        return deepest\n\n"
        "    return [depth(group) for group in groups.split(' ') if group]\n",
        "def check(candidate):\n    assert candidate('(()) ()') == [2, 1]\n    assert candidate('') == []\n"
        "    assert candidate('((())) ()') == [\n        3,\n        1,\n    ]\n",
        metadata=True,
    ),
    _row(
        12,
        "compare_all",
        "def compare_all(game, guess):\n    '''Distances of guesses.\n\n    example:\n\n"
        "    compare_all([1],[3]) -> [2]\n    '''\n",
        "    return [abs(a - b) for a, b in zip(game, guess)]\n",
        "def check(candidate):\n\n    # Check some simple cases\n"
        '    assert candidate([1], [3])==[2], "This prints if this assert fails 1 (good)"\n'
        '    assert candidate([0,0],[0,0])==[0,0], "This prints if this assert fails 1 (good)"\n\n'
        "    # Check some edge cases that are easy to work out by hand.\n"
        '    assert candidate([1, 2], [-1, -2])==[2, 4], "This prints if this assert fails 2 (also good)"\n',
    ),
    _row(
        13,
        "gcd_of",
        'def gcd_of(a: int, b: int) -> int:\n    """ Greatest common divisor.\n    >>> gcd_of(25, 15)\n'
        '    5\n    """\n',
        "    while b:\n        a, b = b, a % b\n    return a\n",
        "def check(candidate):\n    import math\n    from random import Random\n    rng = Random(0)\n"
        "    assert candidate(25, 15) == 5\n    for _ in range(50):\n"
        "        a, b = rng.randint(1, 99), rng.randint(1, 99)\n"
        "        assert candidate(a, b) == math.gcd(a, b), f'{a} {b}'\n",
        metadata=True,
    ),
    _row(
        14,
        "is_sorted_up",
        'def is_sorted_up(values):\n    """\n    Whether values go up.\n\n    Examples\n'
        '    is_sorted_up([5]) ➞ True\n    """\n',
        "    return all(a <= b for a, b in zip(values, values[1:]))\n",
        "def check(candidate):\n\n    assert candidate([5]) == True\n    assert candidate([1, 3, 2]) == False\n"
        '    assert candidate([]) == True, "This prints if this assert fails 2 (good)"\n'
        "    assert candidate([1, 1]) == True\n",
    ),
    _row(
        15,
        "any_whole",
        "\ndef any_whole(x, y):\n    '''\n    True if one is a whole number.\n\n"
        "    any_whole(5, 2.5) ➞ True\n    '''\n    \n",
        "    return any(isinstance(n, int) for n in (x, y))\n",
        "def check(candidate):\n"
        '    assert candidate(5, 2.5)==True, "This prints if this assert fails 1 (good)"\n'
        "    assert candidate(1.5, 2.5)==False\n    assert candidate(3.0, 1e3)==False\n",
    ),
    _row(
        16,
        "bucket",
        'def bucket(words):\n    """Words by their length, as a dict.\n    >>> bucket(["a", "bb"])\n'
        "    {1: ['a'], 2: ['bb']}\n    \"\"\"\n",
        "    found = {}\n    for word in words:\n        found.setdefault(len(word), []).append(word)\n"
        "    return found\n",
        "def check(candidate):\n    assert candidate(['a', 'bb']) == {1: ['a'], 2: ['bb']}\n"
        "    assert candidate([]) == {}\n"
        "    assert all(candidate([w]) == {len(w): [w]} for w in ('x', 'yy'))\n",
    ),
    _row(
        17,
        "rotate",
        'def rotate(n, k):\n    """Turn the digits of n right by k, as text.\n    >>> rotate(12, 1)\n'
        '    "21"\n    """\n',
        "    s = str(n)\n    return s[::-1] if k > len(s) else s[len(s) - k:] + s[:len(s) - k]\n",
        'def check(candidate):\n    assert candidate(100, 2) == "001"\n    assert candidate(12, 2) == "12"\n'
        "    # Check some edge cases\n"
        '    assert candidate(12, 1) == "21", "This prints if this assert fails 1 (good)"\n',
    ),
    _row(
        18,
        "mean_distance",
        "from typing import List\n\n\ndef mean_distance(numbers: List[float]) -> float:\n"
        '    """ Mean absolute distance from the mean.\n    >>> mean_distance([1.0, 2.0, 3.0, 4.0])\n'
        '    1.0\n    """\n',
        "    mean = sum(numbers) / len(numbers)\n    return sum(abs(x - mean) for x in numbers) / len(numbers)\n",
        "def check(candidate):\n    assert abs(candidate([1.0, 2.0, 3.0]) - 2.0/3.0) < 1e-6\n"
        "    assert abs(candidate([1.0, 2.0, 3.0, 4.0]) - 1.0) < 1e-6\n",
        metadata=True,
    ),
    _row(
        19,
        "order_by_sum",
        'def order_by_sum(nums):\n    """\n    Sort by the sum of digits, the earlier first where equal.\n\n'
        '    For example:\n    >>> order_by_sum([11, 1]) == [1, 11]\n    """\n',
        "    def digits_sum(n):\n        return sum(int(d) for d in str(abs(n)))\n"
        "    return sorted(nums, key=digits_sum)\n",
        "def check(candidate):\n\n    # Check some simple cases\n    assert candidate([11, 1]) == [1, 11]\n"
        "    assert candidate([]) == []\n\n    # Check some edge cases that are easy to work out by hand.\n"
        "    assert candidate([20, 11, -2]) == [20, 11, -2]\n    assert candidate([True, False])[0] is False\n",
    ),
]
