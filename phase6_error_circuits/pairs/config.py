"""Settings of phase 6.1."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError, suggestion
from common.files import file_sha256
from common.model.registry import error_templates
from common.model.settings import NamedModelConfig
from common.phases.settings import setting
from common.programs.settings import SandboxConfig
from phase6_error_circuits.pair import CHAT, FORMATS
from phase6_error_circuits.pairs.templates import CONTRASTS, FILE

AUTO, ALL = "auto", "all"


@dataclass(frozen=True, kw_only=True)
class ErrorPairsConfig(NamedModelConfig, SandboxConfig):
    """Which pairs are made, and how many."""

    contrasts: tuple[str, ...] = setting(
        (ALL,), f"contrasts of two errors, such as {CONTRASTS[0]}; {ALL}: all {len(CONTRASTS)}", demo=CONTRASTS[:1]
    )
    formats: tuple[str, ...] = setting(
        FORMATS,
        f"how the question is put: {', '.join(FORMATS)} ({CHAT} only where the tokenizer has a chat template)",
        demo=FORMATS[:1],
    )
    templates: str = setting(
        AUTO, "file of templates besides the general ones (phase6_error_circuits/README.md); auto: that of the model"
    )
    n_pairs: int = setting(100, "pairs of each template and shape, half of them held out", demo=40, minimum=2)
    n_shapes: int = setting(2, "shapes of a template that are kept, the most frequent first", minimum=1)
    fewest: int = setting(
        30, "a shape with fewer pairs, or less than half of that in one split, is refused", demo=16, minimum=2
    )
    n_draws: int = setting(4000, "draws of each template, at most", demo=1000, minimum=2)
    seed: int = setting(42, "seed of words, numbers and alternatives", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names("contrasts", self.contrasts, (ALL, *CONTRASTS))
        _check_names("formats", self.formats, FORMATS)
        if self.fewest > self.n_pairs:
            raise ConfigError(
                f"--fewest is {self.fewest}, more than the {self.n_pairs} pairs that a shape may have\n"
                f"Give fewer, or more --n-pairs"
            )

    @property
    def contrasts_wanted(self) -> tuple[str, ...]:
        return CONTRASTS if ALL in self.contrasts else tuple(dict.fromkeys(self.contrasts))

    def own_templates(self) -> Path | None:
        """The file of templates besides the general ones, where there is one."""
        return error_templates(self.model) if self.templates == AUTO else Path(self.templates)

    def experiment(self) -> dict[str, str]:
        """With the content of the templates, which decides what is drawn."""
        files = [FILE, *([file] if (file := self.own_templates()) else [])]
        return {**super().experiment(), "templates": "+".join(map(_identity, files))}


def _identity(path: Path) -> str:
    """Raises: ConfigError for a file of templates that is not there."""
    if not path.is_file():
        raise ConfigError(
            f"--templates is '{path}', which is no file\nGive a file of the form of phase6_error_circuits/README.md"
        )
    return f"{path.name}@{file_sha256(path)[:8]}"


def _check_names(flag: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raises: ConfigError for a name that there is not, or none at all."""
    unknown = [name for name in given if name not in known]
    if unknown or not given:
        shown = unknown[0] if unknown else ""
        raise ConfigError(
            f"--{flag} is '{shown}'.{suggestion(shown, [*known])}\nGive one or more of: {', '.join(known)}"
        )
