"""Covers prompts in a chat template: what stands around the message, BOS once, sections, templates that refuse."""

import pytest
from hub_models import GEMMA_CHAT, TURNS
from tiny_models import make_tokenizer
from transformers import PreTrainedTokenizerFast

from common.errors import ConfigError
from common.model.chat import chat_template_for, has_chat_template, template_of
from common.problems.extraction import extract_program, solution_end
from common.problems.prompt import CHAT_REQUEST, ChatTemplate, build_prompt

TEXT, TESTS = "Write a function to add <eos> one.  ", ["assert f(1) == 2", " assert f(2) == 3"]
QWEN_3 = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and "
    "enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}\n{{ messages[0].content }}\n"


def tokenizer_with(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": TURNS})
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", [GEMMA_CHAT, QWEN_3, DATED])
def test_the_prompt_is_what_the_template_makes_of_the_message(template):
    tokenizer = tokenizer_with(template)
    prompt = build_prompt(TEXT, TESTS, template_of(tokenizer, "tiny"))
    message = prompt.text[slice(*prompt.body)]
    assert message == f"{TEXT.strip()}\n\nassert f(1) == 2\nassert f(2) == 3\n\n{CHAT_REQUEST}"
    if template != DATED:
        asked = [{"role": "user", "content": message}]
        made = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        assert made.removeprefix("<bos>") == prompt.text


def test_sections_end_where_they_ended_in_the_plain_prompt():
    template = template_of(tokenizer_with(GEMMA_CHAT), "tiny")
    chat, plain = build_prompt(TEXT, TESTS, template), build_prompt(TEXT, TESTS)
    for name in ("description_end", "tests_end"):
        assert chat.text[chat.description_start : getattr(chat, name)] == plain.text[: getattr(plain, name)]
    start, end = chat.body
    assert start == chat.description_start and plain.body is None
    assert chat.text[end:] == "<end_of_turn>\n<start_of_turn>model\n" and "<eos>" in chat.text[start:end]


def test_bos_appears_once():
    tokenizer = tokenizer_with(GEMMA_CHAT)
    ids = tokenizer(build_prompt(TEXT, TESTS, template_of(tokenizer, "tiny")).text)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    bare = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer()._tokenizer, bos_token="<bos>")
    bare._tokenizer.post_processor = None  # a tokenizer that adds none: then it is the template's to give
    bare.chat_template = GEMMA_CHAT
    assert template_of(bare, "tiny").before.startswith("<bos>")


def test_the_prompt_ends_where_the_answer_begins():
    assert build_prompt(TEXT, TESTS, template_of(tokenizer_with(GEMMA_CHAT), "tiny")).text.endswith(
        "<start_of_turn>model\n"
    )
    thinking = build_prompt(TEXT, TESTS, template_of(tokenizer_with(QWEN_3), "tiny")).text
    assert thinking.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")  # it does not think first


def test_a_template_that_names_the_day_makes_the_same_prompt_every_day():
    assert template_of(tokenizer_with(DATED), "tiny").before == "26 Jul 2024\n"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{{ raise_exception('no') }}", "cannot be used"),
        ("{% for m in messages %}{{ m.missing.deep }}{% endfor %}", "cannot be used"),
        ("{{ messages[0].content | length }}", "as it is"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "as it is"),
    ],
)
def test_a_template_that_takes_no_message_is_one_error(template, message):
    with pytest.raises(ConfigError, match=f"(?s){message}.*--prompt plain"):
        template_of(tokenizer_with(template), "tiny")


def test_whether_there_is_a_template_is_known_without_loading_the_model(tmp_path):
    tokenizer_with(None).save_pretrained(tmp_path / "plain")
    tokenizer_with(GEMMA_CHAT).save_pretrained(tmp_path / "chat")
    assert has_chat_template(str(tmp_path / "plain"), "", False) is False
    assert has_chat_template(str(tmp_path / "chat"), "", False) is True
    assert has_chat_template("owner/never-seen", "a" * 40, False) is None
    assert chat_template_for("plain", "anything") is None
    assert isinstance(chat_template_for("chat", str(tmp_path / "chat")), ChatTemplate)


ANSWERS = [
    "Here's the function:\n\n```python\nimport math\n\n\ndef f(x):\n    return math.floor(x) + 1\n```\n\nIt's easy.\n",
    "```python\ndef helper(x):\n    return x\n\ndef f(x):\n    return helper(x) + 1\n\n# Tests\nassert f(1) == 2\n```",
    "Sure! It isn't long:\n```python\ndef f(x):\n    '''Adds one.'''\n    return x + 1\n```\nDone.",
    "The function `f(x)` adds one.\n\n```py\ndef f(x):\n    return x + 1\n\nprint(f(1))\n```\n**Why**\n- It adds.\n",
    "f(x) adds one:\n\n1. take x\n2. add one\n\n```python\ndef f(x):\n    return x + 1\n```\n",
    "def f(x):\n    return x + 1\n",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_stopping_early_leaves_the_program_of_an_answer_as_it_is(answer):
    whole, scope = extract_program(answer, "f"), {}
    exec(whole, scope)
    assert scope["f"](1) == 2
    for n in range(len(answer) + 1):
        if solution_end(answer[:n], "f") is not None:
            assert extract_program(answer[:n], "f") == whole
            break
