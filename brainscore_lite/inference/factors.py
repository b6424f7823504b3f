"""What a conclusion generalises to: the factors of a comparison, their sizes and their words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.schema import ContractError

Factor = Literal["stimuli", "subjects", "neuroids", "animals", "seeds"]
FACTORS: tuple[Factor, ...] = get_args(Factor)
FEWEST_ANIMALS = 5


@dataclass(frozen=True, eq=False)
class Population:
    """The entries of every factor that a set of comparisons has.

    Parameters
    ----------
    n_stimuli : int
    n_subjects : int
        0 without a subject dim.
    animal : ndarray of str, shape (n_neuroids,), or None
        The animal of each neuroid; None without a neuroid dim.
    n_seeds : tuple of int
        Of each model.
    """

    n_stimuli: int
    n_subjects: int
    animal: NDArray[np.str_] | None
    n_seeds: tuple[int, ...]

    @classmethod
    def of(cls, parts: xr.DataArray, *, n_stimuli: int, n_seeds: tuple[int, ...]) -> "Population":
        """Read the factors off the parts of a comparison."""
        animal = None
        if "neuroid" in parts.dims:
            same = np.full(parts.sizes["neuroid"], "one animal")
            animal = parts["animal"].values.astype(str) if "animal" in parts.coords else same
        return cls(
            n_stimuli=n_stimuli,
            n_subjects=parts.sizes.get("subject", 0),
            animal=animal,
            n_seeds=n_seeds,
        )

    def size(self, factor: Factor) -> int:
        """Return how many entries a factor has; 0 where the comparisons have no such factor."""
        if factor == "stimuli":
            return self.n_stimuli
        if factor == "subjects":
            return self.n_subjects
        if factor == "seeds":
            return min(self.n_seeds)
        if self.animal is None:
            return 0
        return len(self.animal) if factor == "neuroids" else len(np.unique(self.animal))


@dataclass(frozen=True, eq=False)
class Generalisation:
    """To which factors a conclusion generalises, and what follows for its variance.

    Parameters
    ----------
    factors : frozenset of factor
        As asked for.
    population : Population
    """

    factors: frozenset[Factor]
    population: Population

    @classmethod
    def checked(cls, asked: Collection[str], population: Population) -> "Generalisation":
        """Check that the comparisons allow what is asked.

        Raises
        ------
        ContractError
            If a factor is unknown, absent, or has too few entries to generalise to.
        """
        if isinstance(asked, str) or not asked or set(asked) - set(FACTORS):
            raise ContractError(
                f"generalise_to is {asked!r}, expected a non-empty set of {FACTORS}."
            )
        factors = frozenset(factor for factor in FACTORS if factor in asked)
        for factor in sorted(factors):
            _check_size(factor, population)
        return cls(factors, population)

    @property
    def resampled(self) -> tuple[Factor, ...]:
        """The factors drawn: animals bring their neuroids, which are not drawn again."""
        nested = "animals" in self.factors
        return tuple(f for f in FACTORS if f in self.factors and not (nested and f == "neuroids"))

    @property
    def sizes(self) -> dict[str, float]:
        """Entries of each factor that is drawn, as the variance correction takes them.

        Draws within animals shrink the variance by 1 - n_animals / n_neuroids; weights of seeds
        are scaled already.
        """
        population = self.population
        known: dict[str, float] = {f: float(population.size(f)) for f in self.resampled}
        if "neuroids" in known:
            known["neuroids"] /= population.size("animals")
        return {f: np.inf if f == "seeds" else n for f, n in known.items()}

    @property
    def entries_free(self) -> dict[str, int]:
        """Degrees of freedom of each factor that is drawn."""
        lost = {"neuroids": self.population.size("animals")}
        return {f: self.population.size(f) - lost.get(f, 1) for f in self.resampled}

    @property
    def over(self) -> str:
        """The factors, in words."""
        return " x ".join(self.resampled)

    @property
    def n(self) -> str:
        """The factors with their sizes, in words."""
        return " x ".join(f"{self._size(factor)} {factor}" for factor in self.resampled)

    @property
    def conditional_on(self) -> tuple[Factor, ...]:
        """The factors that a conclusion does not generalise to."""
        apart = {"animals", "neuroids"} if self.population.n_subjects else {"subjects"}
        within = {"neuroids"} if "animals" in self.factors else set()
        return tuple(f for f in FACTORS if f not in self.factors | apart | within)

    @property
    def sentence(self) -> str:
        """What the conclusions hold for."""
        nested = {"animals": "animals (with their neuroids)"}
        new = _listed([nested.get(factor, factor) for factor in self.resampled])
        fixed = _listed([self._fixed(factor) for factor in self.conditional_on])
        return f"Holds for new {new} of the same kind" + (
            f"; conditional on {fixed}." if fixed else "."
        )

    def _fixed(self, factor: Factor) -> str:
        if factor == "seeds" and max(self.population.n_seeds) == 1:
            return "the one seed of each model"
        alone = factor != "seeds" and self.population.size(factor) == 1
        return f"this one {factor.removesuffix('s')}" if alone else f"these {factor}"

    def _size(self, factor: Factor) -> str:
        n_seeds = self.population.n_seeds
        if factor == "seeds" and len(set(n_seeds)) > 1:
            return f"{min(n_seeds)} to {max(n_seeds)}"
        return str(self.population.size(factor))


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _check_size(factor: Factor, population: Population) -> None:
    size = population.size(factor)
    if factor == "seeds" and size < 2:
        raise ContractError(
            "a model has one seed, so nothing is known about new seeds. Give a sequence of "
            "comparisons, one for each seed, for every model; or leave 'seeds' out of "
            "generalise_to."
        )
    if size == 0:
        raise ContractError(
            f"the comparisons have no {factor} to generalise to: their parts are already pooled. "
            "Leave them out of generalise_to, or use a metric that keeps them apart."
        )
    if factor == "animals" and size < FEWEST_ANIMALS:
        raise ContractError(
            f"{size} animals, expected at least {FEWEST_ANIMALS} to generalise to animals. "
            "Results are conditional on these animals: leave 'animals' out of generalise_to."
        )
    within = size // population.size("animals") if factor == "neuroids" else size
    if within < 2:
        raise ContractError(
            f"{size} {factor}, expected at least two (neuroids: in each animal): their variance "
            "is not known otherwise."
        )
