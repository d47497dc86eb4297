"""Seeds that depend on what is sampled, never on order, slice, batch or device."""

import hashlib


def record_seed(base_seed: int, task_id: int, temperature: float, sample_index: int) -> int:
    """Seed of one sample, in [0, 2**63).

    Any slicing, batch size or resume therefore gives the same samples.
    """
    key = f"{base_seed}/{task_id}/{float(temperature)!r}/{sample_index}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
