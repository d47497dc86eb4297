"""`run.py export --to sae-lens FOLDER`: dictionaries of phase 1.3 as a folder of their own, which SAELens reads.

FOLDER/layer_8/cfg.json, sae_weights.safetensors     SAE.load_from_disk("FOLDER/layer_8")
FOLDER/dictionaries.json                             the card: what they were trained on, what they do
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common import handoffs
from common.exchange.exporting import appearing, check_target
from common.handoffs.dictionaries import SITES
from common.model.settings import NamedModelConfig
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.phases.settings import setting
from common.runs.artifacts import Artifact


@dataclass(frozen=True, kw_only=True)
class ExportedConfig(NamedModelConfig):
    """Which dictionaries are exported."""

    site: str = setting("resid_post", "whose dictionaries: the --site of phase 1.3", choices=tuple(SITES))

    def experiment(self) -> dict[str, str]:
        return {**super().experiment(), "site": self.site}


def export_dictionaries(ctx: RunContext, folder: Path) -> None:
    """Copy the dictionaries that `ctx` picked into `folder`, which must not exist or be empty.

    Raises: ConfigError, ArtifactMismatchError for files that are not what was written, PipelineError.
    """
    folder = folder.resolve()
    check_target(folder)
    run = ctx.read(handoffs.DICTIONARIES)
    n_copied = copy_dictionaries(run, folder)
    ctx.log.info("wrote %d dictionaries of %s to %s", n_copied, run.path.name, folder)


def copy_dictionaries(run: Artifact, folder: Path) -> int:
    """The dictionaries of a run and their card as `folder`, which appears whole; how many there are."""
    layers = sorted(name for name in run.manifest["files"] if name.startswith("layer_"))
    with appearing(folder) as partial_folder:
        for name in ("dictionaries.json", *layers):
            target = partial_folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(run.file(name).read_bytes())
    return len(layers) // 2


def dictionaries_to(folder: Path) -> Phase:
    """What `run.py export --to sae-lens` runs: it reads the newest run of phase 1.3, and writes no artifact."""
    return Phase(
        id="1.3",
        title="its dictionaries as a folder that SAELens reads",
        config=ExportedConfig,
        inputs=(handoffs.DICTIONARIES,),
        output=handoffs.DICTIONARIES,
        run=partial(_run, folder=folder),
    )


def _run(ctx: RunContext, _config: ExportedConfig, folder: Path) -> None:
    export_dictionaries(ctx, folder)
