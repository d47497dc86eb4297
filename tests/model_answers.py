"""Answers of chat and reasoning models in every form that is known: whatever the form, `add` adds."""

ADD = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
HELPER = "def total(a, b):\n    return a + b\n"
MAIN = "if __name__ == '__main__':\n"
USER = "def add(a, b):\n    return total(a, b)\n"
DOCUMENTED = 'def add(a, b):\n    """Adds.\n\n    ```python\n    add(1, 2)\n    ```\n    """\n    return a + b\n'


def fenced(code: str, mark: str = "```", info: str = "python", indent: str = "") -> str:
    return "".join(f"{indent}{line}\n" for line in [mark + info, *code.splitlines(), mark])


THOUGHTS = {
    "a thought with a draft": f"<think>\nMaybe\n{fenced(WRONG)}no, wrong sign.\n</think>\n\n{fenced(ADD)}",
    "a thought of prose, then code": f"<think>\nWe need add.\n</think>\n{ADD}",
    "a thought with free code": f"<think>\nTry:\n\n{WRONG}\nno.\n</think>\n\n{ADD}",
    "a thought that begins in the prompt": f"Okay, so\n{fenced(WRONG)}no, wrong sign.\n</think>\n\n{fenced(ADD)}",
    "a thought that begins in the prompt with code": f"{fenced(WRONG)}no, wrong sign.\n</think>\n\n{fenced(ADD)}",
    "free code in a thought of the prompt": f"Okay.\n\n{WRONG}\nThis function is wrong.\n</think>\n{ADD}",
    "a fence that the thought leaves open": f"<think>\n```python\n{WRONG}no, it's wrong.\n</think>\n{fenced(ADD)}",
    "an open fence in a thought of the prompt": f"Let's see.\n```python\n{WRONG}\n</think>\n{fenced(ADD)}",
    "an open string in a thought": f'<think>\n```python\ndef add(a, b):\n    """Adds\n```\n</think>\n{fenced(ADD)}',
    "a thought that ends behind a fence": f"Hm.\n{fenced(WRONG).rstrip()}</think>\n{fenced(ADD)}",
    "a thought that ends in its line": f"<think>We need add.</think>{ADD}",
    "a thought that ends behind its last words": f"<think>\nWe need a + b.</think>\n\n{fenced(ADD)}",
    "an empty thought": f"<think>\n\n</think>\n\n{fenced(ADD)}",
    "a thought behind a token": f"<|im_start|>assistant\n<think>\n{fenced(WRONG)}</think>\n{fenced(ADD)}<|im_end|>\n",
    "a thought between": f"Let me think.\n<think>\n{fenced(WRONG)}\n</think>\nSo:\n{fenced(ADD)}",
    "two thoughts": f"<think>\n{fenced(WRONG)}</think>\n<think>\n{WRONG}</think>\n{fenced(ADD)}",
    "a thought by another name": f"<thinking>\n{fenced(WRONG)}</thinking>\n\n<answer>\n{ADD}</answer>\n",
    "a thought in square brackets": f"[THINK]{WRONG}[/THINK]{fenced(ADD)}",
    "a second thought after the program": f"{fenced(ADD)}\n<think>\n{fenced(WRONG)}\n",
    "a program about thoughts": "def add(a, b):\n    tag = '</think>'\n    s = \"<think>\"\n    return a + b\n",
    "a fence about thoughts": fenced(
        "import re\n\ndef add(a, b):\n    re.sub('<think>.*</think>', '', '')\n    return a + b\n"
    ),
    "words about thoughts": f"I close with `</think>` here.\n{fenced(ADD)}Done.\n",
}

FENCES = {
    "a fixed version": f"First try:\n{fenced(WRONG)}This subtracts, so the fixed version is:\n{fenced(ADD)}",
    "a fixed version at once": f"{fenced(WRONG)}Wait, that subtracts:\n{fenced(ADD)}It adds.\n",
    "a fixed version of three": f"{fenced(WRONG)}Hm.\n{fenced(WRONG)}Finally:\n{fenced(ADD)}",
    "a fixed version in the same fence": fenced(f"{WRONG}\n# That is wrong.\n{ADD}"),
    "a fixed version that needs the first one's import": (
        f"{fenced('import operator' + chr(10) + WRONG)}Fixed:\n"
        + fenced("def add(a, b):\n    return operator.add(a, b)\n")
    ),
    "a fixed version that is cut off": f"{fenced(ADD)}Shorter:\n```python\ndef add(a, b):\n    return (a +",
    "a signature after it": f"{fenced(ADD)}The signature:\n{fenced('def add(a, b): ...')}",
    "a sketch before it": f"{fenced('def add(a, b):' + chr(10) + '    pass')}Now:\n{fenced(ADD)}",
    "usage after it": f"{fenced(ADD)}Usage:\n{fenced('from add import add' + chr(10) + 'print(add(1, 2))')}",
    "usage before it": f"{fenced('from solution import add' + chr(10) + 'add(1, 2)')}So:\n{fenced(ADD)}",
    "an assignment after it": f"{fenced(ADD)}\n{fenced('add = None')}",
    "imports in the first": fenced("import operator") + fenced("def add(a, b):\n    return operator.add(a, b)\n"),
    "a helper in the first": f"First:\n{fenced(HELPER)}Then:\n{fenced(USER)}",
    "a helper in a later one": f"Do this:\n{fenced(USER)}where\n{fenced(HELPER)}",
    "an import in a later one": f"{fenced('def add(a, b):' + chr(10) + '    return fsum([a, b])')}And:\n"
    + fenced("from math import fsum"),
    "shell before it": f"Install:\n{fenced('pip install numpy', info='bash')}Then:\n{fenced(ADD)}",
    "output before it": f"It prints\n{fenced('3' + chr(10) + 'Sum: 3', info='')}by\n{fenced(ADD)}",
    "another language before it": f"{fenced('function add(a, b) { return a + b; }', info='javascript')}{fenced(ADD)}",
    "no language": f"Sure:\n{fenced(ADD, info='')}",
    "python3": fenced(ADD, info="python3"),
    "py": fenced(ADD, info="py"),
    "Python 3": fenced(ADD, info="Python 3"),
    "braces": fenced(ADD, info="{python}"),
    "a file name": fenced(ADD, info="python:add.py"),
    "tildes": fenced(ADD, "~~~"),
    "four backticks": fenced(ADD, "````"),
    "a fence in a fence": fenced(f"# Title\n{fenced(ADD)}text", "````", "markdown"),
    "a fence in a docstring": fenced(DOCUMENTED),
    "a fence in a docstring of free code": DOCUMENTED,
    "a fence in a docstring of four backticks": fenced(DOCUMENTED, "````"),
    "a fence in a string of one line": fenced("def add(a, b):\n    '''Like ```x```.'''\n    return a + b\n"),
    "in a numbered list": f"1. Write it:\n\n{fenced(ADD, indent='   ')}\n2. Call it (or not).\n",
    "in a list with tabs": f"- Write it:\n\n{fenced(ADD, indent=chr(9))}\n- Done.\n",
    "behind a list's mark": f"So:\n1. {fenced(ADD, indent='   ').lstrip()}2. Done.\n",
    "never closed": f"Sure:\n```python\n{ADD}",
    "never closed, then prose": f"Sure:\n```python\n{ADD}\nThis function adds two numbers.\n",
    "never closed before another": f"```python\n{HELPER}\nand\n\n```python\n{USER}",
    "closed on the code's line": f"```python\n{ADD.rstrip()}```",
    "closed on the code's line, then prose": f"```python\n{ADD.rstrip()}``` This adds.\nIt's easy.\n",
    "opened on the code's line": f"```python {ADD}```\n",
    "opened on the code's line without a language": f"```{ADD}```\n",
    "all on one line": "```python def add(a, b): return a + b```",
    "opened behind words": f"Here is the code: ```python\n{ADD}```\nDone.\n",
    "closed with words": f"{fenced(ADD).rstrip()} And that's it.\nIt's (easy.\n",
    "closed by more backticks": f"```python\n{ADD}````\nDone.\n",
    "inline code around it": f"The function `add(a, b)` adds ```a``` and `b`.\n{fenced(ADD)}`add` is (done.\n",
    "a string that is never closed, then fixed": (
        '```python\ndef add(a, b):\n    """Adds\n    return a + b\n```\nThe quotes are missing:\n' + fenced(ADD)
    ),
    "indented in the fence": fenced("    def add(a, b):\n        return a + b\n"),
    "only the first line indented": fenced("    import math\n\ndef add(a, b):\n    return a + b\n"),
    "the whole file with its tests": fenced(
        "import unittest\n\ndef add(a, b):\n    return a + b\n\n\nclass TestAdd(unittest.TestCase):\n"
        "    def test(self):\n        self.assertEqual(add(1, 2), 4)\n\n\nunittest.main()\n"
    ),
}

TAGS = {
    "BEGIN and DONE": f"[BEGIN]\n{ADD}[DONE]\n",
    "DONE alone": f"{ADD}[DONE]\n\nYou are an expert programmer.\n[BEGIN]\n{WRONG}[DONE]\n",
    "PYTHON": f"[PYTHON]\n{ADD}[/PYTHON]\n[TESTS]\nassert add(1, 2) == 4\n[/TESTS]\n",
    "PYTHON on the code's line": f"[PYTHON]{ADD.rstrip()}[/PYTHON]",
    "BEGIN on the code's line": f"[BEGIN] {ADD.rstrip()} [DONE]",
    "a tag around a fence": f"[PYTHON]\n{fenced(ADD)}[/PYTHON]\n",
    "answer": f"So:\n<answer>\n{ADD}</answer>\n",
    "answer around a fence": f"<answer>\n{fenced(ADD)}</answer>\n",
    "code": f"<code>{ADD}</code>",
    "an end of turn": f"{ADD}<|im_end|>\n<|im_start|>user\nAgain?<|im_end|>\n{fenced(WRONG)}",
    "an end of turn on the code's line": f"{ADD.rstrip()}<|eot_id|>",
    "an end of turn after a fence": f"{fenced(ADD)}<end_of_turn>\n<start_of_turn>user\nAgain.\n{fenced(WRONG)}",
    "an end of turn on the fence's line": f"{fenced(ADD).rstrip()}</s>\n[INST] Again. [/INST]\n{fenced(WRONG)}",
    "an end of turn behind a fence": f"{fenced(ADD).rstrip()}<|im_end|>\n<|im_start|>user\n{fenced(WRONG)}",
    "many ends of turns": "<s>" * 1500 + ADD + "</s>" * 1500,
    "an end of turn behind words": f"Sure.\n{fenced(ADD)}It's done.</s><s>\n{fenced(WRONG)}",
    "the end of the instruction": f" [/INST] Here is it:\n{fenced(ADD)}",
    "the end of the instruction on the code's line": f"[/INST] {ADD}",
    "a header": f"<|start_header_id|>assistant<|end_header_id|>\n\n{ADD}",
    "a byte-order mark": f"\ufeff{ADD}",
    "a byte-order mark in a fence": f"Sure:\n```python\n\ufeff{ADD}```\n",
    "a program about turns": 'def add(a, b):\n    text = "x</s>".replace("[INST]", "<|im_end|>")\n    return a + b\n',
    "a state called DONE": "DONE = 0\n\ndef add(a, b):\n    states = [DONE]\n    return a + b + states[DONE]\n",
}

FREE = {
    "plain": ADD,
    "words before it": f"Sure! Here's (the code:\n\n{ADD}",
    "words before and after it": f"Here's the function:\n\nimport math\n\n\n{ADD}\nThis function adds.\n",
    "one word before it": f"Sure\n\n{ADD}",
    "a heading before it": f"### Solution\n\n**Code**\n\n{ADD}\n### Explanation\nIt adds.\n",
    "indented": f"Here it is:\n\n{ADD.replace('def', '    def').replace('    return', '        return')}\nIt adds.\n",
    "a space before it": f" {ADD}",
    "a fence closed that the prompt opened": f"{ADD}```\nThis adds.\n{fenced(WRONG)}",
    "a fence closed on the code's line": f"{ADD.rstrip()}```\nThis adds.\n",
    "windows line ends": fenced(ADD).replace("\n", "\r\n"),
    "tabs": fenced("def add(a, b):\n\tif a:\n\t\treturn a + b\n\treturn b\n"),
    "a flood of spaces": ADD + " " * 3000,
    "a flood of lines": ADD + "\n \n" * 500,
    "a comment on what is given": f"{USER}\n# Given a and b, return the sum\n{HELPER}",
    "a comment on a problem": f"{USER}\n# Problem is that a may be None\n{HELPER}print(add(1, 2))\n",
    "a comment on a problem, helpers in a chain": (
        f"{USER}\n# Task: the inner one\ndef inner(a):\n    return a\n\n\ndef total(a, b):\n    return inner(a) + b\n"
    ),
    "the main block before the helper": f"{USER}\n{MAIN}    print(add(1, 2))\n\n{HELPER}",
    "main blocks around the helper": f"{USER}\n{MAIN}    add(1)\n\n{HELPER}\n{MAIN}    add(1)\n",
    "input after it": f"{ADD}n = int(input())\nfor i in range(n):\n    print(add(i, i))\n",
    "input in a loop": f"{ADD}while True:\n    s = input()\n    if not s:\n        break\n    print(s)\n",
    "input through main": f"{ADD}\ndef main():\n    a, b = map(int, input().split())\n    print(add(a, b))\n\nmain()\n",
    "input through sys": f"import sys\n\n{ADD}\ndata = sys.stdin.read().split()\nn = int(data[0])\nprint(n)\n",
    "input before it": f"n = int(input())\nm = n + 1\n{ADD}",
    "input in a try": f"{ADD}\ntry:\n    n = int(input())\n    print(add(n, n))\nexcept ValueError:\n    pass\n",
    "input in a fence": fenced(f"{ADD}\nt = int(input())\nwhile t:\n    t -= 1\n    x = int(input())\n    print(x)\n"),
    "a test that fails through a function": f"{ADD}\ndef test_add():\n    assert add(1, 2) == 4\n\ntest_add()\n",
    "an exit": fenced(f"import sys\n\n{ADD}\nsys.exit(0)\n"),
    "overloads": (
        "from typing import overload\n\n@overload\ndef add(a: int, b: int) -> int: ...\n\n\n@overload\n"
        f"def add(a: str, b: str) -> str: ...\n\n\n{ADD}\nassert add(1, 2) == 3\n"
    ),
    "overloads by their module": f"import typing\n\n@typing.overload\ndef add(a: int, b: int) -> int:\n    ...\n{ADD}",
    "classes and decorators": fenced(
        "import functools\n\n\nclass Adder:\n    def __init__(self, a):\n        self.a = a\n\n    def plus(self, b):\n"
        "        return self.a + b\n\n\n@functools.lru_cache(\n    maxsize=None\n)\ndef add(a, b):\n"
        "    return Adder(a).plus(b)\n\n\nasync def later():\n    return add(1, 2)\n"
    ),
    "an async helper": "import asyncio\n\n\nasync def total(a, b):\n    return a + b\n\n\ndef add(a, b):\n"
    "    return asyncio.run(total(a, b))\n\n\nasync def main():\n    print(add(1, input()))\n\n\nasyncio.run(main())\n",
    "a table that the tests do not fill": f"{ADD}\nTABLE = add(1, 2)\n\n\ndef more():\n    return TABLE\n",
}

ANSWERS = {
    f"{group}: {name}": answer
    for group, answers in {"thoughts": THOUGHTS, "fences": FENCES, "tags": TAGS, "free": FREE}.items()
    for name, answer in answers.items()
}
