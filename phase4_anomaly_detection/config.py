"""Settings of phase 4.1 and of its Python API."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from common.errors import ConfigError
from common.model.settings import PromptConfig
from common.phases.settings import EvaluatingConfig, PhaseConfig, resamples, setting
from common.problems.settings import DatasetConfig
from common.programs.settings import missing_accepted
from common.saes.settings import GeneralTextConfig, SaeConfig, bad_fits_accepted
from phase4_anomaly_detection.options import LEVELS, METHODS, RULES, Target
from phase4_anomaly_detection.population import PROGRAMS, PROMPTS

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class DiscoveryConfig(GeneralTextConfig):
    """What a latent must be to be added up, and how it is weighted."""

    rule: str = setting(
        "probe",
        "latents and weights; probe: of either sign, by logistic regression; ace: ACE's own rule, for comparison: "
        "t at least 2, at most 2 % of general text, the 100 with the largest t, weighed by it",
        choices=RULES,
    )
    top_k: int = setting(128, "latents added up, at most", minimum=1, maximum=128)
    n_permutations: int = setting(
        1000, "permutations of the labels behind how many latents are significant", minimum=100, maximum=1_000_000
    )
    seed: int = setting(42, "seed of splits, permutations, cross-validation and resamples", minimum=0)


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(PhaseConfig):
    """How scores become decisions."""

    target: str = setting("recall=0.8", "what the threshold reaches on hyperparams: recall=, precision= or flag_rate=")
    calibration: str = setting("auto", "score to probability; auto: platt below 1,000 texts", choices=METHODS)
    abstain: float = setting(
        0.1, "share of the hyperparams texts nearest the threshold, on which it abstains", minimum=0.0, maximum=1.0
    )
    levels: tuple[float, ...] = setting(
        (0.25, 0.5, 0.75, 0.9), "probabilities from which a text is low, medium, high, critical", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        Target.parse(self.target)
        if len(self.levels) != len(LEVELS) - 1 or sorted(self.levels) != list(self.levels):
            raise ConfigError(
                f"the levels are {', '.join(map(str, self.levels))}\n"
                f"Give {len(LEVELS) - 1} rising probabilities, as in 0.25,0.5,0.75,0.9"
            )

    def decide(self, scores: "np.ndarray", incorrect: "np.ndarray") -> dict[str, Any]:
        """Calibration, threshold, target and abstain band for texts [n], as they stand in detector.json."""
        from phase4_anomaly_detection import calibration

        threshold, target = calibration.choose_threshold(scores, incorrect, Target.parse(self.target))
        return {
            "calibration": calibration.fit_calibration(scores, incorrect, self.calibration),
            "threshold": threshold,
            "target": target,
            "abstain": calibration.abstain_band(scores, threshold, self.abstain),
            "levels": list(self.levels),
            "settings": {"calibration": self.calibration, "abstain": self.abstain},
        }


@dataclass(frozen=True, kw_only=True)
class DetectorPhaseConfig(DiscoveryConfig, DetectorConfig, SaeConfig, DatasetConfig, PromptConfig, EvaluatingConfig):
    """Which latents are added up, how the sum is read, and on which texts."""

    labelled: str = setting(
        "",
        'own labelled texts in place of phase 1: a .jsonl file of {"text", "prompt" or "code", "label": correct or '
        "incorrect}",
    )
    read: str = setting(
        "auto",
        "what a text is: the prompts of phase 1, or each with the program that was written for it, which the model "
        "reads now; auto: prompts, and of --labelled texts what they are",
        choices=("auto", PROMPTS, PROGRAMS),
    )
    score_other: bool = setting(
        False,
        "for the card of a detector of prompts: also read the programs of the validation split, on which it abstains",
        demo=True,
    )
    layer: str = setting(
        "auto", "block whose latents are read; auto: the registry's, or the best by cross-validation on the sae split"
    )
    text: str = setting(
        "auto",
        "general text that tells whether the SAEs fit, where phase 1.1 has stored none: pile-10k | organism, or a "
        "folder of .txt files; auto: organism for the model organism, else pile-10k",
    )
    n_resamples: int = resamples(minimum=2000)
    quantisation: str = setting(
        "none",
        "weights of the model that reads --labelled texts or programs; needs a GPU",
        choices=("none", "8bit", "4bit"),
    )
    batch_size: int = setting(16, "--labelled texts or programs read together", minimum=1)
    accept_bad_fit: bool = bad_fits_accepted()
    accept_missing: bool = missing_accepted()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer != "auto" and not self.layer.isdecimal():
            raise ConfigError(f"--layer is '{self.layer}'\nGive auto, or the number of a block, from 0")
        if self.quantisation != "none" and not self.labelled and self.read != PROGRAMS:
            raise ConfigError(
                f"--quantisation is {self.quantisation}, but no model is run: phase 1 stored the activations"
                f"\nLeave it out, or give texts to read with --labelled or --read programs"
            )

    @property
    def read_from_phase_1(self) -> str:
        """What of phase 1 is read."""
        return PROGRAMS if self.read == PROGRAMS else PROMPTS

    def discovery(self) -> DiscoveryConfig:
        """What is selected."""
        return DiscoveryConfig(**{field.name: getattr(self, field.name) for field in fields(DiscoveryConfig)})

    def experiment(self) -> dict[str, str]:
        if not self.labelled:
            return super().experiment()
        from phase4_anomaly_detection.labelled import labelled_name

        return {**super().experiment(), "dataset": labelled_name(self.labelled)}
