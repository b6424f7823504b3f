"""Comparisons of dissimilarity matrices and their dual bootstrap beside rsatoolbox.

    python speed/comparisons.py            # 50 models x 12 subjects x 92 stimuli x 1000 draws
    python speed/comparisons.py --quick    # small sizes, seconds

The peer is timed on fewer draws and its time scaled to all of them, which the table says. Both
run on one thread; compiling (numba, once for a machine) is left out.
"""

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from measure import Parity, Speed, cpu_seconds, markdown
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainscore_lite.inference.rdm_bootstrap import RDMDraws, dual_bootstrap, evaluate_draws
from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    compare_rdms,
    compare_resampled,
)

Floats = NDArray[np.float64]
PEER = "rsatoolbox"
NAMES: dict[Comparator, str] = {
    "pearson": "corr",
    "spearman": "spearman",
    "rho_a": "rho-a",
    "kendall_tau_a": "tau-a",
    "kendall_tau_b": "tau-b",
    "cosine": "cosine",
    "whitened_cosine": "cosine_cov",
    "whitened_pearson": "corr_cov",
    "bures": "bures",
    "riemannian": "neg_riem_dist",
}
NOTES = {
    "bures": "the peer takes roots of eigenvalues that are rounding; its other form, from "
    "singular values, agrees to 1e-12",
}
TARGETS: dict[Comparator, float] = {"cosine": 300, "rho_a": 100, "kendall_tau_a": 50}


@dataclass(frozen=True)
class Sizes:
    """What is compared."""

    n_models: int = 50
    n_subjects: int = 12
    n_stimuli: int = 92
    n_draws: int = 1000
    peer_draws: int = 4


QUICK = Sizes(n_models=5, n_subjects=4, n_stimuli=20, n_draws=50, peer_draws=5)


def matrices(sizes: Sizes) -> tuple[Floats, Floats]:
    """Make squared Euclidean distances of models and of subjects, with a shared part."""
    rng = np.random.default_rng(0)
    shape = (sizes.n_models + sizes.n_subjects, sizes.n_stimuli, 2 * sizes.n_stimuli)
    patterns = rng.normal(size=shape) + rng.normal(size=shape[1:])
    pairs = np.triu_indices(sizes.n_stimuli, k=1)
    squares = np.sum(patterns**2, axis=2)
    inner = patterns @ patterns.transpose(0, 2, 1)
    distances = (squares[:, :, None] + squares[:, None] - 2 * inner)[:, *pairs] / shape[2]
    return distances[: sizes.n_models], distances[sizes.n_models :]


def parity(sizes: Sizes = QUICK) -> list[Parity]:
    """Compare values, resampled values and the evaluations of a dual bootstrap."""
    models, subjects = matrices(sizes)
    shape = f"{len(models)} x {len(subjects)} matrices of {sizes.n_stimuli} stimuli"
    rows = [
        Parity(
            name,
            PEER,
            shape,
            _largest(compare_rdms(models, subjects, method=name), _peer(models, subjects, name)),
            NOTES.get(name, ""),
        )
        for name in NAMES
    ]
    rows += _whitened_parity(models, subjects, shape)
    names = [name for name in NAMES if name not in ("bures", "riemannian")]
    rows += [_resampled_parity(models, subjects, name) for name in names]
    return rows + [_bootstrap_parity(models, subjects, name) for name in names]


def speed(quick: bool) -> list[Speed]:
    """Time the dual bootstrap."""
    sizes = QUICK if quick else Sizes()
    models, subjects = matrices(sizes)
    shape = f"{sizes.n_models} x {sizes.n_subjects} x {sizes.n_stimuli} x {sizes.n_draws}"
    scaled = f"{PEER} timed on {sizes.peer_draws} draws"
    rows = []
    with threadpool_limits(1):
        for name, target in TARGETS.items():
            dual_bootstrap(models, subjects, comparison=name, n_draws=2)
            ours = cpu_seconds(_ours(models, subjects, name, sizes.n_draws))
            peer = cpu_seconds(_peers(models, subjects, name, sizes.peer_draws), runs=1)
            peer *= sizes.n_draws / sizes.peer_draws
            work = f"dual bootstrap, {name}, {shape}"
            rows.append(Speed(work, PEER, ours, peer, None if quick else target, scaled))
    return rows


def _ours(models: Floats, subjects: Floats, name: Comparator, n_draws: int) -> Callable[[], object]:
    return lambda: dual_bootstrap(models, subjects, comparison=name, n_draws=n_draws)


def _peers(
    models: Floats, subjects: Floats, name: Comparator, n_draws: int
) -> Callable[[], object]:
    return lambda: _peer_draws(models, subjects, name, n_draws)


def _largest(ours: object, peer: object) -> float:
    return float(np.nanmax(np.abs(np.asarray(ours) - np.asarray(peer))))


def _peer(models: Floats, subjects: Floats, name: Comparator, **settings: object) -> Floats:
    from rsatoolbox.rdm import RDMs, compare

    return np.asarray(compare(RDMs(models), RDMs(subjects), method=NAMES[name], **settings))


def _whitened_parity(models: Floats, subjects: Floats, shape: str) -> list[Parity]:
    """Compare the forms with a noise covariance."""
    n_stimuli = int(np.sqrt(2 * models.shape[1])) + 1
    rng = np.random.default_rng(1)
    residuals = rng.normal(size=(n_stimuli, 4 * n_stimuli)) + rng.normal(size=4 * n_stimuli)
    covariance = np.cov(residuals)
    variances = np.diag(covariance).copy()
    rows = []
    names: tuple[Comparator, ...] = ("whitened_cosine", "whitened_pearson")
    for name in names:
        for sigma, label, note in (
            (variances, "variances", ""),
            (covariance, "covariance", "ours is exact; the peer stops its solver at 1e-5"),
        ):
            ours = compare_rdms(models, subjects, method=name, sigma=sigma)
            peer = _peer(models, subjects, name, sigma_k=sigma)
            rows.append(Parity(f"{name}, {label}", PEER, shape, _largest(ours, peer), note))
    return rows


def _resampled_parity(models: Floats, subjects: Floats, name: Comparator) -> Parity:
    from rsatoolbox.rdm import RDMs, compare

    n_stimuli = int(np.sqrt(2 * models.shape[1])) + 1
    drawn = np.random.default_rng(2).integers(0, n_stimuli, size=(5, n_stimuli))
    weights = np.stack([np.bincount(one, minlength=n_stimuli) for one in drawn])
    ours = compare_resampled(models, subjects, weights, method=name)
    sides = RDMs(models), RDMs(subjects)
    peer = []
    for one in drawn:
        samples = (side.subsample_pattern("index", one) for side in sides)
        peer.append(compare(*samples, NAMES[name]))
    return Parity(f"{name}, resampled", PEER, "5 draws", _largest(ours, peer))


def _bootstrap_parity(models: Floats, subjects: Floats, name: Comparator) -> Parity:
    """Compare values and ceilings of ``eval_bootstrap``, whose draws are drawn again."""
    from rsatoolbox.inference import eval_bootstrap
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    n_draws, n_stimuli = 5, int(np.sqrt(2 * models.shape[1])) + 1
    fixed = [ModelFixed(str(i), one) for i, one in enumerate(models)]
    np.random.seed(0)  # noqa: NPY002 -- the peer draws from NumPy's global generator
    with _quiet():
        result = eval_bootstrap(fixed, RDMs(subjects), method=NAMES[name], N=n_draws)
    np.random.seed(0)  # noqa: NPY002
    stimuli, members = np.zeros((n_draws, n_stimuli)), np.zeros((n_draws, len(subjects)))
    for draw in range(n_draws):
        np.add.at(members[draw], np.random.randint(0, len(subjects), len(subjects)), 1)  # noqa: NPY002
        np.add.at(stimuli[draw], np.random.randint(0, n_stimuli, n_stimuli), 1)  # noqa: NPY002
    ours: RDMDraws = evaluate_draws(models, subjects, stimuli, members, comparison=name)
    bounds = np.stack([ours.lower[:, 0], ours.upper[:, 0]])
    difference = max(
        _largest(ours.both, result.evaluations), _largest(bounds, result.noise_ceiling)
    )
    return Parity(f"{name}, eval_bootstrap and its ceilings", PEER, f"{n_draws} draws", difference)


def _peer_draws(models: Floats, subjects: Floats, name: Comparator, n_draws: int) -> object:
    from rsatoolbox.inference import eval_dual_bootstrap
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    fixed = [ModelFixed(str(i), one) for i, one in enumerate(models)]
    with _quiet():
        return eval_dual_bootstrap(fixed, RDMs(subjects), method=NAMES[name], N=n_draws)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the peer's progress bar and its remarks on ranks."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    chosen = parser.parse_args()
    print(markdown(parity()), markdown(speed(chosen.quick)), sep="\n\n")
