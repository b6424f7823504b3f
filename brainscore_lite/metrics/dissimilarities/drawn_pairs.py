"""Products of dissimilarities under the pair weights of drawn stimuli; NumPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainscore_lite.metrics.dissimilarities.rdm import square
from brainscore_lite.metrics.resampling import pair_weights

Floats = NDArray[np.float64]
CENTRED = ("pearson", "whitened_pearson")
"""Comparisons of vectors less their mean."""
WHITENED = ("whitened_cosine", "whitened_pearson")
"""Comparisons under the inverse covariance of the dissimilarities."""


@dataclass(frozen=True, eq=False)
class Projected:
    """Dissimilarities with what their products within some draws need.

    Parameters
    ----------
    vectors : ndarray, shape (n_vectors, n_pairs)
    means : ndarray, shape (n_draws, n_vectors)
        Over drawn pairs; 0 where nothing is centred.
    sums : ndarray, shape (n_draws, n_vectors)
        Of sum_(i<j) h_i h_j d_ij with h = c / s.
    offsets : ndarray, shape (n_draws, n_vectors, n_stimuli)
        u of a whitened comparison; else empty.
    rows : ndarray, shape (n_draws, n_vectors, n_stimuli)
        h_i sum_(j != i) h_j (d_ij - mean) of a whitened comparison; else empty.
    """

    vectors: Floats
    means: Floats
    sums: Floats
    offsets: Floats
    rows: Floats


@dataclass(frozen=True, eq=False)
class DrawnPairs:
    """Pair weights of some draws, under which vectors are multiplied.

    Parameters
    ----------
    method : str
    counts : ndarray, shape (n_draws, n_stimuli)
    scaled : ndarray, shape (n_draws, n_stimuli)
        h = c / s, the counts over the noise variances.
    weights : ndarray, shape (n_draws, n_pairs)
        h_i h_j.
    """

    method: str
    counts: Floats
    scaled: Floats
    weights: Floats

    @classmethod
    def of(cls, counts: Floats, *, method: str, variances: Floats | None = None) -> "DrawnPairs":
        """Weight the pairs of each draw."""
        scaled = counts if variances is None else counts / variances
        return cls(method, counts, scaled, pair_weights(scaled))

    def project(self, vectors: Floats) -> Projected:
        """Compute what the products of some vectors need."""
        if self.method == "cosine":
            none = np.empty((len(self.counts), len(vectors)))
            return Projected(vectors, none, none, np.empty(0), np.empty(0))
        n_drawn = np.maximum(n_pairs_drawn(self.counts), 1.0)[:, None]
        sums = self.weights @ vectors.T
        means = np.zeros_like(sums)
        if self.method in CENTRED:
            plain = self.scaled is self.counts
            drawn_sums = sums if plain else pair_weights(self.counts) @ vectors.T
            means = drawn_sums / n_drawn
        if self.method not in WHITENED:
            return Projected(vectors, means, sums, np.empty(0), np.empty(0))
        matrices = np.stack([square(one) for one in vectors])
        rows = self._row_sums(self.counts, matrices, means)
        offsets = self._offsets(rows)
        if self.scaled is not self.counts:
            rows = self._row_sums(self.scaled, matrices, means)
        return Projected(vectors, means, sums, offsets, rows * self.scaled[:, None, :])

    def cross(self, first: Projected, second: Projected) -> Floats:
        """Return the products of each vector with each other, (n_draws, n_first, n_second)."""
        products = np.empty((len(self.counts), len(first.vectors), len(second.vectors)))
        same = first is second
        for column, vector in enumerate(second.vectors):
            rows = slice(column, None) if same else slice(None)
            products[:, rows, column] = self.weights @ (first.vectors[rows] * vector).T
            if same:
                products[:, column, rows] = products[:, rows, column]
        return self._centred(products, first, second)

    def cross_sums(self, first: Projected, second: Projected, shares: Floats) -> Floats:
        """Return the products with weighted sums of the second vectors.

        The sums are formed before the product, which costs as many products as there are sums
        instead of as many as there are vectors.

        Parameters
        ----------
        shares : ndarray, shape (n_draws, n_sums, n_second)

        Returns
        -------
        ndarray, shape (n_draws, n_first, n_sums)
        """
        n_draws, n_sums, _ = shares.shape
        pooled = (shares.reshape(n_draws * n_sums, -1) @ second.vectors).reshape(
            n_draws, n_sums, -1
        )
        pooled *= self.weights[:, None, :]
        products = pooled.reshape(n_draws * n_sums, -1) @ first.vectors.T
        sums = Projected(
            np.empty(0),
            *((shares @ one[:, :, None])[:, :, 0] for one in (second.means, second.sums)),
            *(shares @ one if one.size else one for one in (second.offsets, second.rows)),
        )
        return self._centred(products.reshape(n_draws, n_sums, -1).transpose(0, 2, 1), first, sums)

    def _centred(self, products: Floats, first: Projected, second: Projected) -> Floats:
        """Turn plain weighted products into those of centred or whitened vectors."""
        if self.method == "cosine":
            return products
        means, others = first.means[:, :, None], second.means[:, None, :]
        total = self._total_weight()[:, None, None]
        products = products - means * second.sums[:, None, :] - others * first.sums[:, :, None]
        products += total * means * others
        if self.method not in WHITENED:
            return products
        u, v = first.offsets, second.offsets.transpose(0, 2, 1)
        products += first.rows @ v + u @ second.rows.transpose(0, 2, 1)
        products += (u * self._between()[:, None, :]) @ v
        h = self.scaled[:, :, None]
        products += (u @ h) * (h.transpose(0, 2, 1) @ v)
        return products

    def squares(self, one: Projected) -> Floats:
        """Return the product of each vector with itself, (n_draws, n_vectors)."""
        products = self.weights @ (one.vectors**2).T
        if self.method == "cosine":
            return np.asarray(products)
        products += one.means * (self._total_weight()[:, None] * one.means - 2 * one.sums)
        if self.method not in WHITENED:
            return np.asarray(products)
        u, between = one.offsets, self._between()[:, None, :]
        products += 2 * (one.rows * u).sum(axis=2) + (between * u * u).sum(axis=2)
        products += (u * self.scaled[:, None, :]).sum(axis=2) ** 2
        return np.asarray(products)

    def _between(self) -> Floats:
        """Weight of u_i v_i: H h_i - 2 h_i^2 + 2 c_i / s_i^2, with H = sum_i h_i."""
        h = self.scaled
        own = np.where(self.counts > 0, h * h / np.maximum(self.counts, 1.0), 0.0)
        return np.asarray(h.sum(axis=1, keepdims=True) * h - 2 * h * h + 2 * own)

    def _total_weight(self) -> Floats:
        return n_pairs_drawn(self.scaled)

    def _row_sums(self, weights: Floats, matrices: Floats, means: Floats) -> Floats:
        """Return sum_(j != i) w_j (d_ij - mean), shape (n_draws, n_vectors, n_stimuli)."""
        n_vectors, n_stimuli = matrices.shape[:2]
        beside = matrices.transpose(1, 0, 2).reshape(n_stimuli, -1)
        sums = (weights @ beside).reshape(-1, n_vectors, n_stimuli)
        others = weights.sum(axis=1, keepdims=True) - weights
        return np.asarray(sums - means[:, :, None] * others[:, None, :])

    def _offsets(self, rows: Floats) -> Floats:
        """Solve (n/2 - c_i + 1) u_i + c'u / 2 = -rows_i / 2, n = sum_i c_i, in each draw."""
        counts = self.counts
        diagonal = counts.sum(axis=1, keepdims=True) / 2 - counts + 1
        regular = np.where(diagonal == 0, 1.0, diagonal)
        weighted = counts / regular
        shared = (
            -0.5 * (rows @ weighted[:, :, None]) / (1 + 0.5 * weighted.sum(axis=1))[:, None, None]
        )
        offsets = -0.5 * (rows + shared) / regular[:, None, :]
        for draw in np.flatnonzero((diagonal == 0).any(axis=1)):
            system = np.diag(diagonal[draw]) + 0.5 * counts[draw][None, :]
            offsets[draw] = np.linalg.solve(system, -0.5 * rows[draw].T).T
        return np.asarray(offsets)


def n_pairs_drawn(counts: Floats) -> Floats:
    """Return the sum of the pair weights of each draw, shape (n_draws,)."""
    return np.asarray((counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)) / 2)
