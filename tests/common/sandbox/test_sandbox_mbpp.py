"""Covers real programs: every MBPP reference, 62 programs of Gemma-2-2b, mutants against plain asserts, the corpus."""

import ast
import contextlib
import json
import multiprocessing
import random
import resource
from collections import Counter

import pytest

from common.sandbox import Limits, Program, infer_entry_point


def mbpp_program(problem: dict, code: str | None = None) -> Program:
    tests = tuple(problem["test_list"])
    entry_point = infer_entry_point(problem["code"], tests)
    return Program(problem["code"] if code is None else code, tests, entry_point, problem["test_setup_code"])


@pytest.fixture(scope="module")
def full(open_at, best_level):
    """A sandbox with the limits that experiments use."""
    with open_at(best_level, Limits(), workers=2) as sandbox:
        yield sandbox


def test_all_974_reference_solutions_are_correct(full, mbpp):
    verdicts = full.grade([mbpp_program(problem) for problem in mbpp])
    assert [verdict for verdict in verdicts if verdict.label != "correct"] == []
    assert len(verdicts) == 974 and full.describe()["near_limit_count"] <= 1  # task 123 needs seconds


def test_all_62_labels_of_gemma_programs_are_the_published_ones(full, mbpp, shared):
    lines = (shared / "mbpp" / "gemma_generations.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    problems = {problem["task_id"]: problem for problem in mbpp}
    verdicts = full.grade([mbpp_program(problems[row["task_id"]], row["generated_code"]) for row in rows])
    assert [verdict.label == "correct" for verdict in verdicts] == [row["passed"] for row in rows] and len(rows) == 62


N_MUTANTS = 80


class Mutate(ast.NodeTransformer):
    """Changes the n-th thing that can be changed."""

    def __init__(self, position: int) -> None:
        self.position = position

    def here(self) -> bool:
        self.position -= 1
        return self.position == -1

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if type(node.value) is int and self.here():
            return ast.Constant(node.value + 1)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        self.generic_visit(node)
        if self.here():
            swapped = {
                ast.Lt: ast.GtE,
                ast.Gt: ast.LtE,
                ast.LtE: ast.Gt,
                ast.GtE: ast.Lt,
                ast.Eq: ast.NotEq,
                ast.NotEq: ast.Eq,
            }
            node.ops = [swapped.get(type(op), type(op))() for op in node.ops]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        self.generic_visit(node)
        if self.here():
            swapped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.Mod: ast.Add}
            node.op = swapped.get(type(node.op), type(node.op))()
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        self.generic_visit(node)
        return ast.Return(ast.List([node.value], ast.Load())) if node.value and self.here() else node


def mutants(problems: list[dict], count: int) -> list[tuple[dict, str]]:
    rng = random.Random(0)
    chosen = []
    while len(chosen) < count:
        problem = rng.choice(problems)
        tree = ast.parse(problem["code"])
        mutated = ast.unparse(ast.fix_missing_locations(Mutate(rng.randrange(8)).visit(tree)))
        if mutated != ast.unparse(ast.parse(problem["code"])):
            chosen.append((problem, mutated))
    return chosen


def plain_asserts(problem: dict, code: str) -> bool | None:
    """Whether code, setup and asserts run through in one process of their own; None when it takes too long."""
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
        passed, names = True, {"__name__": "plain"}
        with contextlib.redirect_stdout(None):
            try:
                exec("\n".join([code, problem["test_setup_code"], *problem["test_list"]]), names)
            except BaseException:
                passed = False
        writing.send_bytes(b"%d" % passed)

    process = context.Process(target=run)
    process.start()
    writing.close()
    try:
        return reading.recv_bytes() == b"1"
    except EOFError:
        return None
    finally:
        process.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mutants_get_the_label_of_plain_asserts(open_at, best_level, mbpp):
    chosen = mutants([problem for problem in mbpp if problem["task_id"] != 123], N_MUTANTS)
    plain = [plain_asserts(problem, code) for problem, code in chosen]
    with open_at(best_level, Limits(cpu_s=2, blocked_s=5)) as sandbox:
        verdicts = sandbox.grade([mbpp_program(problem, code) for problem, code in chosen])
    pairs = Counter((passed, verdict.label) for passed, verdict in zip(plain, verdicts, strict=True))
    assert set(pairs) <= {(True, "correct"), (False, "incorrect"), (None, "incorrect")}, pairs
    assert pairs[True, "correct"] > 5 and pairs[False, "incorrect"] > 50


def test_the_adversarial_corpus_is_labelled_as_expected(sandbox, shared, tmp_path):
    """Quick rows only: those that need ten seconds each have their own tests, with smaller limits."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "secret.txt").write_text("token")
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    canary = tmp_path / "dir" / "canary.txt"
    canary.write_text("alive")
    rows = [json.loads(line) for line in (shared / "adversarial" / "corpus.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["expect"] != "timeout" and row["id"] not in ("g02_cpu1s", "o02_flood_fd")]
    futures = []
    for row in rows:
        code = row["code"].replace("@CANARY_DIR@", str(canary.parent)).replace("@CANARY_HOME@", str(tmp_path / "home"))
        futures.append(sandbox.submit(Program(code, tuple(row["tests"]), row["entry_point"])))
    words = {"correct": "pass", "incorrect": "fail"}
    wrong = {}
    for row, future in zip(rows, futures, strict=True):
        verdict = future.result()
        expected = row["expect"] if isinstance(row["expect"], list) else [row["expect"]]
        if words.get(verdict.label) not in expected and sandbox.isolation.level >= 2:
            wrong[row["id"]] = verdict
    assert wrong == {}
    assert canary.read_text() == "alive" and [path.name for path in canary.parent.iterdir() if path.name != "sub"] == [
        "canary.txt"
    ]
