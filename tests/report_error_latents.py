"""Documents of phases 6.3 to 6.5, made by hand in the form that the phases give them, for tests of the report."""

from collections.abc import Callable
from typing import Any

from report_drawings import picture
from report_selection import interval


def error_attribution(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 6.3: most of the effect runs through errors, and nothing is held out."""

    def fill(out: Any) -> None:
        shares = {"signed": 0.1, "absolute": 0.2, "exact": None, "latents": 0.8}
        layer = {"layer": 1, "worth": 1.0, "clean": 0.1, "corrupted": 0.2, "ig": 1.01, "n_points": 10, "errors": shares}
        errors = {"share": interval(0.7), "clean": 0.1, "corrupted": -0.4}
        nulls = {"n": n, "change": 0.3, "largest": 0.1, "above": 40}
        named = dict.fromkeys(("clean", "corrupted", "ig"), 0.8)
        exact = {"n": n, "between": 0.3, **dict.fromkeys(("noising", "denoising", "mean", "pearson"), named)}
        shape = {"contrast": "TypeError/SyntaxError", "format": "seed", "template": hostile, "shape": 0, "n_tokens": 20}
        shape |= {"n": n, "clean": 5.0, "corrupted": -4.0, "effect": interval(9.0), "n_nodes": 5000, "exact": exact}
        shape |= {"layers": [layer | {"differs": {"end": 1.6, hostile: None}}], "held_out": None}
        shape |= {"error_share": errors, "null_pairs": nulls}
        given = {"site": "hook_resid_post", "dictionaries": hostile, "note": hostile, "n": n, "held_out": None}
        out.document("attribution.json", given | {"error_share": errors, "null_pairs": nulls, "shapes": [shape]})
        top = {"layer": 1, "latent": 7, "place": hostile, "effect": -1.0, "share": -0.1, "noising": None}
        top |= {"denoising": 0.4, "above_null": True, "templates": {hostile: 0.1}, "url": "javascript:alert(1)"}
        top |= {"promotes": [{"token": hostile, "effect": 1.0}], "suppresses": None}
        out.document("top_latents.json", {"contrasts": {"TypeError/SyntaxError": [top]}})
        out.file("figures/error_shares.png", picture())

    return fill


def error_latent_circuits(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 6.4: one contrast, in which one ranking reaches what is enough and one does not."""

    def fill(out: Any) -> None:
        share, beside = interval(0.8), {"n": 5, "mean": 0.0, "largest": 0.1}
        point = {"size": 100, "errors": 3, "faithfulness": share, "completeness": interval(0.1), "random": beside}
        curve = {"ranking": "positive", "ablation": "resample", "error_nodes": "nodes", "split": "report", "n": n}
        curve |= {"clean": 5.0, "nothing": -4.0, "points": [point, point | {"size": 5000, "random": None}]}
        enough = {"ranking": "positive", "enough": 0.8, "size": 100, "of": 3000, "faithfulness": share}
        transfer = {"template": hostile, "shape": 0, "own": False, "n": n, "size": 100}
        transfer |= {"faithfulness": interval(0.1), "random": beside}
        edges = {"n": n, "n_nodes": 50, "n_edges": 300, "n_pairs": 500, "node_circuit": share, "all_pairs": share}
        edges |= {"points": [{"size": 100, "faithfulness": interval(0.2), "random": None}]}
        edges |= {"absolute": {"weight": 10.0, "skip": 7.0}, "path_patching": {"n": 50, "sign": 0.9}}
        edges["path_patching"] |= {"rank_correlation": 0.6, "noising": 0.4, "denoising": 0.5}
        nulls = {"threshold": 0.1, "size": 0, "faithfulness": None}
        told = {"faithfulness": share, "completeness": interval(0.0), "error_share": share, "null_pairs": nulls}
        circuit = {"contrast": "TypeError/SyntaxError", "format": "seed", "template": hostile, "shape": 0, **told}
        circuit |= {"n": n, "n_held_out": n, "n_nodes": 5000, "size": 100, "curves": [curve], "edges": edges}
        circuit |= {"enough": [enough, enough | {"ranking": "mask", "size": None, "faithfulness": None}]}
        circuit["one_layer"] = [{"kept": 10, "split": "report", "layers": {"0": 0.5, "1": None}, "product": None}]
        mask = {"weight": 1.0, "open": 60, "of": 2000, "loss": 0.1, "select": share, "held_out": None}
        circuit |= {"transfers": [transfer], "masks": [mask]}
        given = {"site": "hook_resid_post", "dictionaries": hostile, "held_out": n, "edges": None}
        out.document("circuits.json", given | told | {"circuits": [circuit]})
        out.file("figures/edges_TypeError_SyntaxError.png", picture())

    return fill


def error_nodes(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 6.5: a latent that tells an error, one that tells nothing, and an error."""

    def fill(out: Any) -> None:
        node = {"layer": 1, "position": 3, "place": hostile, "token": hostile, "effect": 1.5, "share": 0.4}
        node |= {"above_null": True, "templates": {hostile: None}}
        latents = [{"latent": latent, "clean": 2.0, "corrupted": 0.0} for latent in (7, 8)]
        error = {"clean": 0.3, "corrupted": 0.4, "differs": None}
        contrast = {"contrast": "TypeError/SyntaxError", "format": "seed", "template": hostile, "shape": 0}
        contrast |= {"source": "of the circuit that phase 6.4 found", "of": 100, "effect": 3.5}
        contrast["nodes"] = [{**node, "what": what} for what in (*latents, error)]
        kind = {"n": n, "mean": 1.0, "fires": 0.5, "added": None}
        template = {"contrast": "TypeError/SyntaxError", "template": hostile, "n": n, "clean": 2.0, "corrupted": 0.0}
        templates = [
            template | {"effect": 3.0, "share": 0.5},
            template | {"template": "b", "effect": 0.0, "share": 0.0},
        ]
        share, nothing = interval(0.9), {"value": None, "low": None, "high": None}
        selective = {"error": hostile, "n": n, "others": n, "auroc": share, "within": share}
        first = {"layer": 1, "latent": 7, "format": "seed", "n": 2 * n, "fires": n, "largest": 2.0, "spread": 1.0}
        first |= {"places": {hostile: n}, "kinds": {hostile: kind}, "selective": selective, "templates": templates}
        first |= {"promotes": [{"token": hostile, "effect": 1.0}], "suppresses": None, "url": "javascript:alert(1)"}
        second = {**first, "latent": 8, "spread": None, "selective": {**selective, "auroc": nothing, "within": nothing}}
        given = {"site": "hook_resid_post", "dictionaries": hostile, "n": 2 * n, "templates": 1}
        out.document("nodes.json", {**given, "contrasts": [contrast], "latents": [first, second]})
        out.table("snippets.parquet", [_snippet(hostile, what, arm) for what, arm in _SNIPPETS])

    return fill


_SNIPPETS = (("pair", "clean"), ("pair", "corrupted"), ("top", "clean"))


def _snippet(hostile: str, what: str, arm: str) -> dict[str, Any]:
    """A program of three tokens, one of which is anything."""
    row = {"layer": 1, "latent": 7, "format": "seed", "what": what, "rank": 0, "split": "select", "arm": arm}
    row |= {"contrast": "TypeError/SyntaxError", "template": hostile, "shape": 0, "pair": 3, "error": hostile}
    row |= {"peak": 2.0, "position": 2, "first": 1}
    return {**row, "tokens": ["print(", hostile, "↵"], "activations": [0.0, 2.0, 0.5]}


def of_error_latents(hostile: str, n: int) -> dict[str, Callable[[Any], None]]:
    """What fills a run of phases 6.3 to 6.5, by the name of its artifact."""
    fills = {"error_attribution": error_attribution, "error_latent_circuits": error_latent_circuits}
    fills["error_nodes"] = error_nodes
    return {name: fill(hostile, n) for name, fill in fills.items()}
