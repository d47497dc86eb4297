"""Settings of phases 1 and 1.1."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.model.settings import ModelConfig
from common.phases.settings import RecordsConfig, setting, typed
from common.programs.settings import SolutionConfig


@dataclass(frozen=True, kw_only=True)
class GenerationConfig(SolutionConfig):
    """How solutions are generated and judged."""

    temperature: float = setting(0.0, "sampling temperature; 0 takes the likeliest token", minimum=0.0)
    positions: tuple[str, ...] = setting(
        ("last",),
        "prompt tokens whose residual stream is kept",
        choices=("last", "description_end", "tests_end"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if "last" not in self.positions or len(set(self.positions)) < len(self.positions):
            raise ConfigError(
                f"--positions is {typed(self.positions)}, but later phases read the position 'last'\n"
                f"Give each position once, 'last' among them, as in last,tests_end"
            )


@dataclass(frozen=True, kw_only=True)
class GeneralTextConfig(ModelConfig, RecordsConfig):
    """Which general text the model reads."""

    text: str = setting(
        "auto",
        "pile-10k | organism, or a folder of .txt files; auto: organism for the model organism, else pile-10k",
    )
    documents: int = setting(
        10_000, "documents, from the first on; blank ones are left out", demo=1_000, minimum=1, source="Pile-10k"
    )
    max_tokens: int = setting(
        128, "tokens read of a document, the beginning-of-sequence token included", unit="tokens", minimum=2
    )
    batch_size: int = setting(
        64, "documents read together, fewer where memory does not suffice", minimum=1, changes_results=False
    )
    seed: int = setting(42, "base seed; the position in each document derives its own from it", minimum=0)

    def experiment(self) -> dict[str, str]:
        from common.model.general_text import text_for, text_identity

        return {**super().experiment(), "text": text_identity(text_for(self.text, self.model))}

    def check_files(self) -> None:
        from common.model.general_text import HUB_TEXTS, first_documents, text_for

        super().check_files()
        text = text_for(self.text, self.model)
        if text not in HUB_TEXTS:
            first_documents(text, self.documents)
