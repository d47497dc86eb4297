"""A graph by circuit-tracer 0.5.0, run by the Python of its own environment: `python circuit_tracer_graph.py FOLDER`.

FOLDER/request.json says what is wanted, FOLDER/transcoders.safetensors has "0.W_enc" [d_sae, d_model] and so on of each
layer. FOLDER/graph.safetensors and FOLDER/answer.json are written: processor seconds for each batch size, scores.
"""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

JUMPRELU_BANDWIDTH = 0.1  # of the gradient in training, which a graph does not ask for


def replacement_model(request: dict, weights: dict[str, torch.Tensor]):
    from circuit_tracer import ReplacementModel
    from circuit_tracer.transcoder.activation_functions import JumpReLU
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet

    made, device = {}, torch.device("cpu")
    for layer in range(request["n_layers"]):
        own = {name.partition(".")[2]: tensor for name, tensor in weights.items() if name.startswith(f"{layer}.")}
        threshold = own.pop("threshold")
        gate = JumpReLU(threshold, JUMPRELU_BANDWIDTH) if threshold.any() else torch.relu
        d_sae, d_model = own["W_enc"].shape
        one = SingleLayerTranscoder(d_model, d_sae, gate, layer, dtype=torch.float32, device=device)
        one.load_state_dict(own, strict=False)
        made[layer] = one
    hooks = {"feature_input_hook": request["reads"], "feature_output_hook": "hook_mlp_out"}
    return ReplacementModel.from_pretrained_and_transcoders(
        request["model"],
        TranscoderSet(made, **hooks, scan="oracle"),
        device=device,
        dtype=torch.float32,
        backend=request["backend"],
    )


def main(folder: Path) -> None:
    from circuit_tracer import attribute
    from circuit_tracer.graph import compute_graph_scores, prune_graph

    torch.set_num_threads(1)
    request = json.loads((folder / "request.json").read_text())
    model = replacement_model(request, load_file(folder / "transcoders.safetensors"))
    tokens, seconds = torch.tensor(request["tokens"]), {}
    for batch_size in request["batch_sizes"]:
        began = time.process_time()
        graph = attribute(tokens, model, batch_size=batch_size, verbose=False)
        seconds[str(batch_size)] = time.process_time() - began
    pruned, (replacement, completeness) = prune_graph(graph), compute_graph_scores(graph)
    selected = graph.selected_features
    tensors = {
        "edges": graph.adjacency_matrix,
        "latents": graph.active_features[selected],
        "activations": graph.activation_values[selected],
        "tokens": graph.input_tokens,
        "target_tokens": graph.logit_token_ids,
        "probabilities": graph.logit_probabilities,
        "kept_nodes": pruned.node_mask,
        "kept_edges": pruned.edge_mask,
    }
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / "graph.safetensors")
    answer = {"seconds": seconds, "replacement": float(replacement), "completeness": float(completeness)}
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
