"""Ceilings and Brain-Score's protocol beside Brain-Score's own code: agreement and CPU time.

Both sides get the same arrays, splits and halves. `make peers` builds Brain-Score's environment.

    python speed/ceilings.py            # 3200 stimuli x 1000 features x 168 sites, 5 repetitions
    python speed/ceilings.py --quick    # small sizes
"""

import argparse
from collections.abc import Callable

import numpy as np
import xarray as xr
from measure import Parity, Speed, cpu_seconds, markdown, run_peer
from numpy.typing import NDArray

from brainscore_lite.benchmarks import brainscore_score
from brainscore_lite.benchmarks.brainscore_protocol import METRICS, REGRESSIONS
from brainscore_lite.metrics.reliability.internal_consistency import internal_consistency
from brainscore_lite.metrics.reliability.split_half import split_half_reliability
from brainscore_lite.schema import activations, responses
from brainscore_lite.score import Score

PEER = "Brain-Score 2.4.2"
Arrays = dict[str, NDArray[np.generic]]
SMALL = (240, 60, 12)
FULL = (3200, 1000, 168)
N_REPETITIONS = 5
N_OBJECTS = 8


def recorded(n_stimuli: int, n_features: int, n_sites: int) -> Arrays:
    """Make responses of two subjects to stimuli in random order, and features that predict them."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n_stimuli, 20)) / np.sqrt(np.arange(1, 21))
    source = latent @ rng.standard_normal((20, n_features))
    source += 0.3 * rng.standard_normal(source.shape)
    signal = latent @ rng.standard_normal((20, n_sites))
    noise = rng.standard_normal((N_REPETITIONS, n_stimuli, n_sites))
    return {
        "source": source,
        "trials": signal + 2 * noise,
        "stimulus": np.array([f"image_{i:05d}" for i in rng.permutation(n_stimuli)]),
        "object": np.array([f"object_{i}" for i in rng.integers(N_OBJECTS, size=n_stimuli)]),
        "subject": np.where(np.arange(n_sites) < n_sites // 2, "Tito", "Chabo"),
        "test": rng.random(n_stimuli) < 0.25,
    }


def labelled(given: Arrays) -> tuple[xr.DataArray, xr.DataArray]:
    """Label the arrays as this package does."""
    source = activations(given["source"], stimulus=given["stimulus"], layer="conv")
    recording = responses(
        given["trials"],
        stimulus=given["stimulus"],
        neuroid=[f"site_{i:04d}" for i in range(given["trials"].shape[2])],
        region="IT",
        animal=given["subject"].tolist(),
        stimulus_coords={"object_name": given["object"]},
    )
    return source, recording.assign_coords(held_out=("stimulus", given["test"]))


def asked(given: Arrays, metrics: tuple[str, ...], *, runs: int = 1, variants: bool) -> Arrays:
    """Ask the peer for these metrics, each timed `runs` times, and for variants of the fit."""
    asks = {"metrics": metrics, "runs": runs, "variants": variants}
    return given | {name: np.array(value) for name, value in asks.items()}


def parity() -> list[Parity]:
    """Largest difference of every metric and of every historic normalisation."""
    given = recorded(*SMALL)
    peer = run_peer("brainscore", "brainscore_protocol.py", asked(given, METRICS, variants=True))
    source, recording = labelled(given)
    shape = " x ".join(map(str, SMALL))
    data = f"{shape}, {N_REPETITIONS} repetitions"
    rows = [
        Parity(
            "split-half ceiling, 10 shuffled halves of the repetitions",
            f"{PEER} InternalConsistency",
            data,
            _apart([(internal_consistency(given["trials"]), peer["ceiling_table"])]),
        )
    ]
    for metric in METRICS:
        score = brainscore_score(source, recording, metric=metric)
        pairs = [(score.raw, peer[metric])]
        if f"{metric}_error" in peer:
            pairs.append((score.split_error, peer[f"{metric}_error"]))
        note = ""
        if metric in REGRESSIONS:
            pairs += _of_regression(score, source, recording, metric, peer)
            note = "raw, error, r2/c, by subject, fixed test set, r2/c by site"
        if metric == "pls":
            note += "; its power iteration stops at 1e-6"
        if metric == "rsa":
            pairs += [(score.normalized(), peer["rsa_ceiled"])]
            pairs += [(score.ceiling_value, peer["rsa_ceiling"])]
            note = "with RSACeiling"
        rows.append(Parity(f"protocol brainscore, {metric}", PEER, data, _apart(pairs), note))
    return rows


def _of_regression(
    score: Score, source: xr.DataArray, recording: xr.DataArray, metric: str, peer: Arrays
) -> list[tuple[object, object]]:
    by = brainscore_score(source, recording, metric=metric, by="animal")
    fixed = brainscore_score(source, recording, metric=metric, test="held_out")
    return [
        (score.normalized("r2/c"), peer[f"{metric}_ceiled"]),
        ([by.normalized("r2/c"), by.raw], peer[f"{metric}_by_subject"]),
        (fixed.raw, peer[f"{metric}_fixed"]),
        (fixed.normalized("r2/c by neuroid"), peer[f"{metric}_fixed_by_neuroid"]),
    ]


def _apart(pairs: list[tuple[object, object]]) -> float:
    return max(float(np.abs(np.subtract(ours, theirs)).max()) for ours, theirs in pairs)


def speed(quick: bool) -> list[Speed]:
    """CPU seconds of the ceiling and of whole scores, ceiling included on both sides."""
    shape, runs = (SMALL, 3) if quick else (FULL, 1)
    given = recorded(*shape)
    metrics = ("pls", "ridge", "ridgecv") if quick else ("pls", "ridge")
    peer = run_peer(
        "brainscore", "brainscore_protocol.py", asked(given, metrics, runs=runs, variants=False)
    )
    source, recording = labelled(given)
    ceiling = float(np.median(peer["ceiling_cpu"]))

    def row(work: str, ours: Callable[[], object], theirs: float, target: float | None) -> Speed:
        ours()
        sizes = " x ".join(map(str, shape))
        return Speed(f"{work}, {sizes}", PEER, cpu_seconds(ours), theirs, target)

    rows = [
        row("ceiling, same halves", lambda: internal_consistency(given["trials"]), ceiling, 100),
        row("ceiling, our halves", lambda: split_half_reliability(given["trials"]), ceiling, 100),
    ]
    for metric in metrics:
        theirs = float(np.median(peer[f"{metric}_cpu"])) + ceiling

        def ours(metric: str = metric) -> object:
            return brainscore_score(source, recording, metric=metric)

        rows.append(row(f"{metric} with ceiling", ours, theirs, 10 if metric == "pls" else None))
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    quick = parser.parse_args().quick
    print(markdown(parity()), markdown(speed(quick)), sep="\n\n")


if __name__ == "__main__":
    main()
