"""Settings of phase 1.3."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError
from common.files import file_sha256
from common.handoffs.dictionaries import SITES
from common.model.settings import ModelConfig, PromptConfig
from common.phases.settings import setting, typed
from common.problems.settings import DatasetConfig
from common.saes.settings import layer_numbers
from common.saes.training_settings import BATCHTOPK, FEEDBACK, HIGHEST, MATMUL_PRECISIONS, TOPK, check_count

TEXT, CODE, PROMPTS = "text", "code", "prompts"
SPREAD, ALL = "spread", "all"
SPREAD_AT = (0.25, 0.5, 0.75)  # of the model's depth


def _sha256(path: Path) -> str:
    """Raises: ConfigError for a part of the mixture that is no file."""
    if not path.is_file():
        raise ConfigError(
            f"--mixture names '{path}', which is no file\n"
            f'Give {TEXT}, {CODE}, {PROMPTS}, or a .jsonl file with {{"prompt": ...}} in each line'
        )
    return file_sha256(path)


@dataclass(frozen=True, kw_only=True)
class DictionariesConfig(ModelConfig, DatasetConfig, PromptConfig):
    """Which dictionaries are trained, and on what."""

    site: str = setting(
        "resid_post",
        "what is read: resid_post, attn_out or mlp_out for SAEs of the block's output or of what attention or the MLP "
        "adds to it; mlp for transcoders, from what the MLP reads to what it adds",
        choices=tuple(SITES),
    )
    layers: str = setting(
        SPREAD,
        "spread: three, at a quarter, half and three quarters of the depth; all; or layers with commas, as in 8,12",
    )
    width: int = setting(8, "latents for each dimension of the model", minimum=1, maximum=1024)
    l0: float = setting(32.0, "latents active at a token, on average", minimum=0.1)
    tokens: int = setting(2_000_000, "tokens trained on, those that are read again included", demo=500_000, minimum=1)
    text: str = setting(
        "auto",
        "what the part 'text' reads: pile-10k | organism | code, or a folder of .txt files; auto: organism for the "
        "model organism, else pile-10k",
    )
    mixture: tuple[str, ...] = setting(
        (f"{TEXT}=0.6", f"{CODE}=0.2", f"{PROMPTS}=0.2"),
        "parts and their shares: text; code: Python's own library; prompts: last prompt tokens of the problems that "
        "select; a .jsonl file with a prompt in each line, of which the last token is taken",
    )
    held_out: int = setting(15_000, "tokens of each text that are kept out, and measured on", unit="tokens", minimum=1)
    threshold: str = setting(
        FEEDBACK,
        "how few latents are active: by one threshold that feedback moves, exactly the largest of a batch, or those of "
        "each token (topk): as many for prompts that are nearly alike as for text",
        choices=(FEEDBACK, BATCHTOPK, TOPK),
    )
    context: int = setting(256, "tokens that are read together, as one piece of a text", unit="tokens", minimum=8)
    batch_size: int = setting(256, "tokens in a step of training", unit="tokens", minimum=16)
    learning_rate: float = setting(3e-3, "learning rate of Adam, once warmed up", minimum=1e-6, maximum=1.0)
    matmul_precision: str = setting(
        HIGHEST,
        "products of float32 matrices in training: highest is exact; high and medium round what is multiplied (TF32, "
        "bfloat16), which is faster where the device has units for it",
        choices=MATMUL_PRECISIONS,
    )
    weights: str = setting("float32", "number type of the saved weights", choices=("float32", "bfloat16"))
    seed: int = setting(
        42, "seed of the order of the text, of the directions at the start and of resampling", minimum=0
    )
    checkpoint_every: int = setting(
        2000, "steps after which training is saved, at the end of the text in memory", minimum=1, changes_results=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < self.batch_size:
            raise ConfigError(
                f"--tokens is {self.tokens}, fewer than the {self.batch_size} of one step\n"
                f"Give more of them, or a smaller --batch-size"
            )
        check_count(self.threshold, self.l0, "--l0")
        self.shares()
        self.layers_of(n_layers=None)

    def experiment(self) -> dict[str, str]:
        from common.model.general_text import text_for, text_identity

        experiment = {**super().experiment(), "site": self.site}
        if not self.reads_problems:
            experiment = {key: name for key, name in experiment.items() if key not in ("dataset", "prompt")}
        parts = {name: f"{name}={share:g}" for name, share in self.shares().items()}
        for name in parts.keys() - {TEXT, PROMPTS}:
            known = text_identity(CODE) if name == CODE else f"{Path(name).name}@{_sha256(Path(name))[:8]}"
            parts[name] = f"{known}={self.shares()[name]:g}"
        text = text_identity(text_for(self.text, self.model))
        return {**experiment, "text": text, "mixture": ",".join(parts.values())}

    @property
    def reads_problems(self) -> bool:
        return self.shares().get(PROMPTS, 0.0) > 0

    def shares(self) -> dict[str, float]:
        """Share of each part, in all 1. Raises: ConfigError."""
        shares = {}
        for word in self.mixture:
            name, _, share = word.rpartition("=")
            try:
                shares[name] = float(share)
            except ValueError:
                shares[name] = -1.0
            if not name or not 0 <= shares[name] <= 1e6:
                raise self._bad_mixture(f"'{word}' is no part with a share")
        if self.text == CODE and {TEXT, CODE} <= shares.keys():
            raise self._bad_mixture("with --text code the parts text and code are the same text")
        text = sum(share for name, share in shares.items() if name in (TEXT, CODE))
        if len(shares) < len(self.mixture) or not text > 0:
            raise self._bad_mixture("a part is named twice" if text > 0 else "neither text nor code has a share")
        return {name: share / sum(shares.values()) for name, share in shares.items() if share > 0}

    def layers_of(self, n_layers: int | None) -> list[int]:
        """The layers of a model of `n_layers` that are trained; None looks at the words alone. Raises: ConfigError."""
        given = None if self.layers == ALL else layer_numbers(self.layers, usual=SPREAD)
        if n_layers is None:
            return given or []
        if self.layers == ALL:
            return list(range(n_layers))
        if given is None:
            return sorted({min(n_layers - 1, round(share * n_layers)) for share in SPREAD_AT})
        if given[-1] >= n_layers:
            raise ConfigError(
                f"--layers is '{self.layers}'; the layers of {self.model} are 0 to {n_layers - 1}\n"
                f"Give layers among these, {SPREAD}, or {ALL}"
            )
        return given

    def _bad_mixture(self, why: str) -> ConfigError:
        return ConfigError(
            f"--mixture is '{typed(self.mixture)}': {why}\n"
            f"Give parts with shares, as in {TEXT}=0.6,{CODE}=0.2,{PROMPTS}=0.2"
        )
