"""Random numbers as in train/src/random.rs: pure functions of a seed and an index, for arrays of indices."""

import math

import numpy as np

_U = np.uint64
MASK = (1 << 64) - 1


def hash64(seed, place) -> np.ndarray:
    """64 mixed bits of each place; `seed` is a number or an array."""
    seed, place = np.asarray(seed, dtype=_U), np.asarray(place, dtype=_U)
    with np.errstate(over="ignore"):
        z = (seed * _U(0xD6E8FEB86659FD93)) ^ ((place + _U(1)) * _U(0x9E3779B97F4A7C15))
        for _ in range(2):
            z = (z ^ (z >> _U(30))) * _U(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> _U(27))) * _U(0x94D049BB133111EB)
            z = z ^ (z >> _U(31))
    return z


def uniform(seed, place) -> np.ndarray:
    """Uniform in [0, 1)."""
    return (hash64(seed, place) >> _U(11)).astype(np.float64) / float(1 << 53)


def normal(seed, place) -> np.ndarray:
    """Standard normal (Box and Muller)."""
    place = np.asarray(place, dtype=_U)
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform(seed, _U(2) * place)))
    return radius * np.cos(math.tau * uniform(seed, _U(2) * place + _U(1)))
