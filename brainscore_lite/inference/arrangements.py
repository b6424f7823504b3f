"""Arrangements of subjects under the null: flipped signs, or exchanged groups, and their t."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Floats = NDArray[np.float64]
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class SubjectDesign:
    """Values of the subjects and the arrangements under which their statistic is computed.

    An arrangement is a vector w over subjects such that w'x is the effect: signs / n, or 1/n_1 for
    one group and -1/n_2 for the other.

    Parameters
    ----------
    values : ndarray, shape (n_subjects, n_points)
    arrangements : ndarray, shape (n_permutations, n_subjects)
        The observed one first.
    shape : tuple of int
        Of one subject's values.
    exact : bool
        Whether these are all arrangements there are.
    two_groups : bool
    """

    values: Floats
    arrangements: Floats
    shape: tuple[int, ...]
    exact: bool
    two_groups: bool

    @classmethod
    def of(
        cls, values: ArrayLike, *, groups: ArrayLike | None, n_permutations: int, seed: int
    ) -> "SubjectDesign":
        """Check the values and list the arrangements, the observed one first.

        Raises
        ------
        ContractError
            As of :func:`~brainscore_lite.inference.permutation.permutation_test`.
        """
        array = _checked(values)
        check_number(n_permutations)
        draws = generator(seed, "permutation", "subject")
        if groups is None:
            arrangements, exact = _sign_flips(len(array), n_permutations, draws)
        else:
            members = _first_group(groups, len(array))
            arrangements, exact = _exchanges(members, n_permutations, draws)
        flat = array.reshape(len(array), -1)
        if groups is not None:
            flat = flat - flat.mean(axis=0)
        return cls(flat, arrangements, array.shape[1:], exact, groups is not None)

    @property
    def degrees_of_freedom(self) -> int:
        """Subjects less one, or less two with groups."""
        return len(self.values) - (2 if self.two_groups else 1)

    def observed(self) -> Floats:
        """Return t of the arrangement that was observed; shape (n_points,)."""
        first: Floats = self._t(self.arrangements[:1])[0]
        return first

    def statistics(self) -> Iterator[Floats]:
        """Yield t of some arrangements at a time, the observed first; shape (n_some, n_points)."""
        size = max(1, _CHUNK_BYTES // (8 * self.values.shape[1]))
        for start in range(0, len(self.arrangements), size):
            yield self._t(self.arrangements[start : start + size])

    def _t(self, arrangements: Floats) -> Floats:
        """Return t for each arrangement; the sum of squares is the same under all of them."""
        n = len(self.values)
        effect = arrangements @ self.values
        total = np.einsum("sp,sp->p", self.values, self.values)
        if self.two_groups:
            n_first = round(1 / arrangements[0].max())
            harmonic = n_first * (n - n_first) / n
            within = total - harmonic * effect**2
            variance = within / (n - 2) / harmonic
        else:
            variance = (total / n - effect**2) / (n - 1)
        floor = np.finfo(np.float64).eps * total / n
        result: Floats = effect / np.sqrt(np.maximum(variance, floor))
        return result


def _checked(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.size == 0 or len(array) < 2:
        raise ContractError(
            f"values have shape {array.shape}, expected (n_subjects, ...) with at least 2 subjects."
        )
    if not np.isfinite(array).all():
        broken = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        raise ContractError(
            f"{len(broken)} of {len(array)} subjects hold NaN or inf; first: position {broken[0]}. "
            "Leave those subjects or points out."
        )
    constant = np.ptp(array, axis=0) == 0
    if constant.any():
        raise ContractError(
            f"{int(constant.sum())} of {constant.size} points have the same value in every "
            "subject, so no t can be computed there. Leave them out."
        )
    return array


def check_number(n_permutations: int) -> None:
    """Raise unless there is at least one permutation."""
    if n_permutations < 1:
        raise ContractError(f"n_permutations is {n_permutations}, expected at least 1.")


def _sign_flips(n: int, n_permutations: int, draws: np.random.Generator) -> tuple[Floats, bool]:
    """Return the observed signs first, then all others or random ones; divided by n."""
    if n <= 30 and 2**n <= n_permutations:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
        return signs / n, True
    signs = draws.choice((1.0, -1.0), size=(n_permutations, n))
    signs[0] = 1.0
    return signs / n, False


def _exchanges(
    first: NDArray[np.bool_], n_permutations: int, draws: np.random.Generator
) -> tuple[Floats, bool]:
    """Return the observed groups first, then all other groupings or random ones."""
    n, n_first = len(first), int(first.sum())
    exact = comb(n, n_first) <= n_permutations
    if exact:
        chosen = [np.flatnonzero(first), *map(np.array, combinations(range(n), n_first))]
        others = [c for c in chosen[1:] if not np.array_equal(c, chosen[0])]
        members = np.zeros((len(others) + 1, n), dtype=bool)
        for row, positions in enumerate([chosen[0], *others]):
            members[row, positions] = True
    else:
        members = draws.permuted(np.tile(first, (n_permutations, 1)), axis=1)
        members[0] = first
    return np.where(members, 1 / n_first, -1 / (n - n_first)), exact


def _first_group(groups: ArrayLike, n: int) -> NDArray[np.bool_]:
    labels = np.asarray(groups)
    if labels.dtype.kind == "O":
        labels = labels.astype(str)
    kinds = np.unique(labels)
    if labels.shape != (n,) or len(kinds) != 2:
        raise ContractError(
            f"groups have shape {labels.shape} and {len(kinds)} kinds, expected one label for each "
            f"of {n} subjects, of two kinds."
        )
    first: NDArray[np.bool_] = labels == kinds[0]
    if min(first.sum(), n - first.sum()) < 2:
        raise ContractError("a group has one subject, expected at least two in each.")
    return first
