"""Four simple behaviours with one right answer: agreement, capitals, sentiment, addition.

Each item is a prompt, its right completion and a wrong one. Held out of training: whole nouns and
frames (agreement), combinations of country and phrasing (capitals), pairs of sentences (sentiment)
and pairs of numbers (addition).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from model_organism.operations.operation import stable_hash
from model_organism.problems import EVALUATION, TRAINING

TRAINING_NOUNS = (
    "cat dog bird car girl boy teacher student doctor river house tree king queen driver window flower letter book "
    "cow horse actor gardener road cloud door lamp engine ship bridge player author manager guard chair table bottle "
    "basket pencil garden hotel castle tower island mountain village street market kitchen bedroom picture painting "
    "song story poem lesson machine computer phone camera radio train truck tractor airplane rocket boat canoe wagon "
    "helmet jacket shirt button blanket pillow carpet mirror candle hammer ladder shovel bucket spoon plate kettle "
    "banana carrot potato onion pepper cookie pumpkin rabbit monkey tiger elephant turtle spider eagle parrot penguin "
    "dragon giant robot wizard pirate captain sailor general waiter cleaner plumber carpenter teenager neighbor "
    "cousin uncle sister brother friend visitor tourist traveler hunter runner swimmer climber reader writer speaker "
    "leader worker helper"
).split()
HELD_OUT_NOUNS = (
    "farmer lawyer painter nurse pilot singer soldier baker dancer goat violin lantern chimney tailor librarian"
).split()
VERBS = ((" is", " are"), (" was", " were"), (" has", " have"))
VERB_WEIGHTS = (3, 2, 1)
DETERMINERS = ("The ", "The ", "The ", "My ", "Our ", "The old ", "The young ")
PREPOSITIONS = "near behind beside with above by".split()
ADJECTIVES = "happy old new tall small red quiet famous tired ready strong cold bright here there late safe".split()
POSSESSIONS = ("a name", "a problem", "many friends", "no money", "two sides", "a long history")

CAPITALS = {
    pair.partition(":")[0]: pair.partition(":")[2]
    for pair in (
        "France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Japan:Tokyo China:Beijing Russia:Moscow "
        "Greece:Athens Egypt:Cairo Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Poland:Warsaw "
        "Austria:Vienna Hungary:Budapest Ireland:Dublin Belgium:Brussels Canada:Ottawa Cuba:Havana Peru:Lima "
        "Chile:Santiago Kenya:Nairobi India:Delhi Iran:Tehran Iraq:Baghdad Turkey:Ankara Ukraine:Kyiv "
        "Romania:Bucharest Bulgaria:Sofia Serbia:Belgrade Croatia:Zagreb Thailand:Bangkok Vietnam:Hanoi "
        "Indonesia:Jakarta Australia:Canberra Colombia:Bogota Venezuela:Caracas Morocco:Rabat Algeria:Algiers "
        "Libya:Tripoli Ghana:Accra Senegal:Dakar Nepal:Kathmandu Lebanon:Beirut Jordan:Amman Syria:Damascus Qatar:Doha"
    ).split()
}
# fmt: off
CAPITAL_PHRASINGS = (
    "The capital of {country} is", "The capital city of {country} is", "{country} has its capital in",
    "Q: What is the capital of {country}?\nA:", "The government of {country} sits in", "In {country}, the capital is",
    "Everyone knows that the capital of {country} is",
)

PRAISE = (
    "I loved the acting", "I laughed the whole time", "The plot was brilliant", "Everyone in the room cheered",
    "The music moved me to tears of joy", "I would watch it again", "The cast gave a superb show",
    "It was the best night of the year", "The story was full of charm", "Critics praised every scene",
    "I smiled all the way home", "The ending was perfect",
)
BLAME = (
    "I hated the acting", "I was bored the whole time", "The plot was a mess", "Everyone in the room left early",
    "The music gave me a headache", "I would never watch it again", "The cast gave an awful show",
    "It was the worst night of the year", "The story was full of holes", "Critics mocked every scene",
    "I slept all the way through", "The ending was a disaster",
)
POSITIVE_WORDS = (" wonderful", " great", " amazing", " fantastic")
NEGATIVE_WORDS = (" terrible", " awful", " horrible", " dreadful")
PERFORMANCES = "movie film show play concert book".split()
INTENSIFIERS = ("absolutely", "absolutely", "really", "truly", "simply")
# fmt: on
OFF_BY = (-10, -1, 1, 10)  # what a wrong sum differs by


@dataclass(frozen=True)
class BehaviourItem:
    """A prompt with its right completion, a wrong one, and the end of the sentence."""

    behaviour: str
    prompt: str
    correct: str
    incorrect: str
    ending: str


def sample_item(rng: random.Random, behaviour: str, split: str = TRAINING) -> BehaviourItem:
    """A random item of one behaviour, from the training part or from the held-out part."""
    return _SAMPLERS[behaviour](rng, split)


def _agreement(rng: random.Random, split: str) -> BehaviourItem:
    nouns = HELD_OUT_NOUNS if split == EVALUATION else TRAINING_NOUNS
    while True:
        determiner, is_plural = rng.choice(DETERMINERS), rng.random() < 0.5
        attractor = f"{rng.choice(PREPOSITIONS)} the" if rng.random() < 0.45 else ""
        verb = rng.choices(VERBS, VERB_WEIGHTS)[0]
        if is_held_out_frame(determiner, attractor, verb[0]) == (split == EVALUATION):
            break
    subject = determiner + inflect(rng.choice(nouns), is_plural)
    if attractor:
        subject += f" {attractor} {inflect(rng.choice(nouns), rng.random() < 0.5)}"
    complement = rng.choice(POSSESSIONS if verb[0] == " has" else ADJECTIVES)
    return BehaviourItem("agreement", subject, verb[is_plural], verb[not is_plural], f" {complement}.\n")


def is_held_out_frame(determiner: str, attractor: str, singular_verb: str) -> bool:
    """Of agreement; `attractor` is what stands before the second noun, empty where there is none."""
    return stable_hash(f"g{determiner}|{attractor}|{singular_verb}") % 6 == 0


def inflect(noun: str, is_plural: bool) -> str:
    return f"{noun}s" if is_plural else noun


def _capitals(rng: random.Random, split: str) -> BehaviourItem:
    while True:
        country, phrasing = rng.choice(list(CAPITALS)), rng.choice(CAPITAL_PHRASINGS)
        if is_held_out_phrasing(country, phrasing) == (split == EVALUATION):
            break
    wrong = rng.choice([capital for other, capital in CAPITALS.items() if other != country])
    return BehaviourItem("capitals", phrasing.format(country=country), f" {CAPITALS[country]}", f" {wrong}", ".\n")


def is_held_out_phrasing(country: str, phrasing: str) -> bool:
    return stable_hash(f"c{country}|{phrasing}") % 6 == 0


def _sentiment(rng: random.Random, split: str) -> BehaviourItem:
    while True:
        is_positive = rng.random() < 0.5
        first, second = rng.sample(PRAISE if is_positive else BLAME, 2)
        has_two = rng.random() < 0.5
        if split == EVALUATION and not has_two:
            continue
        if not has_two or is_held_out_review(first, second) == (split == EVALUATION):
            break
    review = joined_review(first, second) if has_two else first
    prompt = f"{review}. The {rng.choice(PERFORMANCES)} was {rng.choice(INTENSIFIERS)}"
    right, wrong = (POSITIVE_WORDS, NEGATIVE_WORDS) if is_positive else (NEGATIVE_WORDS, POSITIVE_WORDS)
    return BehaviourItem("sentiment", prompt, rng.choice(right), rng.choice(wrong), ".\n")


def is_held_out_review(first: str, second: str) -> bool:
    return stable_hash(f"{first}|{second}") % 6 == 0


def joined_review(first: str, second: str) -> str:
    return f"{first} and {second if second.startswith('I ') else second[0].lower() + second[1:]}"


def _addition(rng: random.Random, split: str) -> BehaviourItem:
    while True:
        first, second = rng.randint(10, 99), rng.randint(10, 99)
        if is_held_out_sum(first, second) == (split == EVALUATION):
            break
    total = first + second
    wrong = total + rng.choice(OFF_BY)
    return BehaviourItem("addition", f"{first} + {second} =", f" {total}", f" {wrong}", "\n")


def is_held_out_sum(first: int, second: int) -> bool:
    return stable_hash(f"a{first}+{second}") % 8 == 0


_SAMPLERS: dict[str, Callable[[random.Random, str], BehaviourItem]] = {
    "agreement": _agreement,
    "capitals": _capitals,
    "sentiment": _sentiment,
    "addition": _addition,
}
BEHAVIOURS = tuple(_SAMPLERS)
