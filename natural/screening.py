"""Which direction phase 3.3 judges: the one with the largest wanted change on the problems that tune."""

from pathlib import Path

from common.errors import ConfigError, MissingArtifactError
from common.handoffs import COEFFICIENTS
from common.handoffs.steering import RAISE, CoefficientCurve, CoefficientsDocument, CurvePoint
from common.runs.artifacts import Artifact
from common.runs.discovery import readable_runs


def screened(data_dir: Path) -> str:
    """The direction that the newest phase 3.2 of a folder of one experiment speaks for; of several it chooses.

    Raises: MissingArtifactError where there is none; ConfigError where no direction can be steered.
    """
    finished = readable_runs(COEFFICIENTS, data_dir)
    if not finished:
        raise MissingArtifactError(
            f"{data_dir} holds no finished run of phase 3.2\nMake one with: python3 -m natural.study --help"
        )
    return chosen_direction(Artifact(COEFFICIENTS, finished[0], "python3 -m natural.study --help").document())


def chosen_direction(document: CoefficientsDocument) -> str:
    """The direction whose chosen point has the largest net change as wanted; of equals the one that was named first.

    Raises: ConfigError where every point of every direction breaks the output.
    """
    gains = {name: _gain(tuned) for name, tuned in document.directions.items() if tuned.chosen}
    if not gains:
        raise ConfigError(
            f"every coefficient of {', '.join(document.directions)} breaks the output: phase 3.3 has nothing to judge\n"
            "Give smaller coefficients in natural/plan.py"
        )
    return max(gains, key=gains.__getitem__)


def _gain(tuned: CoefficientCurve) -> float:
    sign = 1 if tuned.wanted == RAISE else -1
    return sign * next(point for point in tuned.curve if _is(point, tuned)).net_change.known


def _is(point: CurvePoint, tuned: CoefficientCurve) -> bool:
    dose = tuned.chosen
    return dose is not None and (point.layer, point.coefficient) == (dose.layer, dose.coefficient)
