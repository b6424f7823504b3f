"""Do networks read features of gratings in the order, and with the time course, of human EEG?

256 gratings of four orientations, spatial frequencies, colours and contrasts; the EEG of 16 people
gives the accuracy of decoding each feature over time (grootswagers2024_eeg, slow rate). Here each
feature is decoded from each step of each layer: 64 units drawn from the layer, a linear
discriminant with shrunken covariance, four folds that hold out whole combinations of the other
three features, chance .25. Gratings are cut to their 272 pixels. People's EEG is noisy and a
network is not, so units are also given normal noise of twice their deviation over images (two
draws); both are in the tables, and which noise is right is not known.

Step k of a layer happens at START + k STEP: V1 80, V4 98, IT 114 ms (peaks of macaque areas,
evolution_psths), V2 half way between V1 and V4 (assumed); a step lasts 20 ms (assumed; also 10 and
40). The control is depth as time: the layers of a feedforward network, or of the last step of a
recurrent one, spread evenly over the same span. Reported is Pearson's r, over all points and
features, of network and EEG, both less the mean of each feature, so that it compares shapes over
time and not which feature is easy. Beside it: r of EEG with time alone, the ceiling from halves of
the people, and Spearman's rho of the four peak times. Onsets are not compared: without noise every
feature is decoded from the first step of every network here. Intervals resample people, not
gratings or networks, so that they say nothing of other networks. Four features give a rank
correlation of n = 4: a null or a negative result stands as it is.

Networks are those of `ready_networks.py`; those in the CSV are not measured again (delete it to
begin anew). About 10 CPU seconds a network, half a minute for one trained on ImageNet.

    python analyses/16_networks_and_eeg.py
    python analyses/16_networks_and_eeg.py --figure-only
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from gratings_decoding import (
    ALL_STEP_MS,
    DEPTH,
    FEATURES,
    gratings,
    measure_missing,
    simulated_gratings,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from ready_networks import PIXELS, ready_networks, untrained_wirings
from rule_grid import QUICK, RESULTS
from rule_tables import markdown
from scipy.stats import rankdata

from brainscore_lite.datasets import grootswagers2024
from brainscore_lite.figures import OKABE_ITO, save_figure
from brainscore_lite.metrics.behaviour.bootstrap_draws import percentile_interval
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.reliability.split_half import spearman_brown
from brainscore_lite.seeding import generator

NAME = "16_networks_and_eeg"
NOISE = 2.0
NOISE_DRAWS, QUICK_NOISE_DRAWS = {0.0: 1, NOISE: 2}, {NOISE: 1}
STEP_MS = 20
QUICK_LAYERS = ("V1", "IT")
TOGETHER = "all areas"
EEG, PEOPLE = grootswagers2024.NAME, "people"
KEYS = ["network", "kind", "seed", "course", "noise"]
ORDER = "rho_of_order"
N_DRAWS, QUICK_DRAWS = 1000, 50
SHOWN = ("natural_blt", "natural_blt_untrained", "natural_b", "squeezenet1_1")
LABELS = {DEPTH: "layers, as steps"}

Values = NDArray[np.float64]


def simulated_eeg() -> xr.DataArray:
    """Stand in for the EEG: a bump of each feature, and noise."""
    draws = generator(0, "simulated EEG")
    time = np.arange(-100, 600, 4)
    peak = np.array([130, 110, 110, 95])
    bump = 0.1 * np.exp(-0.5 * ((time[:, None] - peak) / 30) ** 2)
    values = 0.25 + bump + draws.normal(0, 0.01, size=(6, *bump.shape))
    return xr.DataArray(
        values,
        dims=("subject", "time", "feature"),
        coords={"time": time, "feature": list(FEATURES)},
    )


def eeg_draws(eeg: xr.DataArray, n_draws: int) -> xr.DataArray:
    """Return means over people (draw, time, feature): of all, then of people redrawn."""
    n = eeg.sizes["subject"]
    draws = generator(0, "EEG", "people")
    weights = np.vstack([np.ones(n), draws.multinomial(n, np.full(n, 1 / n), n_draws)]) / n
    return xr.dot(xr.DataArray(weights, dims=("draw", "subject")), eeg, dim="subject")


def eeg_halves(eeg: xr.DataArray, n_draws: int) -> list[xr.DataArray]:
    """Return means over two random halves of the people, each (draw, time, feature)."""
    n = eeg.sizes["subject"]
    orders = generator(0, "EEG", "halves").permuted(np.tile(np.arange(n), (n_draws, 1)), axis=1)
    halves = [(orders < n // 2).astype(float), (orders >= n // 2).astype(float)]
    return [
        xr.dot(
            xr.DataArray(half / half.sum(axis=1, keepdims=True), dims=("draw", "subject")),
            eeg,
            dim="subject",
        )
        for half in halves
    ]


def shapes(means: xr.DataArray, ms: Values) -> Values:
    """Return EEG at a network's times, less each feature's mean, (draw, feature, point)."""
    at = means.sel(time=ms, method="nearest").sel(feature=list(FEATURES))
    values: Values = at.transpose("draw", "feature", "time").values
    return values - values.mean(axis=2, keepdims=True)


def with_all_areas(rows: pd.DataFrame) -> pd.DataFrame:
    """Add, for recurrent networks, the points of all areas as one more course."""
    rows = rows.assign(layer=rows["course"])
    both = pd.concat([rows, rows[rows["course"] != DEPTH].assign(course=TOGETHER)])
    places = {name: place for place, name in enumerate(rows["network"].unique())}
    return both.sort_values("network", key=lambda names: names.map(places), kind="stable")


def compare(rows: pd.DataFrame, eeg: xr.DataArray, *, n_draws: int) -> pd.DataFrame:
    """Correlate the courses of networks with those of EEG, for each map of steps to ms."""
    means, halves, found = eeg_draws(eeg, n_draws), eeg_halves(eeg, n_draws), []
    for key, own in with_all_areas(rows).groupby(KEYS, sort=False):
        for step_ms in ALL_STEP_MS:
            points = own.pivot(
                index=["layer", "step", f"ms_{step_ms}"], columns="feature", values="accuracy"
            )
            ms = points.index.get_level_values(2).to_numpy(float)
            values = points[list(FEATURES)].to_numpy().T
            network = values - values.mean(axis=1, keepdims=True)
            people = shapes(means, ms)
            between = correlated(*(shapes(half, ms) for half in halves))
            alone = np.tile(ms - ms.mean(), (len(FEATURES), 1))
            r = correlated(network, people)
            lower, upper = percentile_interval(r[1:], level=0.95)
            reliability = float(spearman_brown(np.array(np.nanmean(between))))
            found.append(
                {
                    **dict(zip(KEYS, key, strict=True)),
                    "step_ms": step_ms,
                    "r": r[0],
                    "lower": float(lower),
                    "upper": float(upper),
                    "r_of_time_alone": correlated(alone, people[:1])[0],
                    "ceiling": np.sqrt(max(reliability, 0.0)),
                    "points": network.size,
                    "over": "people",
                    "n": eeg.sizes["subject"],
                }
            )
    return pd.DataFrame(found)


def correlated(a: Values, b: Values) -> Values:
    """Correlate over features and points, for each draw; NaN where one does not vary."""
    flat = [each.reshape(-1, each.shape[-1] * each.shape[-2]) for each in (a, b)]
    n_draws = max(map(len, flat))
    first, second = (np.broadcast_to(each, (n_draws, each.shape[1])).T for each in flat)
    r, undefined = pearson_columns(first, second)
    return np.where(undefined, np.nan, r)


def peaks(rows: pd.DataFrame, eeg: xr.DataArray, *, data: str, n_draws: int) -> pd.DataFrame:
    """Say when each feature is decoded best, in networks and in EEG, and whether in one order."""
    means = eeg_draws(eeg, n_draws).transpose("draw", "feature", "time").sel(feature=list(FEATURES))
    when = eeg["time"].values[means.values.argmax(axis=2)].astype(float)
    lower, upper = percentile_interval(when[1:].T, level=0.95)
    head = {"network": data, "kind": PEOPLE, "seed": 0, "course": "time", "noise": 0.0}
    found = [
        {
            **head,
            **dict(zip(FEATURES, when[0], strict=True)),
            **{f"lower_{name}": low for name, low in zip(FEATURES, lower, strict=True)},
            **{f"upper_{name}": high for name, high in zip(FEATURES, upper, strict=True)},
        }
    ]
    ranks = rankdata(when, axis=1).T
    for key, own in with_all_areas(rows).groupby(KEYS, sort=False):
        if key[KEYS.index("course")] not in (TOGETHER, DEPTH):
            continue
        best = best_times(own)
        rho, undefined = pearson_columns(
            np.broadcast_to(rankdata(best)[:, None], ranks.shape), ranks
        )
        rho = np.where(undefined, np.nan, rho)
        low, high = percentile_interval(rho[1:], level=0.95)
        found.append(
            {
                **dict(zip(KEYS, key, strict=True)),
                **dict(zip(FEATURES, best, strict=True)),
                ORDER: rho[0],
                "lower": float(low),
                "upper": float(high),
            }
        )
    return pd.DataFrame(found)


def best_times(rows: pd.DataFrame) -> Values:
    """Return the ms of the highest accuracy of each feature; the earliest of equals."""
    ordered = rows.sort_values(f"ms_{STEP_MS}", kind="stable").set_index("feature")
    return np.array(
        [
            own[f"ms_{STEP_MS}"].to_numpy()[own["accuracy"].to_numpy().argmax()]
            for own in (ordered.loc[[name]] for name in FEATURES)
        ]
    )


def table(found: pd.DataFrame, best: pd.DataFrame) -> str:
    """Write r of shapes, its ceiling and that of time alone, and the order of the peaks."""
    rows = []
    main = found[found["step_ms"] == STEP_MS]
    for (network, kind, course), own in main.groupby(["network", "kind", "course"], sort=False):
        row = {"network": network, "kind": kind, "course": course, "seeds": own["seed"].nunique()}
        for noise, each in own.groupby("noise", sort=False):
            row[f"r, noise {noise:g}"] = ranged(each)
        other = found[(found["network"] == network) & (found["course"] == course)]
        noisy = other[other["noise"] == NOISE].groupby("step_ms")["r"].mean()
        for step_ms in ALL_STEP_MS:
            if step_ms != STEP_MS:
                row[f"r, noise {NOISE:g}, {step_ms} ms a step"] = f"{noisy[step_ms]:.2f}"
        row["time alone"] = f"{own['r_of_time_alone'].iloc[0]:.2f}"
        row["ceiling"] = f"{own['ceiling'].iloc[0]:.2f}"
        rows.append(row)
    order = []
    for (network, course, noise), own in best.groupby(["network", "course", "noise"], sort=False):
        row = {"network": network, "course": course, "noise": f"{noise:g}"}
        of_people = own["kind"].iloc[0] == PEOPLE
        for name in FEATURES:
            said = f"{own[name].mean():.0f}"
            if of_people:
                said += " [{:.0f}, {:.0f}]".format(*own[[f"lower_{name}", f"upper_{name}"]].iloc[0])
            row[f"{name.replace('_', ' ')} (ms)"] = said
        row["rho of the order, n = 4"] = "" if of_people else ranged(own.assign(r=own[ORDER]))
        order.append(row)
    shape = f"Pearson's r of shapes over time [95 % interval over people], {STEP_MS} ms a step:"
    peak = "Time of the highest accuracy (of networks: by the map), and its order against EEG:"
    parts = [shape, markdown(pd.DataFrame(rows)), peak, markdown(pd.DataFrame(order))]
    return "\n\n".join(parts)


def ranged(rows: pd.DataFrame) -> str:
    """Write a value with its interval, or the mean of several seeds with their range."""
    if len(rows) == 1:
        r, lower, upper = rows[["r", "lower", "upper"]].iloc[0]
        return "-" if np.isnan(r) else f"{r:.2f} [{lower:.2f}, {upper:.2f}]"
    return f"{rows['r'].mean():.2f} ({rows['r'].min():.2f} to {rows['r'].max():.2f})"


def draw(rows: pd.DataFrame, found: pd.DataFrame, courses: pd.DataFrame, data: str) -> Figure:
    """Draw EEG, the courses of two networks, and r of all."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    eeg, recurrent, feedforward = top.subplots(1, 3)
    for colour, feature in zip(OKABE_ITO, FEATURES, strict=False):
        own = courses[courses["feature"] == feature]
        eeg.plot(own["ms"], own["accuracy"], color=colour, label=feature.replace("_", " "))
        eeg.fill_between(own["ms"], own["lower"], own["upper"], color=colour, alpha=0.2, lw=0)
    eeg.set(xlim=(0, 300), xlabel="ms from onset", ylabel="accuracy (dashed: chance)", title=data)
    eeg.legend(fontsize=7, frameon=False)
    noisy = rows[rows["noise"] == NOISE]
    with_steps = [name for name in SHOWN if TOGETHER in set(of_network(found, name)["course"])]
    without = [name for name in SHOWN[::-1] if set(of_network(found, name)["course"]) == {DEPTH}]
    if with_steps:
        by_step(recurrent, noisy[noisy["network"] == with_steps[0]], areas=("V1", "IT"))
    if without:
        by_step(feedforward, noisy[noisy["network"] == without[0]], areas=(DEPTH,))
    for axis in (eeg, recurrent, feedforward):
        axis.axhline(grootswagers2024.CHANCE, color="0.6", linestyle="--", linewidth=0.8)
    likeness(bottom.subplots(), found)
    return figure


def of_network(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of a network."""
    return rows[rows["network"] == name]


def by_step(axis: Axes, rows: pd.DataFrame, *, areas: tuple[str, ...]) -> None:
    """Draw the accuracy of each feature over the steps of some areas, seeds averaged."""
    for style, area in zip(("o-", "s--"), areas, strict=False):
        for colour, feature in zip(OKABE_ITO, FEATURES, strict=False):
            own = rows[(rows["course"] == area) & (rows["feature"] == feature)]
            mean = own.groupby(f"ms_{STEP_MS}")["accuracy"].mean()
            axis.plot(mean.index, mean, style, color=colour, markersize=4)
        axis.plot([], [], style, color="0.3", markersize=4, label=LABELS.get(area, area))
    name = str(rows["network"].iloc[0]).replace("_", " ")
    axis.set(xlabel=f"ms of the step, by the map ({STEP_MS} ms a step)", title=name)
    axis.legend(fontsize=7, frameon=False)


def likeness(axis: Axes, found: pd.DataFrame) -> None:
    """Draw r of each network and course, with intervals over people, ceiling and time alone."""
    main = found[(found["step_ms"] == STEP_MS) & (found["noise"] == NOISE)]
    labels = []
    for place, ((network, course), own) in enumerate(
        main.groupby(["network", "course"], sort=False)
    ):
        colour = OKABE_ITO[2] if course == DEPTH else OKABE_ITO[1 if course == TOGETHER else 0]
        untrained = own["kind"].iloc[0].startswith("untrained")
        bars = np.abs(own[["lower", "upper"]].to_numpy() - own[["r"]].to_numpy()).T
        axis.errorbar(
            np.full(len(own), place), own["r"], yerr=bars, fmt="o", color=colour, markersize=5,
            elinewidth=0.8, markerfacecolor="white" if untrained else colour,
        )  # fmt: skip
        axis.hlines(own["ceiling"].iloc[0], place - 0.35, place + 0.35, color="0.3", linewidth=1)
        alone = own["r_of_time_alone"].iloc[0]
        axis.hlines(alone, place - 0.35, place + 0.35, color="0.3", linewidth=1, linestyle=":")
        labels.append(f"{network.replace('_', ' ').replace('untrained', 'untr.')}, {course}")
    axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize=7)
    axis.axhline(0, color="0.7", linewidth=0.8)
    axis.set(ylabel="r of shapes over time", ylim=(-1, 1.05))
    axis.set_title(
        "networks and EEG (bars: 95 % over people; line: ceiling; dotted: time alone; "
        "open: untrained)"
    )


def main() -> None:
    """Decode from the networks that are not in the CSV, compare with EEG, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="simulated gratings, EEG, one network")
    parser.add_argument("--figure-only", action="store_true", help="from the CSVs of earlier runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    output = given.output or (QUICK if given.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    files = [output / f"{NAME}{end}.csv" for end in ("", "_likeness", "_peaks", "_of_people")]
    if not given.figure_only:
        n_draws = QUICK_DRAWS if given.quick else N_DRAWS
        if given.quick:
            eeg, data, stimuli = simulated_eeg(), "simulated EEG", simulated_gratings()
            listed = [replace(untrained_wirings()[-1], layers=QUICK_LAYERS)]
        else:
            eeg, data = grootswagers2024.load().accuracy.sel(rate="slow"), EEG
            stimuli, listed = gratings(), [n for n in ready_networks() if n.kind != PIXELS]
        noise_draws = QUICK_NOISE_DRAWS if given.quick else NOISE_DRAWS
        measure_missing(listed, stimuli, files[0], noise_draws=noise_draws)
        rows = pd.read_csv(files[0])
        parts = (
            compare(rows, eeg, n_draws=n_draws),
            peaks(rows, eeg, data=data, n_draws=n_draws),
            people(eeg, n_draws).assign(data=data),
        )
        for each, file in zip(parts, files[1:], strict=True):
            each.to_csv(file, index=False, float_format="%.5g")
    rows, found, best, courses = (pd.read_csv(file) for file in files)
    text = table(found, best)
    (output / f"{NAME}.md").write_text(text + "\n", encoding="utf-8")
    made = draw(rows, found, courses, courses["data"].iloc[0])
    save_figure(made, output / NAME, formats=("svg",))
    print(text)


def people(eeg: xr.DataArray, n_draws: int) -> pd.DataFrame:
    """Return the mean courses of EEG with intervals over people."""
    means = eeg_draws(eeg, n_draws)
    parts = []
    for feature in FEATURES:
        values = means.sel(feature=feature).transpose("draw", "time").values
        lower, upper = percentile_interval(values[1:].T, level=0.95)
        own = {"feature": feature, "ms": eeg["time"].values, "accuracy": values[0]}
        parts.append(pd.DataFrame({**own, "lower": lower, "upper": upper}))
    return pd.concat(parts)


if __name__ == "__main__":
    main()
