"""Seeds that depend on what is sampled, never on order, slice, batch or device."""

import hashlib


def record_seed(base_seed: int, task_id: int, temperature: float, sample_index: int) -> int:
    """Seed of one sample, in [0, 2**63).

    Any slicing, batch size or resume therefore gives the same samples.
    """
    return _seed_of(f"{base_seed}/{task_id}/{float(temperature)!r}/{sample_index}")


def document_seed(base_seed: int, text: str) -> int:
    """Seed of one document, in [0, 2**63): it depends on the text alone, not on its place among others."""
    return _seed_of(f"{base_seed}/{text}")


def direction_seed(base_seed: int, direction: str, index: int) -> int:
    """Seed of one random direction, in [0, 2**63): one of those that `direction` is compared with."""
    return _seed_of(f"{base_seed}/{direction}/{index}")


def _seed_of(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
