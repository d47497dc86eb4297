"""Covers tests that use unittest, pytest, numpy, standard streams, random numbers and test functions."""

import pytest

STACK = """class EmptyError(LookupError): pass
class Stack:
    def __init__(self, items=()): self.items = list(items)
    def pop(self):
        if not self.items: raise EmptyError('empty')
        return self.items.pop()
    def __len__(self): return len(self.items)
"""
UNITTEST = "import unittest\n"
CASE = UNITTEST + "class TestStack(unittest.TestCase):\n"
RIGHT = [
    CASE + "    def setUp(self): self.s = Stack([1])\n    def test_pop(self): self.assertEqual(self.s.pop(), 1)\n"
    "    def test_again(self): self.assertEqual(len(self.s), 1)\n",
    CASE + "    def test_raises(self):\n        with self.assertRaises(EmptyError) as raised: Stack().pop()\n"
    "        self.assertEqual(str(raised.exception), 'empty')\n        self.assertRaises(LookupError, Stack().pop)\n",
    CASE + "    def test_raises(self):\n        with self.assertRaisesRegex(LookupError, 'emp.y'): Stack().pop()\n"
    "        self.assertIsInstance(Stack(), Stack)\n        self.assertIsNone(None)\n",
    CASE + "    def test_all(self):\n        for n in range(3):\n            with self.subTest(n=n):\n"
    "                self.assertEqual(len(Stack(range(n))), n)\n",
    CASE
    + "    @classmethod\n    def setUpClass(cls): cls.s = Stack([1])\n    def tearDown(self): self.s.items.append(1)\n"
    "    def test_a(self): self.assertEqual(self.s.pop(), 1)\n"
    "    def test_b(self): self.assertEqual(self.s.pop(), 1)\n",
    CASE
    + "    def test_it(self): self.assertTrue(len(Stack([1])) == 1)\nif __name__ == '__main__':\n    unittest.main()\n",
    CASE + "    def test_it(self): self.assertCountEqual(Stack([1, 2]).items, [2, 1])\n"
    "unittest.main(argv=['x'], exit=False)\n",
    CASE + "    def test_it(self): self.assertListEqual(Stack([1]).items, [1])\n"
    "suite = unittest.defaultTestLoader.loadTestsFromTestCase(TestStack)\n"
    "result = unittest.TextTestRunner().run(suite)\nassert result.wasSuccessful()\n",
    CASE + "    def test_it(self): self.assertAlmostEqual(Stack([0.1 + 0.2]).pop(), 0.3)\n"
    "import io\nresult = unittest.TextTestRunner(stream=io.StringIO(), verbosity=2).run(\n"
    "    unittest.TestLoader().loadTestsFromTestCase(TestStack))\nassert not result.failures\n",
    CASE + "    @unittest.expectedFailure\n    def test_it(self): self.assertEqual(Stack([1]).pop(), 2)\n"
    "    def test_other(self): self.assertEqual(Stack([1]).pop(), 1)\n",
]
WRONG = [
    CASE + "    def test_pop(self): self.assertEqual(Stack([1]).pop(), 2)\n",
    CASE + "    def test_pop(self): self.assertEqual(Stack([1]).pop(), 2)\nunittest.main()\n",
    CASE + "    def test_pop(self): self.assertEqual(Stack([1]).pop(), 2)\nunittest.main(exit=False)\n"
    "assert len(Stack()) == 0\n",
    CASE + "    def test_all(self):\n        for n in range(3):\n            with self.subTest(n=n):\n"
    "                self.assertEqual(len(Stack(range(n))), 2)\n",
    CASE + "    def setUp(self): self.s = Stack().pop()\n    def test_it(self): self.assertEqual(1, 1)\n",
    CASE + "    def test_raises(self):\n        with self.assertRaises(EmptyError): Stack([1]).pop()\n",
    CASE + "    @unittest.expectedFailure\n    def test_it(self): self.assertEqual(Stack([1]).pop(), 1)\n",
    CASE + "    def test_it(self): self.assertEqual(Stack([1]).pop(), 2)\n"
    "unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(TestStack))\n",
    CASE + "    @classmethod\n    def setUpClass(cls): cls.s = Stack().pop()\n"
    "    def test_it(self): self.assertEqual(1, 1)\n",
]


@pytest.mark.parametrize("test", RIGHT)
def test_a_right_program_passes_unittests_classes(judged, test):
    verdict = judged(STACK, test, entry_point="Stack")
    assert verdict.label == ("unsupported" if "expectedFailure" in test else "correct"), verdict


@pytest.mark.parametrize("test", WRONG)
def test_a_wrong_program_fails_unittests_classes(judged, test):
    assert judged(STACK, test, entry_point="Stack").label == "incorrect"


def test_a_failing_unittest_names_the_assertion(judged):
    verdict = judged(STACK, WRONG[0], entry_point="Stack")
    assert (verdict.error, verdict.failed_test) == ("wrong_answer", "self.assertEqual(Stack([1]).pop(), 2)")
    assert verdict.message == "1 != 2"


@pytest.mark.parametrize("skip", ["@unittest.skip('later')", "@unittest.skipIf(True, 'later')"])
def test_a_skipped_test_is_no_pass(judged, skip):
    test = CASE + f"    {skip}\n    def test_it(self): self.assertEqual(len(Stack()), 0)\n"
    test += "    def test_other(self): self.assertEqual(len(Stack()), 0)\n"
    assert judged(STACK, test, entry_point="Stack").label == "unsupported"


@pytest.mark.parametrize(
    ("test", "label"),
    [
        ("with pytest.raises(EmptyError):\n    Stack().pop()", "correct"),
        (
            "with pytest.raises(LookupError, match='emp') as raised:\n    Stack().pop()\n"
            "assert raised.type is EmptyError and str(raised.value) == 'empty'",
            "correct",
        ),
        ("assert Stack([0.1 + 0.2]).pop() == pytest.approx(0.3)", "correct"),
        ("@pytest.mark.parametrize('n', [1, 2])\ndef test_it(n):\n    assert len(Stack(range(n))) == n", "unsupported"),
        ("@pytest.fixture\ndef s():\n    return Stack([1])\ndef test_it(s):\n    assert s.pop() == 1", "unsupported"),
        ("with pytest.raises(ValueError):\n    Stack().pop()", "incorrect"),
        ("with pytest.raises(EmptyError):\n    Stack([1]).pop()", "incorrect"),
        ("with pytest.raises(EmptyError, match='full'):\n    Stack().pop()", "incorrect"),
        ("def test_it():\n    assert Stack([1]).pop() == pytest.approx(2)", "incorrect"),
        (
            "def test_it():\n    pytest.skip('later')\n    assert len(Stack()) == 0\nassert len(Stack()) == 0",
            "unsupported",
        ),
    ],
)
def test_pytests_helpers_judge_the_program(judged, test, label):
    verdict = judged(STACK, "import pytest\n" + test, entry_point="Stack")
    assert verdict.label == label, verdict


def test_test_functions_that_nobody_calls_are_run(judged):
    tests = "def test_first():\n    assert f(1) == 2\n\ndef test_second():\n    assert f(2) == {}\n"
    assert judged("def f(n): return n + 1", tests.format(3)).label == "correct"
    verdict = judged("def f(n): return n + 1", tests.format(4))
    assert (verdict.label, verdict.failed_test, verdict.message) == ("incorrect", "assert f(2) == 4", "got 3")


TALKS = """import sys
def greet():
    name = input('name? ')
    print('hello', name)
    return name
def add_up(): return sum(map(int, sys.stdin.read().split()))
def lines(): return [line.rstrip() for line in sys.stdin]
def shout(text): print(text.upper(), end='!')
def complain(): print('bad', file=sys.stderr)
def write(text): sys.stdout.write(text)
print('started')
"""
MUMBLES = (
    TALKS.replace("return name", "return name[1:]")
    .replace("sum(", "max(")
    .replace("upper", "lower")
    .replace("rstrip", "upper")
)


@pytest.mark.parametrize(
    "test",
    [
        "import io, sys\nsys.stdin = io.StringIO('1 2\\n3')\nassert add_up() == 6",
        "import io, sys\nsys.stdin = io.StringIO('a\\nb\\n')\nassert lines() == ['a', 'b']",
        "import io, sys\nsys.stdin = io.StringIO('Ann\\nBo')\nassert greet() == 'Ann' and greet() == 'Bo'",
        "import builtins\nbuiltins.input = lambda prompt='': 'Ann'\nassert greet() == 'Ann'",
        "from unittest.mock import patch\nwith patch('builtins.input', return_value='Ann'):\n"
        "    assert greet() == 'Ann'",
        "import io\nfrom unittest.mock import patch\nwith patch('sys.stdout', new_callable=io.StringIO) as out:\n"
        "    shout('a')\nassert out.getvalue() == 'A!'",
        "import io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\nshout('a')\nwrite('b')\n"
        "found, sys.stdout = sys.stdout.getvalue(), old\nassert found == 'A!b'",
        "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n"
        "    shout('a')\n    print('mine')\n    write('z')\nassert out.getvalue() == 'A!mine\\nz'",
    ],
)
def test_the_programs_streams_are_those_of_the_tests(judged, test):
    assert judged(TALKS, test, entry_point="greet").label == "correct"
    assert judged(MUMBLES, test, entry_point="greet").label == "incorrect"


@pytest.mark.parametrize(
    ("test", "label"),
    [
        ("assert np.allclose(f([1, 2]), [2, 4])", "correct"),
        ("r = f([1, 2])\nassert isinstance(r, np.ndarray) and r.dtype == np.float64 and r.shape == (2,)", "correct"),
        ("np.testing.assert_array_equal(f([1]), np.array([2.0]))", "correct"),
        ("assert (f([[1, 2], [3, 4]]) == np.array([[2, 4], [6, 8]])).all()", "correct"),
        ("assert f(np.ones((2, 3))).sum() == 12 and f(np.arange(3))[1:].tolist() == [2.0, 4.0]", "correct"),
        ("x = np.zeros(3)\nassert g(x) is x and x.tolist() == [1.0] * 3", "correct"),
        ("assert g(np.float32(1)) == 2 and isinstance(g(np.int64(1)), np.integer)", "correct"),
        ("assert np.isnan(f([np.nan])[0]) and f([np.inf])[0] == np.inf", "correct"),
        ("assert np.allclose(f([1, 2]), [2, 5])", "incorrect"),
        ("assert f([1, 2]).dtype == np.int64", "incorrect"),
        ("np.testing.assert_allclose(f([1]), [3.0])", "incorrect"),
        ("x = np.zeros(3)\ng(x)\nassert x.tolist() == [0.0] * 3", "incorrect"),
    ],
)
def test_arrays_are_compared_by_the_tests_own_numpy(judged, test, label):
    pytest.importorskip("numpy")
    code = "import numpy as np\ndef f(x): return np.asarray(x) * 2.0\ndef g(x):\n    x += 1\n    return x"
    verdict = judged(code, "import numpy as np\n" + test)
    assert verdict.label == label, verdict


def test_numpy_of_the_program_counts_for_nothing(judged):
    pytest.importorskip("numpy")
    code = "import numpy as np\nnp.allclose = lambda *a, **k: True\ndef f(n): return np.zeros(n)"
    assert judged(code, "import numpy as np\nassert np.allclose(f(2), [1, 1])").label == "incorrect"
    assert judged(code, "assert np.allclose(f(2), [1, 1])").label == "incorrect"


def test_a_seed_of_the_tests_holds_for_the_program(judged):
    roll = "import random\ndef f(): return random.randint(1, 10 ** 9)"
    test = (
        "import random\nrandom.seed(3)\nexpected = random.randint(1, 10 ** 9)\nrandom.seed(3)\nassert f() == expected"
    )
    assert judged(roll, test).label == "correct"
    assert judged(roll + " + 1", test).label == "incorrect"
    shared = "import random\nrandom.seed(1)\na, b = random.random(), f()\nrandom.seed(1)\n"
    shared += "assert random.random() == a and random.randint(1, 10 ** 9) == b"
    assert judged(roll, shared).label == "correct"
