"""Features of gratings decoded from each step of each layer of networks that are ready."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from ready_networks import AREAS, ReadyNetwork

from brainscore_lite.activations import UnitSample, record
from brainscore_lite.datasets import grootswagers2024
from brainscore_lite.metrics import Decoding
from brainscore_lite.metrics.time.depth_as_time import LAYER as DEPTH
from brainscore_lite.metrics.time.depth_as_time import depth_as_time
from brainscore_lite.metrics.time.step_times import PEAKS_MS, StepTimes, select_layer
from brainscore_lite.seeding import generator
from brainscore_lite.stimuli import StimulusSet

FEATURES = tuple(grootswagers2024.FEATURES.values())
OTHERS = "other than "
CENTRE = slice(264, 536)
N_UNITS, N_FOLDS = 64, 4
PEAKS = {**PEAKS_MS, "V2": (PEAKS_MS["V1"] + PEAKS_MS["V4"]) / 2}
LAST_STEP = 3
ALL_STEP_MS = (10, 20, 40)


def gratings() -> StimulusSet:
    """Read the gratings, cut to where they are."""
    stimuli = grootswagers2024.load_stimuli()
    images = [stimuli.image(name)[CENTRE, CENTRE] for name in stimuli.ids]
    return labelled(images, stimuli.ids, dict(stimuli.coords))


def simulated_gratings() -> StimulusSet:
    """Draw gratings of 32 pixels."""
    y, x = np.mgrid[:32, :32]
    tints = np.array([[1, 1, 1], [1, 0.2, 0.2], [0.2, 1, 0.2], [0.2, 0.2, 1]])
    levels = list(np.ndindex(4, 4, 4, 4))
    images = []
    for turn, fine, tint, strong in levels:
        across = x * np.cos(np.pi * turn / 4) + y * np.sin(np.pi * turn / 4)
        wave = (0.2 + 0.2 * strong) * np.cos(across * (0.4 + 0.4 * fine))
        images.append((127 + 127 * wave[..., None] * tints[tint]).astype(np.uint8))
    coords = {name: tuple(str(each[k]) for each in levels) for k, name in enumerate(FEATURES)}
    return labelled(images, ["".join(map(str, each)) for each in levels], coords)


def labelled(
    images: list[Any], ids: Sequence[str], coords: dict[str, tuple[str, ...]]
) -> StimulusSet:
    """Add, for each feature, the combination of the others."""
    for feature in FEATURES:
        rest = [coords[name] for name in FEATURES if name != feature]
        coords[OTHERS + feature] = tuple("-".join(each) for each in zip(*rest, strict=True))
    return StimulusSet.from_arrays("gratings", images, ids=ids, coords=coords)


def decoded(
    source: xr.DataArray, stimuli: StimulusSet, *, noise_draws: Mapping[float, int]
) -> pd.DataFrame:
    """Decode each feature from each step, with noise of so many deviations, in so many draws."""
    coords = {name: ("stimulus", list(each)) for name, each in stimuli.coords.items()}
    source = source.assign_coords(coords)
    spread = source.std("stimulus", skipna=False)
    standard = (source - source.mean("stimulus", skipna=False)) / spread.where(spread > 0, 1.0)
    rows = []
    for noise, n_draws in noise_draws.items():
        for draw in range(n_draws):
            drawn = generator(draw, "gratings", "noise").normal(size=source.shape)
            noisy = standard + noise * standard.copy(data=drawn.astype(source.dtype))
            for feature in FEATURES:
                group = OTHERS + feature
                metric = Decoding(feature, classifier="lda", n_splits=N_FOLDS, group=group)
                values = metric(noisy.rename("activations")).mean("split", skipna=False).values
                rows += [(noise, feature, step, value) for step, value in enumerate(values)]
    found = pd.DataFrame(rows, columns=["noise", "feature", "step", "accuracy"])
    return found.groupby(["noise", "feature", "step"], as_index=False)["accuracy"].mean().dropna()


def measure(
    network: ReadyNetwork, stimuli: StimulusSet, *, noise_draws: Mapping[float, int]
) -> pd.DataFrame:
    """Decode from the steps of each layer, and from depth as time."""
    layers = list(network.layers)
    model = network.load()
    recorded = record(model, stimuli, layers=layers, units=UnitSample(N_UNITS), batch_size=64)
    sources, still = {}, recorded
    if "step" in recorded.dims:
        sources = {layer: select_layer(recorded, layer) for layer in layers}
        still = recorded.isel(step=-1, drop=True)
    sources[DEPTH] = depth_as_time(still, layers=layers, n_steps=len(layers))
    parts = []
    for course, source in sources.items():
        rows = decoded(source, stimuli, noise_draws=noise_draws)
        for step_ms in ALL_STEP_MS:
            when = times(step_ms, n_depths=len(layers)).of_layer(source, layer=course)
            rows[f"ms_{step_ms}"] = rows["step"].map(dict(enumerate(when.values())))
        parts.append(rows.assign(course=course))
    own = {"network": network.name, "kind": network.kind, "seed": network.seed}
    return pd.concat(parts).assign(**own)


def times(step_ms: float, *, n_depths: int) -> StepTimes:
    """Say when steps happen; depth takes as long as the areas of a recurrent network together."""
    of_areas = StepTimes.at_peaks({area: area for area in AREAS}, step_ms=step_ms, peaks_ms=PEAKS)
    start, end = PEAKS["V1"], PEAKS["IT"] + LAST_STEP * step_ms
    return StepTimes({**of_areas.layers, DEPTH: (start, (end - start) / (n_depths - 1))})


def measure_missing(
    listed: list[ReadyNetwork],
    stimuli: StimulusSet,
    file: Path,
    *,
    noise_draws: Mapping[float, int],
) -> None:
    """Append networks to the CSV as they are measured."""
    for network in listed:
        kept = [pd.read_csv(file)] if file.exists() else []
        if any(((k["network"] == network.name) & (k["seed"] == network.seed)).any() for k in kept):
            continue
        rows = pd.concat([*kept, measure(network, stimuli, noise_draws=noise_draws)])
        rows.to_csv(file, index=False, float_format="%.5g")
        print(f"{network.name}, seed {network.seed}: measured", flush=True)
