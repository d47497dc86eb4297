"""Everything that is tried on one prompt: its graph, what it names, and what becomes of the answer without it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.model.language_model import LanguageModel
from common.tables import TableRow
from phase5_attribution_graphs.interventions.ablations import ALL, OTHERS, ablated, is_row, null_effects, ranked
from phase5_attribution_graphs.interventions.circuits import KEPT, TOP_INFLUENCE, TOP_SIGNED, Circuit, find_circuit
from phase5_attribution_graphs.interventions.config import CircuitInterventionsConfig
from phase5_attribution_graphs.interventions.importance import Importance, importance
from phase5_attribution_graphs.interventions.means import MeanActivations
from phase5_attribution_graphs.interventions.measuring import Meter
from phase5_attribution_graphs.interventions.nulls import seed_of
from phase5_attribution_graphs.interventions.patching import PAIRED, Partner, patched, state_of_pair
from phase5_attribution_graphs.interventions.rows import ZERO
from phase5_attribution_graphs.interventions.steering import steered
from phase5_attribution_graphs.replacement.transcoders import Transcoder

OF_SWEEP = 2  # a purpose of random draws, beside those of the two named sets
COPIED = ("behaviour", "prompt", "correct_answer", "incorrect_answer")


@dataclass(frozen=True)
class Studied:
    """What is kept of one prompt: rows, and what null sets reach, [n_nulls] by named set."""

    circuit: TableRow
    effects: list[TableRow]
    importance: list[TableRow]
    nulls: dict[str, np.ndarray]


class Study:
    """Studies prompts of one model; `prompts` are all of phase 5.1, by their records."""

    def __init__(
        self,
        lm: LanguageModel,
        transcoders: Sequence[Transcoder | None],
        prompts: Sequence[TableRow],
        config: CircuitInterventionsConfig,
        log: logging.Logger,
    ) -> None:
        self._lm, self._transcoders, self._config, self._log = lm, transcoders, config, log
        self._means = MeanActivations(lm, transcoders, prompts)
        self._prompts = {prompt["record"]: prompt for prompt in prompts}

    def of(self, prompt: TableRow) -> Studied:
        config, record = self._config, prompt["record"]
        circuit = find_circuit(
            self._lm,
            self._transcoders,
            prompt["token_ids"],
            (prompt["correct_token"], prompt["incorrect_token"]),
            set_size=config.set_size,
            max_latents=config.max_latents,
            max_memory_mb=config.max_memory,
        )
        meter = Meter(self._lm, circuit.run, self._transcoders, circuit.target, config.batch_size, self._log)
        means = {
            name: self._means.of(prompt["behaviour"], circuit.latents[index], circuit.graph.n_pos)
            for name, index in circuit.named.items()
        }
        nulls = null_effects(circuit, meter, config.n_nulls, config.seed, record)
        effects = ranked(circuit, meter, ablated(circuit, meter, means, config.inhibit), nulls)
        effects += steered(circuit, meter, self._transcoders, config.coefficients)
        partner = self._partner(prompt)
        if partner is not None and state_of_pair(prompt["token_ids"], partner) == PAIRED:
            arguments = (self._lm, self._transcoders, circuit, meter, record, partner, config.batch_size, self._log)
            effects += patched(*arguments)
        swept = importance(circuit, meter, config.n_swept, seed_of(config.seed, record, OF_SWEEP))
        matched = nulls.drawn[TOP_SIGNED]
        figures = {
            "partner": state_of_pair(prompt["token_ids"], partner),
            "unmatched": matched.unmatched,
            "activation_ratio": matched.activation_ratio,
        }
        return Studied(
            circuit={**_facts(prompt, circuit, meter, effects, swept), **figures},
            effects=effects,
            importance=swept.rows,
            nulls={TOP_SIGNED: nulls.effects, TOP_INFLUENCE: nulls.each},
        )

    def _partner(self, prompt: TableRow) -> Partner | None:
        partner = self._prompts.get(prompt["pair"])
        return None if partner is None else Partner(partner["record"], partner["token_ids"])


def _facts(prompt: TableRow, circuit: Circuit, meter: Meter, effects: list[TableRow], swept: Importance) -> TableRow:
    """The prompt's row of circuits.parquet, but for its partner and its null sets."""
    graph, baseline = circuit.graph, meter.baseline
    left = {
        name: baseline - next(row["effect"] for row in effects if is_row(row, ZERO, name))
        for name in (KEPT, OTHERS, ALL)
    }
    without_errors, same_token = meter.without_errors()
    carried = baseline - left[ALL]
    return {
        **{name: prompt[name] for name in COPIED},
        "n_tokens": graph.n_pos,
        "n_active": graph.n_active,
        "n_rows": graph.n_latents,
        "n_kept": len(circuit.kept),
        "baseline": baseline,
        "baseline_before_cap": float(graph.values[graph.n_latents]),
        "errors_direct": circuit.scores.errors_direct,
        "errors_signed": circuit.scores.errors_signed,
        "replacement": circuit.scores.replacement,
        "without_others": left[OTHERS],
        "without_kept": left[KEPT],
        "without_latents": left[ALL],
        "faithfulness": (left[OTHERS] - left[ALL]) / carried if carried else float("nan"),
        "left": (left[KEPT] - left[ALL]) / carried if carried else float("nan"),
        "without_errors": without_errors,
        "same_token": same_token,
        "n_swept": sum(row["kept"] for row in swept.rows),
        "n_important": sum(row["kept"] and row["q"] <= 0.05 for row in swept.rows),
        **swept.correlations,
    }
