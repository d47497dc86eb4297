"""Covers common/seeds.py: seeds depend on what is sampled and on nothing else."""

from common.seeds import record_seed


def test_seeds_differ_with_every_argument_and_are_otherwise_fixed():
    seeds = {record_seed(b, t, c, s) for b in (0, 1) for t in range(50) for c in (0.3, 0.6) for s in range(5)}
    assert len(seeds) == 2 * 50 * 2 * 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert record_seed(42, 11, 0.6, 3) == 4583581167787166102 == record_seed(42, 11, 0.60, 3)


def test_a_temperature_written_as_an_integer_is_the_same_temperature():
    assert record_seed(0, 1, 1, 0) == record_seed(0, 1, 1.0, 0)
