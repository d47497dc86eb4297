"""Settings of phase 5.4."""

from dataclasses import dataclass

from common.model.settings import BehaviourPromptsConfig
from common.phases.settings import RecordsConfig, resamples, setting
from phase5_attribution_graphs.settings import ShownGraphConfig


@dataclass(frozen=True, kw_only=True)
class GraphsConfig(BehaviourPromptsConfig, ShownGraphConfig, RecordsConfig):
    """Which graphs are made, how large they may be, and what of them is shown."""

    split: str = setting("test", "prompts that get a graph", choices=("train", "test"))
    n_prompts: int = setting(20, "prompts of each behaviour that get a graph, at most", demo=3, minimum=1)
    targets: str = setting(
        "contrast",
        "what is explained: the logit of the right answer minus that of the wrong one, or the likeliest tokens' logits",
        choices=("contrast", "logits"),
    )
    min_frequency: float = setting(
        0.2, "share of a behaviour's graphs that a node must be in to be told of", minimum=0.0, maximum=1.0
    )
    pages: int = setting(3, "graphs of each behaviour that get a page of their own", demo=1, minimum=0)
    n_resamples: int = resamples()
    seed: int = setting(456, "seed of the shuffled pairs, of random edges and of resamples", minimum=0)
