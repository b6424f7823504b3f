"""When can objects be read from macaque IT, and features of gratings from human EEG?

Spikes of 132 IT neurons (zhang_desimone_it: 7 objects at 3 positions, about 20 trials of each,
recorded one neuron at a time): decoding of the object, and reliability of the dissimilarities of
the 21 conditions between odd and even trials (Spearman, neurons standardised), in windows of 150 ms
every 50 ms. Clusters over time are tested on 12 sub-populations of 11 neurons each, which share no
neuron and, recorded apart, no noise: the signs of whole sub-populations are flipped, all 4096 ways.
Decoding of four features of gratings from the EEG of 16 people (grootswagers2024_eeg), with
intervals over people (percentile bootstrap, 2000 draws, also of the time of the peak) and the same
cluster test over people. Tests are one-sided against chance, for each curve by itself. The second
table puts what is measured beside figures noted with the data; those that it does not reproduce are
shown as well. With --quick the IT neurons are simulated, since reading the recording takes long.
The full run takes about a CPU minute.

    python analyses/12_time_courses_of_it.py
    python analyses/12_time_courses_of_it.py --figure-only
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainscore_lite.datasets import grootswagers2024, zhang_desimone2011
from brainscore_lite.figures import OKABE_ITO, save_figure
from brainscore_lite.inference import cluster_test
from brainscore_lite.metrics import Decoding, compare_rdms, rdm
from brainscore_lite.metrics.behaviour.bootstrap_draws import percentile_interval
from brainscore_lite.schema import responses
from brainscore_lite.seeding import generator

NAME = "12_time_courses_of_it"
BIN_MS, WINDOW_MS = 50, 150
N_GROUPS = 12
N_DRAWS, QUICK_DRAWS = 30, 2
N_BOOTSTRAP, QUICK_BOOTSTRAP = 2000, 100
N_PERMUTATIONS = 5000
#: What is noted with the data, by measure and window in ms.
NOTED_IT = {
    ("decoding, 6 trials of each object", -300, -150): 0.08,
    ("decoding, 6 trials of each object", 50, 150): 0.36,
    ("decoding, 6 trials of each object", 100, 250): 0.71,
    ("decoding, 6 trials of each object", 350, 500): 0.56,
    ("RDM reliability", -200, 0): 0.06,
    ("RDM reliability", 150, 300): 0.78,
}
NOTED_EEG = {
    "orientation": (0.266, 124),
    "spatial_frequency": (0.381, 112),
    "colour": (0.342, 112),
    "contrast": (0.350, 96),
}
RESULTS = Path(__file__).parent / "results"


def simulated_it() -> xr.DataArray:
    """Stand in for the recording: 60 neurons tuned to objects from 100 ms on."""
    draws = generator(0, "simulated IT")
    starts = np.arange(-500, 500, BIN_MS)
    objects = np.repeat(["car", "couch", "face", "flower", "guitar", "hand", "kiwi"], 3)
    tuned = draws.gamma(2.0, 1.0, size=(7, 60))[np.arange(21) // 3]
    rate = np.where(starts >= 100, tuned[:, :, None], 2.0)
    return responses(
        draws.poisson(rate, size=(20, *rate.shape)),
        stimulus=[f"{name}_{k % 3}" for k, name in enumerate(objects)],
        neuroid=[f"n{k:02d}" for k in range(60)],
        region="IT",
        animal="simulated",
        time_bins=[(start, start + BIN_MS) for start in starts],
        stimulus_coords={"object_name": objects},
    )


def window(it: xr.DataArray, start_ms: int, end_ms: int) -> xr.DataArray:
    """Count spikes from start to end."""
    inside = (it["start_ms"].values >= start_ms) & (it["end_ms"].values <= end_ms)
    return it.isel(time_bin=inside).sum("time_bin", skipna=False)


def decoded(counts: xr.DataArray, *, n_splits: int = 10) -> float:
    """Decode the object from all trials by maximum correlation."""
    metric = Decoding(
        "object_name", classifier="maximum_correlation", samples="trials", n_splits=n_splits
    )
    return float(metric(counts).mean())


def decoded_from_six(counts: xr.DataArray, *, n_draws: int) -> float:
    """Decode from 6 trials of each object, two at each position, drawn for each neuron anew."""
    draws = generator(0, "six trials")
    accuracies = []
    for _ in range(n_draws):
        keys = np.where(np.isnan(counts.values), np.inf, draws.random(counts.shape))
        drawn = np.take_along_axis(counts.values, keys.argsort(axis=0)[:2], axis=0)
        accuracies.append(decoded(counts.isel(repetition=[0, 1]).copy(data=drawn), n_splits=6))
    return float(np.mean(accuracies))


def rdm_reliability(counts: xr.DataArray) -> float:
    """Compare the dissimilarities of odd and of even trials."""
    halves = []
    for start in (0, 1):
        mean = counts.isel(repetition=slice(start, None, 2)).mean("repetition")
        silent = mean.std("stimulus") == 0
        standard = (mean - mean.mean("stimulus")) / mean.std("stimulus").where(~silent, np.inf)
        halves.append(rdm(standard.transpose("stimulus", "neuroid").values))
    return float(compare_rdms(*halves, method="spearman"))


def tested(values: NDArray[np.float64], chance: float, *, n_draws: int) -> dict:
    """Return mean, interval and the p of each time's cluster, over subjects (axis 0)."""
    draws = generator(0, "subjects").integers(len(values), size=(n_draws, len(values)))
    means = values[draws].mean(axis=1)
    lower, upper = percentile_interval(means.T, level=0.95)
    found = cluster_test(
        values - chance, tail="greater", n_permutations=min(N_PERMUTATIONS, 5 * n_draws)
    )
    p = np.ones(values.shape[1])
    for cluster, of_cluster in enumerate(found.p, start=1):
        p[found.clusters == cluster] = of_cluster
    return {"value": values.mean(axis=0), "lower": lower, "upper": upper, "cluster_p": p}


def measure_it(it: xr.DataArray, *, data: str, quick: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure decoding and reliability in sliding windows, and in the windows that are noted."""
    n_draws = QUICK_DRAWS if quick else N_DRAWS
    whole = {
        "decoding, 6 trials of each object": lambda c: decoded_from_six(c, n_draws=n_draws),
        "decoding, all trials": decoded,
        "RDM reliability": rdm_reliability,
    }
    groups = generator(0, "groups").permutation(it.sizes["neuroid"]).reshape(N_GROUPS, -1)
    parts = {"decoding": (decoded, 1 / 7), "RDM reliability": (rdm_reliability, 0.0)}
    starts = range(-500, 500 - WINDOW_MS + 1, 5 * BIN_MS if quick else BIN_MS)
    counts = [window(it, start, start + WINDOW_MS) for start in starts]
    times = {"start_ms": list(starts), "end_ms": [start + WINDOW_MS for start in starts]}
    tables = [
        pd.DataFrame({"measure": name, **times, "value": [kernel(c) for c in counts]})
        for name, kernel in whole.items()
    ]
    for name, (kernel, chance) in parts.items():
        values = np.array([[kernel(c.isel(neuroid=group)) for c in counts] for group in groups])
        statistics = tested(values, chance, n_draws=QUICK_BOOTSTRAP if quick else N_BOOTSTRAP)
        named = f"{name}, {groups.shape[1]} neurons"
        over = {"n": N_GROUPS, "over": "sub-population"}
        tables.append(pd.DataFrame({"measure": named, **times, **statistics, **over}))
    noted = [
        {
            "measure": name,
            "start_ms": start,
            "end_ms": end,
            "value": whole[name](window(it, start, end)),
            "noted": np.nan if quick else value,
        }
        for (name, start, end), value in NOTED_IT.items()
    ]
    return pd.concat(tables).assign(data=data), pd.DataFrame(noted).assign(data=data)


def measure_eeg(*, quick: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the decoding of each feature from EEG, and its peak, over people."""
    courses = grootswagers2024.load()
    time = courses.accuracy["time"].values
    n_draws = QUICK_BOOTSTRAP if quick else N_BOOTSTRAP
    tables, noted = [], []
    for rate in courses.accuracy["rate"].values:
        for feature in courses.accuracy["feature"].values:
            values = courses.accuracy.sel(feature=feature, rate=rate).values
            statistics = tested(values, courses.chance, n_draws=n_draws)
            over = {"n": len(values), "over": "subject"}
            named = {"measure": f"{feature}, {rate}", "start_ms": time, "end_ms": time}
            tables.append(pd.DataFrame({**named, **statistics, **over}))
            if rate == "slow":
                noted += peak(values, time, feature=str(feature), n_draws=n_draws)
    data = grootswagers2024.NAME
    return pd.concat(tables).assign(data=data), pd.DataFrame(noted).assign(data=data)


def peak(
    values: NDArray[np.float64], time: NDArray[np.int64], *, feature: str, n_draws: int
) -> list[dict]:
    """Return height and time of the peak of the mean course, with intervals over people."""
    draws = generator(0, "peaks").integers(len(values), size=(n_draws, len(values)))
    means = values[draws].mean(axis=1)
    height, when = NOTED_EEG[feature]
    course = values.mean(axis=0)
    rows = []
    for name, value, drawn, figure in (
        ("peak accuracy", course.max(), means.max(axis=1), height),
        ("peak time in ms", time[course.argmax()], time[means.argmax(axis=1)], when),
    ):
        lower, upper = percentile_interval(drawn.astype(float), level=0.95)
        row = {"measure": f"{feature}, slow: {name}", "value": value, "noted": figure}
        rows.append({**row, "lower": float(lower), "upper": float(upper)})
    return rows


def draw(table: pd.DataFrame, noted: pd.DataFrame) -> Figure:
    """Draw the time courses of IT and of EEG, with bars where clusters have p <= .05."""
    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    decoding, reliability, eeg = figure.subplots(1, 3)
    of_eeg = table["data"] == grootswagers2024.NAME
    it = table[~of_eeg]
    names = list(dict.fromkeys(it["measure"]))
    for axis, word in ((decoding, "decoding"), (reliability, "RDM reliability")):
        for colour, name in zip(OKABE_ITO, (n for n in names if n.startswith(word)), strict=False):
            course(axis, it[it["measure"] == name], label=name, colour=colour)
        rows = noted[noted["measure"].str.startswith(word)]
        middle = (rows["start_ms"] + rows["end_ms"]) / 2
        axis.plot(middle, rows["noted"], "kx", markersize=6, label="noted with the data")
        axis.axvline(0, color="0.6", linewidth=0.8)
        axis.set(xlabel="middle of the window (ms from onset)", title=it["data"].iloc[0])
    decoding.axhline(1 / 7, color="0.6", linestyle="--", linewidth=0.8)
    decoding.set(ylabel="accuracy (dashed: chance)", ylim=(-0.03, 1.03))
    reliability.axhline(0, color="0.6", linestyle="--", linewidth=0.8)
    reliability.set(ylabel="Spearman, odd and even trials", ylim=(-0.25, 1.03))
    slow = table[of_eeg & table["measure"].str.endswith("slow")]
    for place, (colour, name) in enumerate(zip(OKABE_ITO, NOTED_EEG, strict=False)):
        rows = slow[slow["measure"] == f"{name}, slow"]
        course(eeg, rows, label=name.replace("_", " "), colour=colour, bar=0.235 - 0.004 * place)
    eeg.axhline(0.25, color="0.6", linestyle="--", linewidth=0.8)
    eeg.axvline(0, color="0.6", linewidth=0.8)
    eeg.set(xlabel="ms from onset\n(bars: clusters with p <= .05)")
    eeg.set(ylabel="accuracy (dashed: chance)")
    eeg.set_title("grootswagers2024_eeg, slow rate")
    for axis in (decoding, reliability, eeg):
        axis.legend(fontsize=7, frameon=False)
    return figure


def course(axis: Axes, rows: pd.DataFrame, *, label: str, colour: str, bar: float = -0.02) -> None:
    """Draw one time course, its interval, and a bar under it where it is above chance."""
    middle = ((rows["start_ms"] + rows["end_ms"]) / 2).to_numpy()
    axis.plot(middle, rows["value"], color=colour, linewidth=1.4, label=label)
    if rows["n"].notna().all():
        axis.fill_between(
            middle, rows["lower"], rows["upper"], color=colour, alpha=0.2, linewidth=0
        )
        above = np.where(rows["cluster_p"] <= 0.05, bar, np.nan)
        axis.plot(middle, above, color=colour, linewidth=2.5, solid_capstyle="butt")


def main() -> None:
    """Measure, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="simulated neurons, few windows")
    parser.add_argument(
        "--figure-only", action="store_true", help="from the CSVs of an earlier run"
    )
    arguments = parser.parse_args()
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    curves, beside = output / f"{NAME}.csv", output / f"{NAME}_noted.csv"
    if not arguments.figure_only:
        if arguments.quick:
            it, data = simulated_it(), "simulated IT"
        else:
            it, data = zhang_desimone2011.load(bin_ms=BIN_MS)["IT"], zhang_desimone2011.NAME
        measured = measure_it(it, data=data, quick=arguments.quick)
        of_eeg = measure_eeg(quick=arguments.quick)
        for path, parts in zip((curves, beside), zip(measured, of_eeg, strict=True), strict=True):
            pd.concat(parts).to_csv(path, index=False, float_format="%.5g")
    figure = draw(pd.read_csv(curves), pd.read_csv(beside))
    save_figure(figure, output / NAME, formats=("svg",))
    print(pd.read_csv(beside).to_string(index=False))


if __name__ == "__main__":
    main()
