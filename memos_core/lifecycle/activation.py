"""Activation: how much use something has seen, each use fading with time.

Base-level learning of ACT-R: B = ln(sum of t^-d over all uses), t being the time since a use and d = 0.5. Anderson and
Schooler (Psychological Science 2, 1991) found the odds that something is needed to follow this law, in newspapers, mail and
speech. Keeping every use would cost more the more a thing is used, so the newest is kept exactly, and all others count as if
they had come evenly between the first and the last (the hybrid approximation, with one exact use; Petrov, ICCM 2006).
How likely a thing is to be needed again is 1 / (1 + e^(-(B - threshold) / noise)), as in ACT-R.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos_core.types.uses import Use

Doubles = NDArray[np.float64]

DECAY: Final = 0.5
UNIT: Final = 86_400_000_000  # microseconds: times are counted in days, so that one use a day ago has activation 0
LEAST: Final = 1 / 24  # days: what was used within the hour counts as used an hour ago
THRESHOLD: Final = 0.0
NOISE: Final = 0.4


def base_levels(total: Doubles, newest: Doubles, first_at: Doubles, last_at: Doubles, now: int) -> Doubles:
    """Activations (things,); minus infinity where the total is 0. The arguments are the fields of `Use`, one each.

    Args:
        now: microseconds since 1970. What was used after it (clocks differ) counts as used just now.
    """
    last = np.maximum((now - last_at) / UNIT, LEAST)
    first = np.maximum((now - first_at) / UNIT, last)
    rest = np.maximum(total - newest, 0.0)
    # the mean of t^-d between the first and the last, which is that of one moment where they are the same
    span = first - last
    apart = span > 1e-9
    power = 1 - DECAY
    spread = (first**power - last**power) / (power * np.where(apart, span, 1.0))
    even = np.where(apart, spread, last**-DECAY)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(newest * last**-DECAY + rest * even))


def base_level(use: Use, now: int) -> float:
    """The activation of one thing; as `base_levels`."""
    total, newest, first, last = np.array([[use.total], [use.newest], [use.first_at], [use.last_at]], dtype=np.float64)
    return float(base_levels(total, newest, first, last, now)[0])


def likelihoods(levels: Doubles) -> Doubles:
    """How likely things of these activations are to be needed again, in [0, 1); 0 for what was never used."""
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum(-(levels - THRESHOLD) / NOISE, 700.0)))) * np.isfinite(levels)


def likelihood(use: Use, now: int) -> float:
    """How likely one thing is to be needed again; as `likelihoods`."""
    return float(likelihoods(np.array([base_level(use, now)]))[0])
