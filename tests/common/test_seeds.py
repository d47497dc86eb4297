"""Covers common/seeds.py: seeds depend on what is sampled and on nothing else."""

from common.seeds import direction_seed, document_seed, record_seed


def test_seeds_differ_with_every_argument_and_are_otherwise_fixed():
    seeds = {record_seed(b, t, c, s) for b in (0, 1) for t in range(50) for c in (0.3, 0.6) for s in range(5)}
    assert len(seeds) == 2 * 50 * 2 * 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert record_seed(42, 11, 0.6, 3) == 4583581167787166102 == record_seed(42, 11, 0.60, 3)


def test_a_temperature_written_as_an_integer_is_the_same_temperature():
    assert record_seed(0, 1, 1, 0) == record_seed(0, 1, 1.0, 0)


def test_the_seed_of_a_document_follows_its_text_and_the_base_seed():
    seeds = {document_seed(base, text) for base in (0, 1) for text in ("", "a", "b", "\ud83d", "é")}
    assert len(seeds) == 10 and all(0 <= seed < 2**63 for seed in seeds)
    assert document_seed(42, "some text") == 2552485765860127044


def test_a_random_direction_s_seed_follows_its_counterpart_and_number():
    """The seed of a random direction follows whom it is compared with and its number."""
    seeds = {
        direction_seed(b, name, i) for b in (0, 1) for name in ("steer_correct", "steer_incorrect") for i in range(9)
    }
    assert len(seeds) == 2 * 2 * 9 and direction_seed(42, "steer_correct", 3) == 4729550561053031118
