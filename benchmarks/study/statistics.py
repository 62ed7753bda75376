"""Means with spreads, steps until an AP, and paired differences of a study's results."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import ttest_rel

Curve = Sequence[Sequence[float]]  # [[step, AP], ...]
Pair = tuple[str, int]  # the backbone and the seed that runs of two rows share
SIGNIFICANT, CONFIDENCE = 0.05, 0.95
CONFIRMED, CONTRADICTED, UNCONFIRMED = "confirmed", "contradicted", "not confirmed at this size"
SAME, OTHER = "same sign, too few seeds to judge", "other sign, too few seeds to judge"


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (None for one value) of n values."""

    mean: float
    deviation: float | None
    n: int

    def __str__(self) -> str:
        deviation = "" if self.deviation is None else f" ± {self.deviation:.1f}"
        return f"{self.mean:.1f}{deviation} (n={self.n})"

    def __format__(self, sign: str) -> str:
        """The text, with "+" before a mean that is not negative if `sign` is "+"."""
        return f"+{self}" if sign == "+" and self.mean >= 0 else str(self)


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def final(curve: Curve) -> float:
    """AP at the end."""
    return curve[-1][1]


def steps_until(curve: Curve, level: float) -> float | None:
    """The first step at which AP reaches `level`, interpolated between evaluations; None if it never does."""
    before = (0.0, 0.0)
    for step, value in curve:
        if value >= level > 0:
            share = (level - before[1]) / (value - before[1])
            return before[0] + share * (step - before[0])
        before = (step, value)
    return None


@dataclass(frozen=True)
class Difference:
    """Differences in final AP over the backbones and seeds that two rows share.

    p: the p-value of a paired t-test; None below three seeds.
    interval: the 95 % confidence interval of their mean, from the same test.
    """

    spread: Spread
    p: float | None = None
    interval: tuple[float, float] | None = None


def paired(curves: Mapping[Pair, Curve], base: Mapping[Pair, Curve]) -> Mapping[Pair, Curve]:
    """The runs of the base that have the backbones and seeds of a row; all of them if there is none."""
    return {pair: base[pair] for pair in sorted(set(curves) & set(base))} or base


def difference(curves: Mapping[Pair, Curve], base: Mapping[Pair, Curve]) -> Difference | None:
    """The difference of a row to the base, both by backbone and seed; None without a common pair."""
    pairs = sorted(set(curves) & set(base))
    if not pairs:
        return None
    ours, theirs = ([final(x[pair]) for pair in pairs] for x in (curves, base))
    deltas = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(pairs) < 3 or len(set(deltas)) == 1:
        return Difference(spread(deltas))
    test = ttest_rel(ours, theirs)
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(spread(deltas), float(test.pvalue), (float(low), float(high)))


def significant_together(ps: Mapping[str, float]) -> list[str]:
    """The names whose p-values are below `SIGNIFICANT` with Holm's correction for the number of tests."""
    found = []
    for i, name in enumerate(sorted(ps, key=ps.get)):
        if ps[name] * (len(ps) - i) >= SIGNIFICANT:
            break
        found.append(name)
    return found


def verdict(claim: int, found: Difference) -> str:
    """The verdict on a claim: its sign against the sign of the difference, if a paired test finds it significant."""
    if not claim:
        return "no claim"
    if found.p is None:
        return SAME if claim * found.spread.mean > 0 else OTHER
    if found.p >= SIGNIFICANT:
        return UNCONFIRMED
    return CONFIRMED if claim * found.spread.mean > 0 else CONTRADICTED
