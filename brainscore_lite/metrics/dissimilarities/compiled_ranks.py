"""Products of ranks and of signs compiled by numba, from the extra `fast`; imported only there.

Equal to the NumPy path of :mod:`brainscore_lite.metrics.dissimilarities.rank_comparison`. Vectors
come sorted; each draw passes over the pairs it contains in that order. One thread, so that
processes can be laid side by side.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Whole = Any
_DIGITS = 9


@njit(cache=True)
def _weigh(counts: Floats, first: Positions, second: Positions, weights: Positions) -> int:
    """Fill in how often each pair occurs; return the number of occurrences."""
    total = 0
    for pair in range(len(first)):
        weights[pair] = np.int64(counts[first[pair]] * counts[second[pair]])
        total += weights[pair]
    return total


@njit(cache=True)
def _drawn(
    order: Positions,
    run: Positions,
    weights: Positions,
    pairs: Positions,
    groups: Positions,
    times: Positions,
) -> int:
    """List the drawn pairs in ascending order, with the run of ties and the weight of each."""
    n_drawn = 0
    for place in range(len(order)):
        pairs[n_drawn] = order[place]
        groups[n_drawn] = run[place]
        times[n_drawn] = weights[order[place]]
        n_drawn += weights[order[place]] > 0
    return n_drawn


@njit(cache=True)
def _rank(
    pairs: Positions, groups: Positions, n_drawn: int, times: Positions, ranks: Positions
) -> int:
    """Fill in twice the average rank less 1 of each listed pair; return the sum of t^2 of ties."""
    below, start, squares = 0, 0, 0
    while start < n_drawn:
        stop, tied = start, 0
        while stop < n_drawn and groups[stop] == groups[start]:
            tied += times[stop]
            stop += 1
        for place in range(start, stop):
            ranks[pairs[place]] = 2 * below + tied
        below += tied
        squares += tied * tied
        start = stop
    return squares


@njit(cache=True)
def _level(pairs: Positions, groups: Positions, n_drawn: int, levels: Whole) -> int:
    """Fill in the place of each pair's value among the distinct ones; return how many these are."""
    level = -1
    for place in range(n_drawn):
        level += place == 0 or groups[place] != groups[place - 1]
        levels[pairs[place]] = level
    return level + 1


@njit(cache=True)
def _walk(left: Whole, leaf: Whole, depth: int, weight: Whole) -> Whole:
    """Add a weight at a leaf of the tree; return the weight there was at leaves to its left."""
    node, below = np.uint32(leaf), np.int32(0)
    for _ in range(depth):
        from_right = np.int32(-np.int32(node & np.uint32(1)))
        node >>= np.uint32(1)
        passed = left[node]
        below += passed & from_right
        left[node] = passed + (weight & ~from_right)
    return below


@njit(cache=True)
def _concordance(
    pairs: Positions,
    groups: Positions,
    n_drawn: int,
    times: Positions,
    levels: Whole,
    n_levels: int,
) -> float:
    """Concordant minus discordant pairs of drawn pairs.

    `pairs` ascend in one vector, `levels` are the places of the other. A binary tree over levels
    holds the weight passed so far to the left of each node, of which that below a level counts
    for, that above against; looking up and adding are one walk to the root, without branches.
    """
    depth = 0
    while (1 << depth) < n_levels:
        depth += 1
    top = np.int32(1 << depth)
    left, held = np.zeros(top, dtype=np.int32), np.zeros(n_levels, dtype=np.int32)
    passed: Whole = 0
    difference, tied = 0, False
    for place in range(1, n_drawn):
        tied |= groups[place] == groups[place - 1]
    if not tied:
        for place in range(n_drawn):
            level, weight = levels[pairs[place]], np.int32(times[place])
            below = _walk(left, top + level, depth, weight)
            difference += weight * (2 * below + held[level] - passed)
            held[level] += weight
            passed += weight
        return float(difference)
    start = 0
    while start < n_drawn:
        stop = start
        while stop < n_drawn and groups[stop] == groups[start]:
            level = levels[pairs[stop]]
            below = _walk(left, top + level, depth, np.int32(0))
            difference += times[stop] * (2 * below + held[level] - passed)
            stop += 1
        for place in range(start, stop):
            level, weight = levels[pairs[place]], np.int32(times[place])
            _walk(left, top + level, depth, weight)
            held[level] += weight
            passed += weight
        start = stop
    return float(difference)


@njit(cache=True)
def rank_products(
    counts: Floats, first: Positions, second: Positions, orders: Positions, runs: Positions, n: int
) -> tuple[Floats, Floats, Floats]:
    """Sum products of centred ranks within drawn pairs.

    Parameters
    ----------
    counts : ndarray, shape (n_draws, n_stimuli)
        How often each stimulus is drawn.
    first, second : ndarray of int, shape (n_pairs,)
        The stimuli of each pair.
    orders, runs : ndarray of int, shape (n_vectors, n_pairs)
        Of each vector: positions in ascending order of value, and which distinct value stands at
        each place of that order.
    n : int
        The first n vectors are compared with the others.

    Returns
    -------
    cross : ndarray, shape (n_draws, n, n_vectors - n)
    squares : ndarray, shape (n_draws, n_vectors)
    totals : ndarray, shape (n_draws,)
        Number of drawn pairs.
    """
    n_draws, (n_vectors, n_pairs) = len(counts), orders.shape
    n_others = n_vectors - n
    cross = np.zeros((n_draws, n, n_others))
    squares = np.zeros((n_draws, n_vectors))
    totals = np.zeros(n_draws)
    for draw in range(n_draws):
        weights, ranks = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
        pairs, groups = np.empty(n_pairs + 1, np.int64), np.empty(n_pairs + 1, np.int64)
        times = np.empty(n_pairs + 1, np.int64)
        weighted = np.empty((n_pairs, n_others))
        sums = np.empty(n_others)
        total = _weigh(counts[draw], first, second, weights)
        totals[draw] = total
        for vector in range(n_vectors - 1, -1, -1):
            n_drawn = _drawn(orders[vector], runs[vector], weights, pairs, groups, times)
            _rank(pairs, groups, n_drawn, times, ranks)
            square = 0.0
            sums[:] = 0.0
            for place in range(n_drawn):
                pair = pairs[place]
                centred = (ranks[pair] - total) / 2
                square += weights[pair] * centred * centred
                if vector >= n:
                    weighted[pair, vector - n] = weights[pair] * centred
                else:
                    for other in range(n_others):
                        sums[other] += centred * weighted[pair, other]
            squares[draw, vector] = square
            if vector < n:
                cross[draw, vector] = sums
    return cross, squares, totals


@njit(cache=True)
def sign_products(
    counts: Floats, first: Positions, second: Positions, orders: Positions, runs: Positions, n: int
) -> tuple[Floats, Floats, Floats]:
    """Count concordant minus discordant pairs of drawn pairs, as :func:`rank_products`.

    Returns
    -------
    cross : ndarray, shape (n_draws, n, n_vectors - n)
    squares : ndarray, shape (n_draws, n_vectors)
        Pairs of drawn pairs that are not tied.
    totals : ndarray, shape (n_draws,)
        Number of drawn pairs.
    """
    n_draws, (n_vectors, n_pairs) = len(counts), orders.shape
    n_others = n_vectors - n
    cross = np.zeros((n_draws, n, n_others))
    squares = np.zeros((n_draws, n_vectors))
    totals = np.zeros(n_draws)
    for draw in range(n_draws):
        weights, ranks = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
        pairs, groups = np.empty(n_pairs + 1, np.int64), np.empty(n_pairs + 1, np.int64)
        times = np.empty(n_pairs + 1, np.int64)
        levels = np.empty((n_others, n_pairs), np.int32)
        n_levels = np.empty(n_others, np.int64)
        total = _weigh(counts[draw], first, second, weights)
        totals[draw] = total
        for vector in range(n_vectors - 1, -1, -1):
            n_drawn = _drawn(orders[vector], runs[vector], weights, pairs, groups, times)
            tied = _rank(pairs, groups, n_drawn, times, ranks)
            squares[draw, vector] = (total * total - tied) / 2
            if vector >= n:
                n_levels[vector - n] = _level(pairs, groups, n_drawn, levels[vector - n])
            else:
                for other in range(n_others):
                    cross[draw, vector, other] = _concordance(
                        pairs, groups, n_drawn, times, levels[other], n_levels[other]
                    )
    return cross, squares, totals


@njit(cache=True)
def _sort(pairs: Positions, n_drawn: int, keys: Positions, highest: int) -> None:
    """Sort pairs by their keys, whole numbers from 0, some digits at a time."""
    from_, to = pairs[:n_drawn].copy(), np.empty(n_drawn, np.int64)
    shift, mask = 0, (1 << _DIGITS) - 1
    while (highest >> shift) > 0:
        starts = np.zeros((1 << _DIGITS) + 1, np.int64)
        for place in range(n_drawn):
            starts[((keys[from_[place]] >> shift) & mask) + 1] += 1
        for digit in range(1 << _DIGITS):
            starts[digit + 1] += starts[digit]
        for place in range(n_drawn):
            digit = (keys[from_[place]] >> shift) & mask
            to[starts[digit]] = from_[place]
            starts[digit] += 1
        from_, to = to, from_
        shift += _DIGITS
    pairs[:n_drawn] = from_


@njit(cache=True)
def _product(
    pairs: Positions, n_drawn: int, weights: Positions, one: Positions, other: Positions, total: int
) -> float:
    """Sum products of centred ranks, each given as twice the rank less 1."""
    product = 0.0
    for place in range(n_drawn):
        pair = pairs[place]
        product += weights[pair] * (one[pair] - total) * (other[pair] - total)
    return product / 4


@njit(cache=True)
def _rank_pool(
    pairs: Positions,
    groups: Positions,
    n_drawn: int,
    pooled: Positions,
    highest: int,
    weights: Positions,
    times: Positions,
    ranks: Positions,
) -> int:
    """Sort the drawn pairs by a pool of ranks and rank them; return the sum of t^2 of ties."""
    _sort(pairs, n_drawn, pooled, highest)
    for place in range(n_drawn):
        groups[place] = pooled[pairs[place]]
        times[place] = weights[pairs[place]]
    return _rank(pairs, groups, n_drawn, times, ranks)


@njit(cache=True)
def pooled_products(
    counts: Floats,
    members: Floats,
    first: Positions,
    second: Positions,
    orders: Positions,
    runs: Positions,
    signs: bool,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Multiply each subject's ranks, or signs, with those of the mean of ranks of subjects.

    Parameters
    ----------
    counts : ndarray, shape (n_draws, n_stimuli)
    members : ndarray, shape (n_draws, n_subjects)
        How often each subject is drawn; at least two of them.
    first, second, orders, runs
        As of :func:`rank_products`, for the subjects.
    signs : bool
        Whether to multiply signs of differences instead of ranks.

    Returns
    -------
    cross : ndarray, shape (n_draws, 2, n_subjects)
        Of each drawn subject with the pool of the others, and of all.
    pools : ndarray, shape (n_draws, 2, n_subjects)
        Of these pools with themselves.
    squares : ndarray, shape (n_draws, n_subjects)
    totals : ndarray, shape (n_draws,)
    """
    n_draws, (n_subjects, n_pairs) = len(counts), orders.shape
    cross, pools = np.zeros((n_draws, 2, n_subjects)), np.zeros((n_draws, 2, n_subjects))
    squares, totals = np.zeros((n_draws, n_subjects)), np.zeros(n_draws)
    for draw in range(n_draws):
        weights, pooled = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
        pairs, groups = np.empty(n_pairs + 1, np.int64), np.empty(n_pairs + 1, np.int64)
        times = np.empty(n_pairs + 1, np.int64)
        ranks = np.empty((n_subjects, n_pairs), np.int64)
        levels = np.empty((n_subjects, n_pairs), np.int32)
        n_levels = np.empty(n_subjects, np.int64)
        everyone, reranked = np.zeros(n_pairs, np.int64), np.empty(n_pairs, np.int64)
        total = _weigh(counts[draw], first, second, weights)
        n_drawn = int(np.count_nonzero(weights))  # 0 is a type of its own, compiled for as well
        totals[draw] = total
        for member in np.flatnonzero(members[draw]):
            n_drawn = _drawn(orders[member], runs[member], weights, pairs, groups, times)
            tied = _rank(pairs, groups, n_drawn, times, ranks[member])
            everyone += np.int64(members[draw, member]) * ranks[member]
            n_levels[member] = _level(pairs, groups, n_drawn, levels[member])
            own = ranks[member]
            squares[draw, member] = (total * total - tied) / 2
            if not signs:
                squares[draw, member] = _product(pairs, n_drawn, weights, own, own, total)
        highest = 2 * total * int(members[draw].sum())
        for left_out in range(-1, n_subjects):
            pooled[:] = everyone
            if left_out >= 0:
                if members[draw, left_out] == 0:
                    continue
                pooled -= np.int64(members[draw, left_out]) * ranks[left_out]
            tied = _rank_pool(pairs, groups, n_drawn, pooled, highest, weights, times, reranked)
            square = (total * total - tied) / 2
            if not signs:
                square = _product(pairs, n_drawn, weights, reranked, reranked, total)
            bound = 1 if left_out < 0 else 0
            for subject in range(n_subjects):
                if members[draw, subject] == 0 or (left_out >= 0 and subject != left_out):
                    continue
                pools[draw, bound, subject] = square
                if signs:
                    cross[draw, bound, subject] = _concordance(
                        pairs, groups, n_drawn, times, levels[subject], n_levels[subject]
                    )
                else:
                    cross[draw, bound, subject] = _product(
                        pairs, n_drawn, weights, reranked, ranks[subject], total
                    )
    return cross, pools, squares, totals
