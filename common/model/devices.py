"""Which device a run uses, and what `run.py test-gpu` says of it."""

import re
import time
from typing import Any

from common.cli import Parser
from common.errors import ConfigError, suggestion
from common.phases.settings import kind_of

CUDA_CONTEXT = 1.0  # of 10^9 bytes, and more than it takes
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
_NAME = re.compile(r"auto|cpu|cuda(:\d{1,3})?|mps")


def resolve_device(name: str) -> str:
    """'cuda', 'cuda:1', 'mps' or 'cpu'; auto takes the first kind that is there, and 'cuda' is the first GPU.

    Raises: ConfigError when the device is unknown, or not on this machine.
    """
    if check_device_name(name) == "cpu":
        return name
    present = [*(f"cuda:{number}" for number in range(_n_gpus())), *(["mps"] if _is_present("mps") else [])]
    if name == "auto":
        return kind_of(present[0]) if present else "cpu"
    if name not in present and name not in map(kind_of, present):
        raise ConfigError(
            f"--device is '{name}', but this machine has {', '.join([*present, 'cpu'])}\nGive one of those"
        )
    return name


def check_device_name(name: str) -> str:
    """`name`, for a phase that needs no device. Raises: ConfigError when there is no such one."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--device is '{name}'.{suggestion(name, list(DEVICES))}\nGive one of: {', '.join(DEVICES)}")
    return name


def limit_gpu_memory(device: str, gigabytes: float) -> None:
    """Let this process take at most so much of each GPU's memory [10^9 bytes]; it runs out of memory beyond.

    Of that, CUDA_CONTEXT is left to CUDA itself, which torch does not count.
    """
    if kind_of(device) != "cuda":
        return
    import torch

    gpus = [device] if ":" in device else [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    for gpu in gpus:
        total = torch.cuda.get_device_properties(gpu).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, max(0.1, gigabytes - CUDA_CONTEXT) * 1e9 / total), gpu)


def gpu_report(detailed: bool) -> list[str]:
    """Lines about every accelerator: memory, number types, and a small matrix product."""
    import torch

    lines = [f"torch {torch.__version__}, CUDA {torch.version.cuda or 'not built in'}"]
    devices = [f"cuda:{index}" for index in range(_n_gpus())]
    devices += ["mps"] if _is_present("mps") else []
    if not devices:
        return [*lines, "no GPU here: phases run on the CPU (--device cpu); the demo preset is made for that"]
    for device in devices:
        lines += _device_lines(device, detailed)
    return lines


def _n_gpus() -> int:
    import torch

    return torch.cuda.device_count() if _is_present("cuda") else 0


def _is_present(device: str) -> bool:
    import torch

    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()


def _device_lines(device: str, detailed: bool) -> list[str]:
    import torch

    types = ["float32", "bfloat16", "float16"]
    lines = [f"{device}: {_name(device)}"]
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        lines.append(f"  memory: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    for dtype in types:
        figures = _matmul(device, getattr(torch, dtype), size=4096 if detailed else 512)
        if "error" in figures:
            lines.append(f"  {dtype}: not usable: {figures['error']}")
            continue
        speed = f", {figures['tflops']:.1f} TFLOP/s" if detailed else ""
        lines.append(f"  {dtype}: matrix product correct to {figures['relative_error']:.1e}{speed}")
    if detailed and device.startswith("cuda"):
        facts = torch.cuda.get_device_properties(device)
        lines.append(f"  compute capability {facts.major}.{facts.minor}, {facts.multi_processor_count} multiprocessors")
    return lines


def _name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "Apple Metal"


def _matmul(device: str, dtype: Any, size: int) -> dict[str, Any]:
    """Relative error against float64 on the CPU, and speed of one product of size x size."""
    import torch

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator) for _ in range(2))
    try:
        a, b = left.to(device, dtype), right.to(device, dtype)
        product = (a @ b).double().cpu()  # also the warm-up
        began = time.perf_counter()
        repeats = 10
        for _ in range(repeats):
            result = a @ b
        result[0, 0].item()  # waits for the device
        seconds = (time.perf_counter() - began) / repeats
    except RuntimeError as error:  # out of memory, or a type this device lacks
        return {"error": str(error).splitlines()[0]}
    exact = a.double().cpu() @ b.double().cpu()
    return {"relative_error": ((product - exact).norm() / exact.norm()).item(), "tflops": 2e-12 * size**3 / seconds}


def main(argv: list[str], _program: object) -> int:
    parser = Parser(prog="run.py test-gpu", description="Devices, memory, number types, a small matrix product.")
    parser.add_argument("--detailed", action="store_true", help="larger products, with their speed")
    args = parser.parse_args(argv)
    print("\n".join(gpu_report(args.detailed)))
    return 0
