"""Put a model where it fits: on one device, or over several and the machine's memory, by accelerate."""

from typing import cast

import torch
from accelerate import dispatch_model, infer_auto_device_map
from transformers import PreTrainedModel

from common.errors import ConfigError
from common.model.memory import free_bytes

SHARE_FOR_WEIGHTS = 0.8  # of a GPU's free memory; batches have the rest
OFFLOADED = ("cpu", "disk")

Budgets = dict[int | str, int]  # bytes by device, as accelerate calls them: 0, 1, "cpu"


def place(model: PreTrainedModel, device: str, name: str) -> PreTrainedModel:
    """The model on `device`; where it is larger than that, spread over what there is.

    `cuda` stands for every visible GPU, `cuda:1` for that one; what no GPU can hold waits in the machine's memory and
    is brought to the GPU layer by layer. Raises: ConfigError when it fits nowhere.
    """
    free = free_bytes(device)
    if not device.startswith("cuda") or free is None or model.get_memory_footprint() <= SHARE_FOR_WEIGHTS * free:
        return model.to(device)  # pyright: ignore[reportArgumentType] - its decorator hides that this is a method
    chosen = torch.device(device).index
    numbers = range(torch.cuda.device_count()) if chosen is None else [chosen]
    budgets: Budgets = {number: int(SHARE_FOR_WEIGHTS * (free_bytes(f"cuda:{number}") or 0)) for number in numbers}
    return spread(model, {**budgets, "cpu": int(SHARE_FOR_WEIGHTS * (free_bytes("cpu") or 0))}, name)


def spread(model: PreTrainedModel, budgets: Budgets, name: str) -> PreTrainedModel:
    """The model over several devices, blocks whole. Raises: ConfigError when the budgets are too small."""
    whole = model._no_split_modules
    placed = infer_auto_device_map(model, max_memory={**budgets}, no_split_module_classes=list(whole or ()))
    if "disk" in placed.values():
        held = sum(budgets.values()) / 1e9
        raise ConfigError(
            f"model '{name}' takes {model.get_memory_footprint() / 1e9:.1f} GB, and the devices and memory of this "
            f"machine have {held:.1f} GB for it, or --gpu-memory allows no more\n"
            f"Allow more with --gpu-memory, where there is more; or give a smaller model or a smaller --dtype"
        )
    skipped = getattr(model, "_skip_keys_device_placement", None)
    return cast(PreTrainedModel, dispatch_model(model, device_map=placed, skip_keys=skipped))


def is_offloaded(model: PreTrainedModel) -> bool:
    """Whether some weights are only brought to the device while they are used, and so cannot be changed in place."""
    return bool(set(getattr(model, "hf_device_map", {}).values()) & {*OFFLOADED})
