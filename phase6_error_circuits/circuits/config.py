"""Settings of phase 6.4."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.phases.settings import RecordsConfig, batches, resamples, setting, typed
from phase6_error_circuits.latents.settings import ContrastsConfig

RESAMPLE, MEAN, ZERO = ABLATIONS = ("resample", "mean", "zero")
NODES, KEPT, ABLATED = ERROR_MODES = ("nodes", "kept", "ablated")
POSITIVE, ABSOLUTE, LAYERS, MASK = RANKINGS = ("positive", "absolute", "layers", "mask")


@dataclass(frozen=True, kw_only=True)
class ErrorCircuitsConfig(ContrastsConfig, RecordsConfig):
    """Which circuits are looked at, and how closely."""

    n_pairs: int = setting(100, "pairs of a shape that select, and held out, at most", demo=4, minimum=2)
    sizes: tuple[int, ...] = setting(
        (5, 10, 20, 50, 100, 200, 400, 800, 1600, 3200),
        "nodes of the circuits on a curve; all of them besides",
        demo=(100, 400),
        minimum=1,
    )
    ablations: tuple[str, ...] = setting(ABLATIONS, "what stands for nodes outside a circuit", choices=ABLATIONS)
    errors: tuple[str, ...] = setting(
        ERROR_MODES,
        "what becomes of error nodes: ranked with the others, all kept, none kept",
        choices=ERROR_MODES,
        demo=(NODES,),
    )
    n_random: int = setting(10, "random circuits at each size, and random sets of edges", demo=1, minimum=1)
    one_layer: tuple[int, ...] = setting(
        (10, 30, 100), "nodes that are kept where one layer at a time is cut", demo=(10, 100), minimum=1
    )
    n_points: int = setting(
        10, "points of the line to means and to nothing, of the importances against these", demo=4, minimum=1
    )
    n_others: int = setting(0, "other shapes and templates that circuits are tried on; 0: all", demo=2, minimum=0)
    other_sizes: tuple[int, ...] = setting(
        (100, 400, 1600), "nodes of the circuits that are tried on other templates", demo=(400,), minimum=1
    )
    enough: float = setting(0.8, "held-out faithfulness whose size is looked for", minimum=0.05, maximum=1.0)
    mask_steps: int = setting(200, "steps of each learned mask; 0: none is learned", demo=10, minimum=0)
    mask_lambdas: tuple[float, ...] = setting(
        (0.1, 0.3, 1.0, 3.0), "weights of the share of open nodes in a learned mask", demo=(1.0,), minimum=0.0
    )
    mask_rate: float = setting(0.05, "learning rate of a learned mask", demo=0.3, minimum=1e-6, maximum=10.0)
    mask_nodes: int = setting(2000, "largest nodes that a mask may open", demo=400, minimum=1)
    mask_pairs: int = setting(32, "pairs that a mask is learned on, at most", demo=4, minimum=1)
    edge_nodes: int = setting(50, "nodes of each layer that get edges; 0: no edges", demo=6, minimum=0)
    edge_pairs: int = setting(16, "pairs that edges are measured on, and as many held out", demo=3, minimum=1)
    edge_points: int = setting(
        4, "points of the line from clean to corrupted at which edges are taken", demo=2, minimum=1
    )
    edge_sizes: tuple[int, ...] = setting(
        (100, 300, 1000, 3000), "edges of the circuits on a curve; all of them besides", demo=(30,), minimum=1
    )
    n_exact: int = setting(50, "largest edges that are tried by path patching", demo=10, minimum=0)
    n_links: int = setting(400, "largest edges that the exported graph shows", demo=100, minimum=1)
    batch_size: int = batches("pairs", 32, demo=32)
    n_resamples: int = resamples()
    seed: int = setting(456, "seed of random circuits and edges, and of the resamples", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, given, needed in (("ablations", self.ablations, RESAMPLE), ("errors", self.errors, NODES)):
            if needed not in given or len({*given}) < len(given):
                raise ConfigError(
                    f"--{flag} is '{typed(given)}', but the circuit that is told of has {needed}\n"
                    f"Give {needed}, and each of the others once at most"
                )
