"""Bounds on the comparison with several subjects' dissimilarities, each pooled as compared."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    check_comparator,
    check_vectors,
    compare_rdms,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.drawn_pairs import CENTRED, WHITENED
from brainscore_lite.metrics.dissimilarities.inner_products import INNER_PRODUCTS, drawn_products
from brainscore_lite.metrics.dissimilarities.rank_comparison import (
    RANK_COMPARISONS,
    SIGNED,
    drawn_rank_products,
    normalised,
    ranked_arrays,
)
from brainscore_lite.metrics.dissimilarities.rank_statistics import RankOrder
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.resampling import (
    DrawnProducts,
    check_weights,
    pair_weights,
    pairs_within,
)
from brainscore_lite.schema import ContractError

RankPooling = Literal["mean_of_ranks", "reranked"]
Floats = NDArray[np.float64]
Bounds = tuple[Floats, Floats]
FEWEST_STIMULI = 3
"""Distinct stimuli below which a draw is left out, as in rsatoolbox."""


def check_rank_pooling(rank_pooling: str) -> None:
    """Raise if the name of a pooling is unknown."""
    if rank_pooling not in get_args(RankPooling):
        raise ContractError(
            f"rank_pooling is {rank_pooling!r}, expected one of {get_args(RankPooling)}."
        )


def pool_rdms(
    vectors: ArrayLike,
    *,
    comparison: Comparator = "spearman",
    rank_pooling: RankPooling = "mean_of_ranks",
) -> Floats:
    """Pool dissimilarities into those most similar to all of them, up to scale and shift.

    The mean of the matrices, each first scaled as the comparison takes it: to unit length (cosine,
    whitened_cosine), to z-scores (pearson, whitened_pearson), to ranks (the others by rank), to
    mean 1 (bures) or not at all (riemannian). This maximises the mean comparison for pearson,
    cosine, rho_a, and spearman as a correlation with the mean of ranks; for the others it is an
    approximation, that of rsatoolbox (which pools nothing for bures).

    Parameters
    ----------
    vectors : array, shape (n_subjects, n_pairs)
    comparison : str
        As for :func:`compare_rdms`.
    rank_pooling : {"mean_of_ranks", "reranked"}
        Spearman only: whether the mean of ranks is ranked again.

    Returns
    -------
    ndarray, shape (n_pairs,)

    References
    ----------
    Nili et al. (2014), doi:10.1371/journal.pcbi.1003553.

    Examples
    --------
    >>> pool_rdms([[1.0, 2.0, 6.0], [5.0, 7.0, 9.0]]).tolist()
    [1.0, 2.0, 3.0]
    """
    check_comparator(comparison)
    check_rank_pooling(rank_pooling)
    pool = _comparable(check_vectors(vectors, name="vectors"), comparison).mean(axis=0)
    if comparison == "spearman" and rank_pooling == "reranked":
        return np.asarray(rankdata(pool), dtype=np.float64)
    return np.asarray(pool)


def leave_one_subject_out(
    vectors: ArrayLike,
    *,
    comparison: Comparator = "spearman",
    rank_pooling: RankPooling = "mean_of_ranks",
) -> Bounds:
    """Compare each subject's dissimilarities with the pool of the others and of all.

    Parameters
    ----------
    vectors : array, shape (n_subjects, n_pairs)
        Condensed dissimilarity matrices.
    comparison : str
        As for :func:`compare_rdms`.
    rank_pooling : {"mean_of_ranks", "reranked"}
        See ``LeaveOneSubjectOut``.

    Returns
    -------
    lower, upper : ndarray, shape (n_subjects,)

    Raises
    ------
    ContractError
        If there are fewer than two subjects.
    """
    dissimilarities = _checked(vectors, comparison, rank_pooling)
    return _bounds(
        dissimilarities, np.ones(len(dissimilarities)), comparison, rank_pooling=rank_pooling
    )


def leave_one_subject_out_resampled(
    vectors: ArrayLike,
    stimulus_weights: ArrayLike,
    subject_weights: ArrayLike,
    *,
    comparison: Comparator = "spearman",
    rank_pooling: RankPooling = "mean_of_ranks",
) -> Bounds:
    """Compute both bounds, means over subjects, for resampled stimuli and subjects.

    A subject drawn twice counts twice in the pool. The means are over the distinct subjects of a
    draw, and "the others" of a subject are without all its copies, as in rsatoolbox's
    ``boot_noise_ceiling``; one subject alone is compared with itself.

    Parameters
    ----------
    vectors : array, shape (n_subjects, n_pairs)
    stimulus_weights : array of int, shape (n_draws, n_stimuli)
    subject_weights : array of int, shape (n_draws, n_subjects)
    comparison, rank_pooling
        As for :func:`leave_one_subject_out`.

    Returns
    -------
    lower, upper : ndarray, shape (n_draws,)
        NaN for draws of fewer than three distinct stimuli, or of no subject.

    Raises
    ------
    ContractError
        If there are fewer than two subjects, or weights are no counts.
    """
    dissimilarities = _checked(vectors, comparison, rank_pooling)
    counts = check_weights(stimulus_weights, n_stimuli_of(dissimilarities.shape[1]))
    members = check_weights(subject_weights, len(dissimilarities), unit="subjects")
    if len(counts) != len(members):
        raise ContractError(
            f"{len(counts)} draws of stimuli, {len(members)} of subjects; expected as many."
        )
    return drawn_bounds(
        dissimilarities, counts, [members], comparison=comparison, rank_pooling=rank_pooling
    )[0]


def drawn_bounds(
    vectors: Floats,
    counts: Floats,
    memberships: Sequence[Floats],
    *,
    comparison: Comparator,
    rank_pooling: RankPooling,
) -> list[Bounds]:
    """Compute both bounds for several ways to draw subjects beside the same draws of stimuli.

    Parameters
    ----------
    vectors : ndarray, shape (n_subjects, n_pairs)
    counts : ndarray, shape (n_draws, n_stimuli)
    memberships : sequence of ndarray, shape (n_draws, n_subjects)
    comparison, rank_pooling
        As for :func:`leave_one_subject_out`.

    Returns
    -------
    list of (lower, upper), each of shape (n_draws,)
        One for each of `memberships`.
    """
    few = (counts > 0).sum(axis=1) < FEWEST_STIMULI
    if (counts == counts[0]).all() and comparison in INNER_PRODUCTS:
        counts = counts[:1]  # the products are the same for all draws
    if comparison == "spearman" and rank_pooling == "mean_of_ranks":
        ranked, _ = drawn_rank_products(vectors, vectors, counts, method=comparison)
        bounds = [_product_bounds(ranked, members) for members in memberships]
    elif comparison in INNER_PRODUCTS:
        products = drawn_products(vectors, vectors, counts, method=comparison)
        scale = np.sqrt(np.where(products.undefined_first, 1.0, products.first))
        if comparison in WHITENED:
            plain = "pearson" if comparison in CENTRED else "cosine"
            norms = drawn_products(vectors, vectors[:1], counts, method=plain)
            scale = np.sqrt(np.where(norms.undefined_first, 1.0, norms.first))
        bounds = [_product_bounds(products, members / scale) for members in memberships]
    elif comparison in RANK_COMPARISONS and find_spec("numba"):
        bounds = [_compiled_bounds(vectors, counts, one, comparison) for one in memberships]
    else:
        bounds = [_bounds_one_by_one(vectors, counts, one, comparison) for one in memberships]
    means = []
    for (lower, upper), members in zip(bounds, memberships, strict=True):
        absent, nobody = members == 0, few | ~members.any(axis=1)
        n_members = np.maximum((~absent).sum(axis=1), 1)
        both = (np.where(absent, 0.0, one).sum(axis=1) / n_members for one in (lower, upper))
        means.append(tuple(np.where(nobody, np.nan, one) for one in both))
    return [(lower, upper) for lower, upper in means]


def pool_drawn(
    vectors: Floats, counts: Floats, members: Floats, *, comparison: Comparator
) -> Floats:
    """Pool subjects who count `members` times over stimuli that count `counts` times.

    Parameters
    ----------
    vectors : ndarray, shape (n_subjects, n_pairs)
    counts : ndarray, shape (n_stimuli,)
    members : ndarray, shape (n_subjects,)
    comparison : str

    Returns
    -------
    ndarray, shape (n_pairs,)
        Up to scale and shift; values of pairs that are not drawn carry no meaning.
    """
    kept = counts > 0
    if 2 <= kept.sum() < len(kept):
        drawn = pairs_within(kept)
        pooled = np.zeros(len(drawn))
        pooled[drawn] = pool_drawn(vectors[:, drawn], counts[kept], members, comparison=comparison)
        return pooled
    weights = pair_weights(counts[None])
    total = weights.sum()
    if comparison in RANK_COMPARISONS:
        ranks = np.stack([RankOrder.of(vector).ranks(weights)[0] for vector in vectors])
        return np.asarray(members @ ranks)
    if comparison == "riemannian":
        return np.asarray(members @ vectors)
    means = vectors @ weights[0] / total
    if comparison == "bures":
        return np.asarray((members / np.where(means > 0, means, 1.0)) @ vectors)
    if comparison in CENTRED:
        vectors = vectors - means[:, None]
    norm = np.sqrt(vectors**2 @ weights[0] / total)
    return np.asarray((members / np.where(norm > 0, norm, 1.0)) @ vectors)


def _checked(vectors: ArrayLike, comparison: Comparator, rank_pooling: RankPooling) -> Floats:
    check_comparator(comparison)
    check_rank_pooling(rank_pooling)
    dissimilarities = check_vectors(vectors, name="vectors")
    if len(dissimilarities) < 2:
        raise ContractError(
            f"{len(dissimilarities)} subject, expected at least two: a ceiling across subjects "
            "cannot be computed. Score without a ceiling (ceiling=None)."
        )
    return dissimilarities


def _bounds(
    vectors: Floats, members: Floats, comparison: Comparator, *, rank_pooling: RankPooling
) -> Bounds:
    """Compute the bounds of each subject, who counts `members` times; NaN for those of none."""
    comparable = _comparable(vectors, comparison)
    total = members @ comparable
    as_means = comparison == "spearman" and rank_pooling == "mean_of_ranks"
    method: Comparator = "pearson" if as_means else comparison
    single = comparable if as_means else vectors
    lower, upper = np.full(len(vectors), np.nan), np.full(len(vectors), np.nan)
    drawn = np.flatnonzero(members)
    for subject in drawn:
        others = total - members[subject] * comparable[subject] if len(drawn) > 1 else total
        lower[subject] = compare_rdms(single[subject], others, method=method)
        upper[subject] = compare_rdms(single[subject], total, method=method)
    return lower, upper


def _comparable(vectors: Floats, comparison: Comparator) -> Floats:
    """Bring the subjects' dissimilarities to the scale on which the comparison takes them."""
    if comparison in RANK_COMPARISONS:
        ranks: Floats = rankdata(vectors, axis=1)
        return ranks
    if comparison == "riemannian":
        return vectors
    if comparison == "bures":
        mean = vectors.mean(axis=1, keepdims=True)
        return vectors / np.where(mean > 0, mean, 1.0)
    if comparison in CENTRED:
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1.0)


def _product_bounds(products: DrawnProducts, shares: Floats) -> Bounds:
    """Compute the bounds from the products of subjects; a pool is a sum of them by `shares`."""
    own = np.where(products.undefined_first, 1.0, products.first)
    with_all = (products.cross @ shares[:, :, None])[:, :, 0]
    square = (with_all * shares).sum(axis=1, keepdims=True)
    with_others = with_all - shares * own
    others_square = square - 2 * shares * with_all + shares**2 * own
    alone = (shares > 0).sum(axis=1, keepdims=True) < 2
    upper = with_all / np.sqrt(np.maximum(square, np.finfo(np.float64).tiny) * own)
    lower = with_others / np.sqrt(np.maximum(others_square, np.finfo(np.float64).tiny) * own)
    undefined = np.broadcast_to(products.undefined_first, shares.shape)
    lower = np.where(alone, upper, lower)
    return np.where(undefined, 0.0, lower), np.where(undefined, 0.0, upper)


def _compiled_bounds(
    vectors: Floats, counts: Floats, members: Floats, comparison: Comparator
) -> Bounds:
    """Rank the pools of each draw again, in machine code."""
    compiled = import_module("brainscore_lite.metrics.dissimilarities.compiled_ranks")
    ranked = [RankOrder.of(vector) for vector in vectors]
    arrays = ranked_arrays(ranked, counts.shape[1])
    cross, pools, squares, n_drawn = compiled.pooled_products(
        counts, members, *arrays, comparison in SIGNED
    )
    bounds = []
    for bound in range(2):
        # one subject beside its own pool is a product of one with one
        parts = (cross[:, bound].reshape(-1, 1, 1), pools[:, bound].reshape(-1, 1))
        products = DrawnProducts(
            parts[0], parts[1], squares.reshape(-1, 1), parts[1] <= 0, squares.reshape(-1, 1) <= 0
        )
        each = np.repeat(n_drawn, len(vectors))
        bounds.append(normalised(products, each, method=comparison).reshape(squares.shape))
    alone = (members > 0).sum(axis=1, keepdims=True) < 2
    return np.where(alone, bounds[1], bounds[0]), bounds[1]


def _bounds_one_by_one(
    vectors: Floats, counts: Floats, members: Floats, comparison: Comparator
) -> Bounds:
    """Compute the bounds of each draw on its own."""
    lower, upper = np.zeros(members.shape), np.zeros(members.shape)
    for draw, (drawn, present) in enumerate(zip(counts, members, strict=True)):
        if (drawn > 0).sum() < FEWEST_STIMULI or not present.any():
            continue
        if comparison in RANK_COMPARISONS:
            pairs = np.repeat(np.arange(vectors.shape[1]), pair_weights(drawn[None])[0].astype(int))
            lower[draw], upper[draw] = _bounds(
                vectors[:, pairs], present, comparison, rank_pooling="reranked"
            )
        else:
            lower[draw], upper[draw] = _moment_bounds(vectors, drawn, present, comparison)
    return lower, upper


def _moment_bounds(
    vectors: Floats, drawn: Floats, present: Floats, comparison: Comparator
) -> Bounds:
    """Pool over the drawn stimuli and compare over them."""
    lower, upper = np.full(len(vectors), np.nan), np.full(len(vectors), np.nan)
    members = np.flatnonzero(present)
    for subject in members:
        others = present.copy()
        others[subject] = 0 if len(members) > 1 else present[subject]
        pools = [
            pool_drawn(vectors, drawn, who, comparison=comparison) for who in (others, present)
        ]
        lower[subject], upper[subject] = compare_resampled(
            vectors[subject], np.stack(pools), drawn[None], method=comparison
        )[0]
    return lower, upper
