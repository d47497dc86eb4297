"""What a behaviour needs to count as one that the model shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A margin [nats a token], and the share of prompts that have to be above it."""

    margin: float
    share: float


USUAL = Threshold(2.0, 0.80)
OTHERS = {"sentiment": Threshold(1.5, 0.75)}  # where several words are right


def threshold_of(behaviour: str) -> Threshold:
    return OTHERS.get(behaviour, USUAL)
