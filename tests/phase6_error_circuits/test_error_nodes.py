"""Covers what phase 6.5 reads and says of nodes: activations, parts of an effect, what a latent tells, heat maps."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from error_circuit_toys import linear_decoder, random_decoder, random_dictionaries, random_pairs
from report_data import HOSTILE

from common.model.sites import ATTN_OUT, MLP_OUT, RESID_POST
from phase6_error_circuits.arms import arms_of
from phase6_error_circuits.latents.gradients import corrupted_of, integrated
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import batches_of
from phase6_error_circuits.latents.studied import StudiedShape
from phase6_error_circuits.nodes.heat import STRONGEST, WIDTH, HeatLine, token_heat
from phase6_error_circuits.nodes.reading import Reader
from phase6_error_circuits.nodes.summary import Peaks, effective_number, selectivity
from phase6_error_circuits.nodes.told import Place, RankedNode

KINDS = (RESID_POST, ATTN_OUT, MLP_OUT)
LATENTS = [(layer, latent) for layer in (1, 0, 2) for latent in (9, 3, 17)]
PLACES = [Place(layer, latent, "diff_first") for layer, latent in LATENTS] + [Place(1, None, "end"), Place(0, 3, "no")]
NODES = [RankedNode(Place(1, 9, "diff_first"), 3, 1.0, True), RankedNode(Place(1, None, "end"), 6, 0.5, False)]


def a_shape() -> StudiedShape:
    """Four pairs that select, and two held out, all of the same two first tokens."""
    pairs = [
        replace(pair, clean_ids=[1, 5, *pair.clean_ids[2:]], corrupted_ids=[1, 5, *pair.corrupted_ids[2:]])
        for pair in random_pairs(6)
    ]
    held_out = [replace(pair, split="report") for pair in pairs[4:]]
    return StudiedShape("TypeError/SyntaxError", "seed", "toy", 0, pairs[:4], held_out, [])


def reader(kind: str = RESID_POST, linear: bool = False, **given) -> Reader:
    lm = (linear_decoder if linear else random_decoder)(3)
    known = {"batch_size": 8, "n_snippets": 2, "n_examples": 1, **given}
    points = dict.fromkeys(range(3), 5)
    return Reader(lm, random_dictionaries(lm, kind), SimpleNamespace(**known), points, LATENTS, PLACES)


def read(kind: str = RESID_POST, **given) -> dict:
    return reader(kind, **given).read(a_shape(), effects=True, nodes=NODES)


def streams_of(own: Reader, ids: list[int]) -> list[torch.Tensor]:
    """resid_post of every block but the last, as the model itself gives it."""
    with torch.no_grad():
        found = own.lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return [stream[0] for stream in found[1:-1]]


def test_activations_are_those_of_the_whole_prompt():
    own, shape = reader(), a_shape()
    found = own.read(shape, effects=False, nodes=NODES)
    programs = [ids for pair in (*shape.select, *shape.held_out) for ids in (pair.clean_ids, pair.corrupted_ids)]
    for number, (layer, latent) in enumerate(LATENTS[:6]):
        sae = own.dictionaries.by_layer[layer]
        acts = [sae.encode(streams_of(own, ids)[layer])[1:, latent] for ids in programs]
        assert found["peaks"][number] == pytest.approx([float(one.max()) for one in acts], abs=1e-4)
        for place, ids, values in [*found["kept"][number]["top"], *found["kept"][number]["pair"]]:
            assert ids == programs[place][1:] and values == pytest.approx(acts[place].tolist(), abs=1e-4)
        at = [acts[2 * pair : 2 * pair + 2] for pair in range(4)]
        if number == LATENTS.index((1, 9)):
            means = [float(torch.stack([both[arm] for both in at])[:, 2].mean()) for arm in (0, 1)]
            assert [found["nodes"][0][arm] for arm in ("clean", "corrupted")] == pytest.approx(means, abs=1e-4)


def test_programs_of_a_pair_say_their_split_arm_and_error():
    found = read()
    assert [program[1:] for program in found["programs"][:2]] == [
        ["select", "clean", "TypeError"],
        ["select", "corrupted", "SyntaxError"],
    ]
    assert len(found["programs"]) == 12 and [len(one["pair"]) for one in found["kept"]] == [4] * len(LATENTS)


@pytest.mark.parametrize("kind", KINDS)
def test_both_parts_of_an_effect_sum_to_its_integrated_gradients(kind):
    own, shape = reader(kind), a_shape()
    found = own.read(shape, effects=True, nodes=[])["effects"]
    batches = batches_of(own.lm, own.dictionaries, shape.select, 8)
    importance = integrated(batches, corrupted_of(batches), 5, again=0).importance
    for number, (layer, latent) in enumerate(LATENTS):
        effect = float(importance.latents[layer][:, latent].sum())
        assert sum(arm[number] for arm in found["added"]) == pytest.approx(effect, abs=1e-5)
        assert found["at_place"][number] == pytest.approx(importance.of(Node(layer, 2, latent)), abs=1e-5)
    assert found["at_place"][len(LATENTS)] == pytest.approx(importance.of(Node(1, 5, None)), abs=1e-5)
    assert found["at_place"][-1] is None
    assert found["whole"] == pytest.approx(float(torch.cat([arms.effect for arms in batches]).mean()), abs=1e-5)


def test_what_a_latent_adds_is_what_the_model_loses_without_it():
    """In a linear model, where both are exact: of either program, towards its own error."""
    own, shape = reader(linear=True), a_shape()
    found = own.read(shape, effects=True, nodes=[])["effects"]
    [arms] = batches_of(own.lm, own.dictionaries, shape.select, 8)
    for number, (layer, latent) in enumerate(LATENTS):
        for sign, arm, one in ((1, 0, arms), (-1, 1, arms.swapped())):
            whole = one.clean.values.whole[layer]
            acts = own.dictionaries.by_layer[layer].encode(whole)[..., [latent]]
            without = whole - acts * own.dictionaries.rows(layer, torch.tensor([latent]))
            lost = (one.clean.metric - one.metric_with(layer, without)).mean()
            assert found["added"][arm][number] == pytest.approx(sign * float(lost), abs=1e-4)


def test_an_error_is_told_by_its_length_beside_that_of_the_value():
    own, shape = reader(), a_shape()
    [_, error] = own.read(shape, effects=False, nodes=NODES)["nodes"]
    sae, shares, differences = own.dictionaries.by_layer[1], {}, []
    for arm in ("clean", "corrupted"):
        values = torch.stack([streams_of(own, getattr(pair, f"{arm}_ids"))[1][6] for pair in shape.select])
        errors = values - sae.decode(sae.encode(values))
        shares[arm] = float((errors.norm(dim=-1) / values.norm(dim=-1)).mean())
        differences.append((errors, values))
    of_errors, of_values = (float((one - other).square().sum()) for one, other in zip(*differences, strict=True))
    assert error == pytest.approx({**shares, "differs": of_errors / of_values}, rel=1e-4)


def test_batches_change_nothing():
    """Of the second three the last one has pairs of both splits."""
    one, other = read(batch_size=8), read(batch_size=3)
    for number in range(len(LATENTS)):
        assert one["peaks"][number] == pytest.approx(other["peaks"][number], abs=1e-4)
    assert np.array(one["effects"]["added"]) == pytest.approx(np.array(other["effects"]["added"]), abs=1e-4)
    assert one["effects"]["at_place"] == pytest.approx(other["effects"]["at_place"], abs=1e-4)
    for node, alike in zip(one["nodes"], other["nodes"], strict=True):
        assert node == pytest.approx(alike, abs=1e-4)


def test_streams_of_one_batch_are_held_at_a_time(monkeypatch):
    held, most = weakref.WeakSet(), 0

    def counted(lm, pairs):
        nonlocal most
        arms = arms_of(lm, pairs)
        held.add(arms)
        gc.collect()
        most = max(most, len(held))
        return arms

    monkeypatch.setattr("phase6_error_circuits.nodes.reading.arms_of", counted)
    assert len(read(batch_size=2)["programs"]) == 12 and most == 1


def test_the_programs_kept_are_the_strongest_of_each_split_and_differ_up_to_the_peak():
    found, n_left_out = read(n_snippets=3), 0
    splits = [program[1] for program in found["programs"]]
    for peaks, kept in zip(found["peaks"], found["kept"], strict=True):
        for split in ("select", "report"):
            own = [(max(values), ids, values) for place, ids, values in kept["top"] if splits[place] == split]
            every = sorted((peak for peak, one in zip(peaks, splits, strict=True) if one == split and peak > 0))[::-1]
            assert [peak for peak, _, _ in own[:1]] == every[:1] and len(own) <= 3
            assert [peak for peak, _, _ in own] == sorted((peak for peak, _, _ in own), reverse=True)
            up_to_peak = {tuple(ids[: values.index(peak) + 1]) for peak, ids, values in own}
            assert len(up_to_peak) == len(own)
            n_left_out += len(own) < min(3, len(every))
    assert n_left_out, "some were the same up to the peak"


def peaks_of(values: list[float], errors: list[str], templates: list[str] | None = None) -> Peaks:
    """The same programs in both splits, two of each pair."""
    n = len(values)
    splits = ["select"] * n + ["report"] * n
    pairs = [f"{split} {number // 2}" for split in ("a", "b") for number in range(n)]
    return Peaks(*map(np.array, (values * 2, errors * 2, splits, pairs, (templates or ["one"] * n) * 2)))


def test_a_latent_tells_the_error_in_whose_programs_it_is_largest():
    values, errors = [3.0, 0.0, 2.0, 2.0, 4.0, 1.0], ["TypeError", "SyntaxError"] * 3
    found = selectivity(peaks_of(values, errors), 1000, 0)
    assert found is not None and found.error == "TypeError" and (found.n, found.others) == (3, 3)
    wins = [(a > b) + (a == b) / 2 for a in values[::2] for b in values[1::2]]
    assert found.auroc.value == pytest.approx(np.mean(wins)) == found.within.value
    assert found.auroc.low is not None and found.auroc.low <= found.auroc.known


def test_what_only_tells_templates_apart_tells_nothing_within_them():
    """Active on one template whatever its error, and most programs of that template raise the same one."""
    values = [5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0]
    errors = [
        "TypeError",
        "TypeError",
        "TypeError",
        "SyntaxError",
        "TypeError",
        "SyntaxError",
        "SyntaxError",
        "SyntaxError",
    ]
    found = selectivity(peaks_of(values, errors, ["one"] * 4 + ["two"] * 4), 1000, 0)
    assert found is not None and found.auroc.value == pytest.approx(0.75) and found.within.value == pytest.approx(0.5)


def test_where_there_is_one_error_or_no_activation_a_latent_tells_none():
    assert selectivity(peaks_of([1.0, 2.0], ["TypeError"] * 2), 1000, 0) is None
    assert selectivity(peaks_of([0.0, 0.0], ["TypeError", "SyntaxError"]), 1000, 0) is None


def test_templates_are_counted_by_shares_and_one_alone_says_nothing():
    assert effective_number([0.2, -0.2, 0.2]) == pytest.approx(3.0) and effective_number([0.4, 0.0]) == 1.0
    assert effective_number([0.5]) is None and effective_number([]) is None and effective_number([0.0, 0.0]) is None


def texts_in(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_text_of_tokens_is_escaped_in_a_heat_map():
    tokens = ["<script>window.ran=2</script>", "&amp;", "]]>", "\"'><img src=x onerror=1>", "", "␣a↵", "b"]
    svg = str(token_heat([HeatLine(HOSTILE, tokens, [1.0] * len(tokens), 1.0)], HOSTILE))
    assert "<script" not in svg and "<img" not in svg and "]]>" not in svg
    texts = texts_in(svg)
    assert texts[1] == "<script>window.ran=2</s…" and texts[2:4] == ["&amp;", "]]>"]
    assert ElementTree.fromstring(svg).get("aria-label") == HOSTILE and texts[0] == HOSTILE[:59] + "…"


def test_a_heat_map_is_no_wider_than_a_phone_and_breaks_where_the_program_does():
    tokens = ["print", "(", "x" * 70, ")↵", *["␣word"] * 30]
    root = ElementTree.fromstring(str(token_heat([HeatLine("", tokens, [2.0] * len(tokens), 2.0)], "words")))
    boxes = [{name: float(rect.get(name, "")) for name in ("x", "y", "width")} for rect in root.iter("rect")]
    assert len(boxes) == len(tokens) and max(box["x"] + box["width"] for box in boxes) <= WIDTH <= 390 - 2 * 16
    assert boxes[4]["x"] == 0 and boxes[4]["y"] > boxes[3]["y"] and len({box["y"] for box in boxes}) > 3
    assert float(str(root.get("viewBox")).split()[3]) >= max(box["y"] for box in boxes) + 15


def test_shades_follow_the_values_and_the_largest_has_a_frame():
    svg = str(token_heat([HeatLine("", ["a", "b", "c"], [0.0, 1.0, 4.0], 4.0)], "words"))
    styles = [str(rect.get("style")) for rect in ElementTree.fromstring(svg).iter("rect")]
    assert [style.partition("fill-opacity: ")[2][:5] for style in styles] == [
        f"{STRONGEST / 4:.3f}",
        f"{STRONGEST:.3f}",
    ]
    assert ["stroke" in style for style in styles] == [False, True]


def light(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [("#1d1d1b", "#1b5e8c", "#fcfcfa"), ("#e7e5df", "#7fb6de", "#17181a")])
def test_letters_on_the_strongest_shade_can_be_read(colours):
    """Ink on the accent over paper, in the light and in the dark page (common/report/page.css)."""
    ink, accent, paper = (tuple(int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)) for one in colours)
    under = tuple(STRONGEST * a + (1 - STRONGEST) * p for a, p in zip(accent, paper, strict=True))
    lights = sorted((light(ink), light(under)))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5
