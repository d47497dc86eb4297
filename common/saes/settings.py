"""The SAEs of a phase."""

import dataclasses
from pathlib import Path
from typing import Any, Self

from common.errors import ConfigError
from common.model.settings import ModelConfig, NamedModelConfig
from common.phases.settings import PhaseConfig, setting
from common.saes.own import OWN, newest_own, run_of
from common.saes.sources import SaeSource, has_default_transcoders, sae_source, transcoder_source
from common.saes.widths import check_widths

AUTO = "auto"
MLP = "mlp"  # the site of transcoders, in phase 1.3
PUBLISHED_LIMIT = 0.02  # on the rate of a latent that is kept, of arXiv 2411.14257
TIMES_THE_MEAN = 4.4  # that limit in mean rates of the dictionaries that it was published for


def layer_numbers(layers: str, usual: str) -> list[int] | None:
    """What --layers names, ascending; None for the `usual` word. Raises: ConfigError."""
    words = [word.strip() for word in layers.split(",")]
    if words == [usual]:
        return None
    if not all(word.isdecimal() for word in words):
        raise ConfigError(f"--layers is '{layers}'\nGive {usual}, or layers with commas, as in 0,12,25")
    return sorted({int(word) for word in words})


def bad_fits_accepted() -> Any:
    """Declare what an SAE that does not fit is let through with."""
    return setting(False, "go on where an SAE does not reconstruct general text at its layer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedSaeConfig(NamedModelConfig):
    """Settings of a phase that works with SAEs of a model."""

    sae: str = setting(
        "auto",
        "SAELens release, or folder of SAEs; auto: the registry's choice for the model; own: the newest of phase 1.3",
    )
    sae_revision: str = setting(
        "", "the same as --revision, of the repository of an --sae of the hub", changes_results=False
    )

    def experiment(self) -> dict[str, str]:
        return {**super().experiment(), "sae": sae_source(self.sae, self.model, self.sae_revision).identity}

    def found_in(self, data_dir: Path) -> Self:
        config = super().found_in(data_dir)
        if config.sae != OWN:
            return config
        return dataclasses.replace(config, sae=str(newest_own(config.model, config.revision, data_dir)))

    def runs_named(self) -> tuple[Path, ...]:
        own = run_of(self.sae)
        return (*super().runs_named(), *([] if own is None else [own.path]))

    def check_files(self) -> None:
        super().check_files()
        if self.sae != OWN:
            check_widths(sae_source(self.sae, self.model, self.sae_revision), self.model, self.revision)

    def repositories(self) -> dict[str, tuple[str, str]]:
        release = sae_source(self.sae, self.model).release
        return {**super().repositories(), **({"sae_revision": ("sae", release.repo_id)} if release else {})}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralTextConfig(PhaseConfig):
    """Settings of a phase that leaves latents of language in general out."""

    general_text_limit: float | str = setting(
        AUTO,
        "share of general-text documents above which a latent is left out before any ranking; auto: 0.02, or 4.4 times "
        "the mean rate of the layer's latents where that is more; 1: none is left out",
        minimum=0.0,
        maximum=1.0,
        choices=(AUTO,),
        source="arXiv 2411.14257: 0.02 for dictionaries that fire at a mean rate of 0.0045",
    )

    @property
    def leaves_general_text_out(self) -> bool:
        """Whether firing rates on general text are needed at all."""
        return self.general_text_limit == AUTO or float(self.general_text_limit) < 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaeConfig(ModelConfig, NamedSaeConfig):
    """Settings of a phase that reads the model's residual stream with SAEs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranscoderConfig(ModelConfig):
    """Settings of a phase that puts transcoders in the place of a model's MLPs."""

    dtype: str = setting(
        "float32",
        "number type of the model's weights and computation; no graph is exact in another",
        choices=("float32", "auto", "bfloat16", "float16"),
    )
    transcoders: str = setting(
        "auto",
        "SAELens release, or folder of transcoders; auto: the registry's choice for the model; own: the newest that "
        "phase 1.3 trained with --site mlp",
    )
    transcoders_revision: str = setting(
        "", "the same as --revision, of the repository of --transcoders of the hub", changes_results=False
    )

    def source(self) -> SaeSource:
        return transcoder_source(self.transcoders, self.model, self.transcoders_revision)

    def experiment(self) -> dict[str, str]:
        return {**super().experiment(), "transcoders": self.source().identity}

    def found_in(self, data_dir: Path) -> Self:
        config = super().found_in(data_dir)
        if config.transcoders != OWN:
            return config
        newest = newest_own(config.model, config.revision, data_dir, MLP)
        return dataclasses.replace(config, transcoders=str(newest))

    def runs_named(self) -> tuple[Path, ...]:
        own = run_of(self.transcoders)
        return (*super().runs_named(), *([] if own is None else [own.path]))

    def check_files(self) -> None:
        super().check_files()
        if self.transcoders != OWN:
            check_widths(self.source(), self.model, self.revision)

    def repositories(self) -> dict[str, tuple[str, str]]:
        release = transcoder_source(self.transcoders, self.model).release
        known = {"transcoders_revision": ("transcoders", release.repo_id)} if release else {}
        return {**super().repositories(), **known}


def without_transcoders(config: TranscoderConfig) -> str:
    """Why a pipeline goes without a phase that needs transcoders; empty where it does not."""
    lacks = config.transcoders == AUTO and not has_default_transcoders(config.model)
    return f"it needs transcoders, of which none are known for {config.model}" if lacks else ""
