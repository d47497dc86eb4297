"""What the phases behind the gate study: a contrast of two errors, in one format of the prompt."""

from dataclasses import dataclass

from common.model.settings import ModelConfig
from common.phases.settings import setting
from phase6_error_circuits.pair import FORMATS

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class StudyConfig(ModelConfig):
    """Settings of a phase that looks for what carries the answer."""

    contrast: str = setting(AUTO, "contrast of two errors, such as IndexError/KeyError; auto: the one the gate chose")
    format: str = setting(
        AUTO, "how the question is put; auto: as the gate chose for the contrast", choices=(AUTO, *FORMATS)
    )
    force: bool = setting(
        False,
        "go on with a contrast that does not pass the gate: what carries an answer that the model does not give means "
        "little",
    )
    n_resamples: int = setting(2000, "bootstrap resamples behind every interval", minimum=1000, maximum=100_000)
    seed: int = setting(42, "seed of resamples and of random circuits", minimum=0)
