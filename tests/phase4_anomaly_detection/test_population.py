"""Covers population.py and its use: texts of another kind than a detector's get a reason, and never a number."""

import json

import pytest
from detectors import small_detector
from services import programs
from small_detectors import prompts, shared_detector
from support import ROOT

from common.errors import ConfigError
from common.handoffs.document import as_json
from common.problems.prompt import CHAT_REQUEST, ChatTemplate, build_prompt
from phase4_anomaly_detection import AnomalyDetector, SAEAnomalyPipeline
from phase4_anomaly_detection.population import PROGRAMS, PROMPTS, TEXTS, Population
from phase4_anomaly_detection.sidecar import in_chat

NUMBERS = ("is_anomaly", "anomaly_score", "probability", "level", "n_tokens", "window")
CHAT = ChatTemplate("<start>user\n", "<end>\n<start>model\n")


def organism_texts() -> tuple[list[str], list[str]]:
    """All prompts of its problems, and each with a program behind it."""
    own = list(prompts(974))
    return own, [prompt + code.rstrip("\n") + "\n" for prompt, code in zip(own, programs(), strict=True)]


def mbpp_texts(shared) -> tuple[list[str], list[str]]:
    rows = [json.loads(line) for line in (shared / "mbpp" / "mbpp.jsonl").read_text().splitlines()]
    own = [build_prompt(row["text"], row["test_list"]).text for row in rows]
    return own, [prompt + row["code"].rstrip() + "\n" for prompt, row in zip(own, rows, strict=True)]


def check_both_ways(before: list[str], after: list[str]) -> None:
    """Fitted on the first 586, asked about the others of both kinds."""
    of_prompts, of_programs = Population.of(before[:586]), Population.of(after[:586])
    assert (of_prompts.read, of_programs.read) == (PROMPTS, PROGRAMS)
    assert of_prompts.says_no(before[586:]) == [None] * 388 == of_programs.says_no(after[586:])
    assert None not in of_prompts.says_no(after[586:]) and None not in of_programs.says_no(before[586:])


def test_each_kind_of_the_organisms_texts_is_refused_by_the_other():
    check_both_ways(*organism_texts())


def test_each_kind_of_mbpps_texts_is_refused_by_the_other(shared):
    before, after = mbpp_texts(shared)
    check_both_ways(before, after)
    bare = [json.loads(line)["generated_code"] for line in (shared / "mbpp" / "gemma_generations.jsonl").open()]
    assert None not in Population.of(before).says_no(bare)
    assert all("holds no '# Solution:" in why for why in Population.of(after).says_no([one + "\n" for one in bare]))


def test_what_differs_among_the_fitted_texts_is_not_asked():
    before, after = organism_texts()
    mixed = Population.of([*before[:40], *after[:40]])
    assert mixed.read == TEXTS and mixed.says_no([before[50], after[50]]) == [None, None]
    assert "holds no '# Solution:" in mixed.says_no(["x = 1\n"])[0]  # all of them did
    anything = Population.of(["def f(n):\n    return n", before[0], "x"])
    assert anything.says_no(["", "1\n", after[0], *before]) == [None] * 977


def test_the_last_token_is_part_of_the_form():
    before, after = organism_texts()
    assert "does not end in '# Solution:\\n'" in Population.of(before).says_no([before[0].rstrip("\n")])[0]
    of_programs, cut = Population.of(after), after[0].rstrip("\n")
    assert of_programs.says_no([cut]) == [None] and of_programs.as_read([cut, after[1]]) == after[:2]
    assert Population.of(before).as_read(["x"]) == ["x"]


def test_chats_are_told_by_their_request_with_the_template_or_without():
    own = [build_prompt(f"Add {n}.", ["assert f(1) == 2"], CHAT) for n in range(30)]
    whole = [prompt.text for prompt in own]
    messages = [prompt.text[slice(*prompt.body)] for prompt in own]
    written = [text + "def f(n):\n    return n\n" for text in whole]
    of_prompts = Population.of(whole, "chat", PROMPTS)
    assert (of_prompts.marker, of_prompts.tail) == (CHAT_REQUEST, CHAT.after)
    assert of_prompts.says_no([whole[0], messages[0]]) == [None, None]
    of_programs = Population.of(written, "chat", PROGRAMS, whole)
    assert of_programs.program_in(written[0]) == "def f(n):\n    return n\n"
    assert of_programs.says_no(written[:1]) == [None]
    assert None not in of_prompts.says_no(written) + of_programs.says_no([*whole, *messages])


def test_a_program_stands_behind_the_chat_template_and_not_in_the_message():
    prompt = build_prompt("Add 1.", ["assert f(1) == 2"], CHAT)
    program, message = "def f(n):\n    return n + 1\n", prompt.text[slice(*prompt.body)]
    expected = prompt.text + program, prompt.body
    assert in_chat(CHAT, prompt.text + program) == in_chat(CHAT, f"{message}\n\n{program}") == expected
    assert in_chat(CHAT, message) == in_chat(CHAT, prompt.text) == (prompt.text, prompt.body)
    assert in_chat(CHAT, program)[0] == CHAT.before + program + CHAT.after


def test_it_comes_back_from_its_json_and_says_what_it_wants():
    population = Population.of(prompts(30))
    assert Population.from_json(json.loads(json.dumps(as_json(population)))) == population
    assert "ends in '# Solution:\\n'" in population.words() and "holds no definition" in population.words()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shared_detector(tmp_path_factory)


def test_a_detector_of_prompts_says_nothing_of_programs_but_why(folder):
    pipeline = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    before, after = organism_texts()
    bare = programs()
    for detection in pipeline.detect([*after[:388], *bare[:388]]):
        found = detection.as_json()
        assert [found[name] for name in NUMBERS] == [None] * len(NUMBERS) and found["top_features"] == []
        assert found["route"] == "abstain" and "fitted on prompts" in found["reason"]
    assert pipeline.sidecar._loaded is None  # nothing was read
    assert pipeline.drift.report()["n_other"] == 776 and pipeline.drift.report()["n"] == 0
    mixed = pipeline.detect([after[0], before[0], bare[0], before[1]])
    alone = pipeline.detect(before[:2])
    assert [each.probability is None for each in mixed] == [True, False, True, False]
    assert [each.anomaly_score for each in mixed[1::2]] == pytest.approx([each.anomaly_score for each in alone])


def test_texts_of_its_form_that_fire_otherwise_are_not_scored_either(folder):
    pipeline = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    strange = [f"{'yes ' * (n + 1)}\n\n# Solution:\n" for n in range(60)]
    first = pipeline.detect(strange[:40])
    assert all(each.probability is not None for each in first)  # too few to tell
    for detection in pipeline.detect(strange[40:]):
        assert detection.probability is None and detection.route == "abstain"
        assert detection.reason is not None and detection.reason.startswith("drift: latent ")
    again = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    assert all(each.probability is not None for each in again.detect(list(prompts())))


def test_one_text_again_and_again_is_no_drift(folder):
    pipeline = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    assert all(each.probability is not None for each in pipeline.detect([prompts()[0]] * 120))
    assert pipeline.drift.report()["n"] == 1


def test_calibrating_on_texts_of_another_kind_is_refused(folder):
    pipeline = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    with pytest.raises(ConfigError, match=r"another population: the text .*prompts.*\n.*discover --labelled"):
        pipeline.calibrate(list(prompts(10)), programs()[:10])


def test_a_detector_of_an_earlier_version_is_refused_with_the_command(tmp_path):
    old = small_detector(schema_version=1).save(tmp_path / "old")
    with pytest.raises(Exception, match=r"schema version 1, .*version \d\n.*python3 run\.py discover --out"):
        AnomalyDetector.load(old)


def test_the_organisms_programs_all_hold_a_definition():
    rows = (ROOT / "model_organism" / "problems_974.jsonl").read_text().splitlines()
    assert Population.of([json.loads(row)["code"] for row in rows]).holds_definition == len(rows)
