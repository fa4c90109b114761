"""Randomness as a function of what it is for, not of what was drawn before.

Every draw of a run is made from a generator named by a key such as (seed, "paste", step, slot). So a batch, an
augmentation or a dropout mask is the same whatever the number of workers and whether or not the run was
interrupted.
"""

import zlib

import numpy as np

Key = int | str


def generator(*key: Key) -> np.random.Generator:
    """The NumPy generator named by `key`: non-negative integers and names."""
    return np.random.default_rng(_entropy(key))


def seed(*key: Key) -> int:
    """A seed in [0, 2**63) named by `key`, for libraries that keep generators of their own."""
    return int(np.random.SeedSequence(_entropy(key)).generate_state(1, np.uint64)[0] >> 1)


def _entropy(key: tuple[Key, ...]) -> list[int]:
    # The length goes in as well, since SeedSequence takes [1] and [1, 0] for the same.
    return [len(key), *(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key)]
