"""Phase 4.1: a detector that says beforehand which texts a code model will get wrong, and how good it is at that.

    python3 run.py phase 4.1 --model google/gemma-2-2b
    python3 run.py phase 4.1 --model google/gemma-2-2b-it --labelled my_programs.jsonl

1. Latents of one layer that tell what fails from what passes, and their weights, on the `sae` split; what that whole
   procedure is worth there, by nested cross-validation (discovery.py).
2. Probability, threshold and abstain band on `hyperparams` (calibration.py).
3. On `validation`, once: the evaluation card beside simpler scores, and whether the target was met (evaluation.py).
4. The detector as a folder of its own, `detector/`, which `run.py detect` and the Python API load (detector.py).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from common.errors import ConfigError
from common.handoffs.document import as_json
from common.handoffs.estimates import Interval
from common.phases.context import RunContext
from common.saes.activations import check_reads_the_residual_stream
from common.saes.encoder import LayerSae
from common.saes.rates import firing_rates, settled_limit
from common.saes.sources import SaeSource, sae_source
from phase4_anomaly_detection.config import DetectorPhaseConfig
from phase4_anomaly_detection.detector import SCHEMA_VERSION, SUBFOLDER, AnomalyDetector
from phase4_anomaly_detection.discovery import FeatureDiscovery, Found, OutOfFold, auroc_of_best_layer, contents
from phase4_anomaly_detection.evaluation import Baseline, baselines, evaluate
from phase4_anomaly_detection.held_out_use import note_use
from phase4_anomaly_detection.options import Target
from phase4_anomaly_detection.texts import Texts, check_layer, known_layer, stored_text, texts_of


def run(ctx: RunContext[DetectorPhaseConfig], config: DetectorPhaseConfig) -> None:
    source = sae_source(config.sae, config.model, config.sae_revision)
    check_reads_the_residual_stream(source)
    with ctx.write() as out:  # first: what is built already need not be read
        if source.note:
            ctx.log.info("%s: %s", source.name, source.note)
        texts, discovery = texts_of(ctx, config, source), FeatureDiscovery(config.discovery())
        chosen = _chosen(ctx, config, texts, discovery, source)
        sae, resid = texts.sae(chosen.layer), texts.activations.of_layer(chosen.layer)
        detector = _discovered(ctx, config, texts, discovery, chosen, sae, resid)
        detector = detector.having(layers_tried=chosen.tried, experiment=out.identity["experiment"])
        readings = note_use(ctx, detector, config.reuse_validation)  # no number of validation was seen so far
        scores = detector.scores(resid)
        others = baselines(texts, resid.double().numpy(), Target.parse(config.target), config.seed)
        elsewhere = _scores_elsewhere(detector, texts)
        card, verdict = evaluate(detector, scores, texts, others, config.n_resamples, config.seed, elsewhere)
        firing = detector.activations(resid[texts.of("validation")]) > 0
        detector = _judged(detector, {**card, "readings": readings}, verdict, firing)
        for name, data in detector.files().items():
            out.file(f"{SUBFOLDER}/{name}", data)
        out.columns("scores.parquet", _columns(detector, texts, scores, others))
        out.summary = _summary(detector)
        ctx.log.info("%s", words(detector))


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """The layer, what was found there, what finding it is worth, and the AUROC of every layer if they were compared."""

    layer: int
    found: Found
    cross_validated: Interval
    tried: dict[str, float]


def _chosen(
    ctx: RunContext, config: DetectorPhaseConfig, texts: Texts, discovery: FeatureDiscovery, source: SaeSource
) -> _Chosen:
    """The best layer, on the `sae` split alone. Raises: ConfigError where no layer has a latent that may be used."""
    layers, known, selects = texts.activations.layers, known_layer(config), texts.of("sae")
    if known is not None and (known in layers or config.layer != "auto"):
        check_layer(known, layers, source.name)
        layers = [known]
    by_layer, judged, refusals = {}, {}, []
    for layer in layers:
        try:
            by_layer[layer], judged[layer] = _of_layer(ctx, config, texts, discovery, layer)
        except ConfigError as error:  # another layer may have latents that are left
            refusals.append(error)
            continue
        words = "layer %d: %d latents, AUROC %.3f, mean of five folds of the sae split"
        ctx.log.info(words, layer, len(by_layer[layer].latents), by_layer[layer].auroc)
    if not by_layer:
        raise refusals[0]
    best = max(by_layer, key=lambda layer: by_layer[layer].auroc)
    area = auroc_of_best_layer(judged, texts.incorrect[selects])
    ctx.log.info("layer, latents and weights chosen anew in each of five outer folds: AUROC %.3f", area.known)
    tried = {str(layer): each.auroc for layer, each in by_layer.items()} if len(layers) > 1 else {}
    return _Chosen(best, by_layer[best], area, tried)


def _of_layer(
    ctx: RunContext, config: DetectorPhaseConfig, texts: Texts, discovery: FeatureDiscovery, layer: int
) -> tuple[Found, OutOfFold]:
    """What is found in a layer, and out of folds. Its SAE and activations are gone when this returns."""
    sae, selects = texts.sae(layer), texts.of("sae")
    given = (
        _encoded(sae, texts.activations.of_layer(layer)[selects]),
        texts.incorrect[selects],
        _rates(ctx, config, sae),
    )
    return discovery.find(*given), discovery.judge(*given)


def _discovered(
    ctx: RunContext,
    config: DetectorPhaseConfig,
    texts: Texts,
    discovery: FeatureDiscovery,
    chosen: _Chosen,
    sae: LayerSae,
    resid: Any,
) -> AnomalyDetector:
    """The detector with calibration and threshold; nothing of the validation split is looked at."""
    selects, tuning, chosen_latents = texts.of("sae"), texts.of("hyperparams"), chosen.found
    rates = _rates(ctx, config, sae)
    given = _encoded(sae, resid[selects]), texts.incorrect[selects], rates
    settled = 1.0 if rates is None else settled_limit(config.general_text_limit, rates)
    counts = {
        **chosen_latents.counts,
        "significant among them": discovery.count_significant(*given),
        "used": len(chosen_latents.latents),
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": texts.activations.model,
        "sae": {"id": sae.id, "identity": config.experiment()["sae"], "revision": sae.revision},
        "layer": sae.layer,
        "site": sae.site,
        "text": texts.described,
        "population": as_json(texts.population),
        "latents": contents(chosen_latents),
        "weights_rule": config.rule,
        "selection": {
            **dataclasses.asdict(discovery.config),
            "settled_general_text_limit": settled,
            "counts": counts,
            "strength": chosen_latents.strength,
            "auroc_of_choice": chosen_latents.auroc,
            "cross_validated_auroc": as_json(chosen.cross_validated),
        },
        "seed": config.seed,
    }
    detector = _of_latents(sae, chosen_latents.latents, document)
    detector = detector.having(**config.decide(detector.scores(resid[tuning]), texts.incorrect[tuning]))
    ctx.log.info("layer %d: %d latents, by the rule %s", sae.layer, len(chosen_latents.latents), config.rule)
    return detector


def _of_latents(sae: LayerSae, latents: np.ndarray, document: dict[str, Any]) -> AnomalyDetector:
    W_enc, b_enc, threshold = sae.W_enc[:, latents], sae.b_enc[latents], sae.threshold[latents]
    return AnomalyDetector(W_enc.detach().numpy(), b_enc.detach().numpy(), threshold.detach().numpy(), document)


def _encoded(sae: LayerSae, resid: Any) -> Any:
    """Activations of every latent. Raises: ConfigError where they depend on each other."""
    if sae.top_k is not None:
        raise ConfigError(
            f"{sae.id} keeps the {sae.top_k} largest latents of all, so a few of them cannot be read alone\n"
            f"Give SAEs with a threshold (JumpReLU or ReLU) with --sae"
        )
    with torch.no_grad():
        return sae.encode(resid)


def _scores_elsewhere(detector: AnomalyDetector, texts: Texts) -> np.ndarray | None:
    """What it would say of the validation split's texts of the other kind, where they are read: it abstains there."""
    if texts.other is None or texts.other.activations is None:
        return None
    return detector.scores(texts.other.activations.of_layer(detector.layer))


def _rates(ctx: RunContext, config: DetectorPhaseConfig, sae: LayerSae) -> np.ndarray | None:
    """Firing rates on general text; None where no baseline is asked for."""
    if not config.leaves_general_text_out:
        return None
    return firing_rates(sae, stored_text(ctx).every_of_layer(sae.layer))


def _judged(detector: AnomalyDetector, card: dict[str, Any], verdict: str, firing: np.ndarray) -> AnomalyDetector:
    """The detector with its card, its verdict, and how often each latent fires on the validation split."""
    counts = firing.sum(axis=0).tolist()
    latents = [{**latent, "n_fired": n, "n": len(firing)} for latent, n in zip(detector.latents, counts, strict=True)]
    return detector.having(card=card, verdict=verdict, latents=latents)


def _columns(
    detector: AnomalyDetector, texts: Texts, scores: np.ndarray, others: list[Baseline]
) -> dict[str, np.ndarray]:
    """scores.parquet: the detector on every text, then each baseline."""
    n = len(scores)
    label = np.where(texts.incorrect, "incorrect", "correct")
    every = {"task_id": texts.task_ids, "split": texts.split, "label": label}

    def part(name: str, values: Any, threshold: float | None, probability: Any, route: Any) -> dict[str, Any]:
        said = {"score": np.full(n, name, dtype=object), **every, "value": values}
        said |= {"threshold": np.full(n, threshold), "probability": probability}
        return {**said, "route": np.array(route, dtype=object)}

    own = part("detector", scores, detector.threshold, detector.probabilities(scores), detector.routes(scores))
    parts = [own, *(part(each.name, each.values, each.threshold, np.full(n, np.nan), [""] * n) for each in others)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _summary(detector: AnomalyDetector) -> dict[str, Any]:
    card = detector.document["card"]
    return {
        "verdict": detector.verdict,
        "layer": detector.layer,
        "latents": len(detector.latents),
        "auroc": card["detector"]["auroc"]["value"],
        "expected_calibration_error": card["calibration"]["ece"],
        "target": f"{card['target']['kind']}={card['target']['wanted']:g} {card['target']['met']}",
    }


def words(detector: AnomalyDetector) -> str:
    """The verdict with the numbers that it rests on."""
    card = detector.document["card"]
    point, target, area = card["operating_point"], card["target"], card["detector"]["auroc"]
    value = "undefined" if target["value"] is None else f"{target['value']:.3f}"
    wanted = f"{target['kind']} {value}, wanted {target['wanted']:g}: {target['met']}"
    more, gain = card["auroc_minus"]["logistic regression"], point["recall_minus_flag_rate"]
    return (
        f"{detector.verdict}. AUROC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}), beside a probe "
        f"of the whole residual stream {more['value']:+.3f} ({more['low']:+.3f} to {more['high']:+.3f}). "
        f"It flags {point['flag_rate']['value']:.3f} of the texts and {point['recall']['value']:.3f} of the incorrect "
        f"ones, {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}) beside a random score; {wanted}"
    )
