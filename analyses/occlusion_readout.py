"""Readouts of occluded objects, fitted to whole ones, from networks that are ready."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from PIL import Image
from ready_networks import PIXELS, ReadyNetwork, n_parameters

from brainscore_lite.activations import record
from brainscore_lite.datasets import maniquet2025
from brainscore_lite.datasets.maniquet2025 import OcclusionBehaviour
from brainscore_lite.metrics import ReactionTimes, class_probabilities
from brainscore_lite.metrics.behaviour.readout_entropy import readout_entropy
from brainscore_lite.metrics.splits import Splits
from brainscore_lite.schema import ContractError, activations
from brainscore_lite.seeding import generator
from brainscore_lite.stimuli import StimulusSet

CONTROL = "control"
SIZE = 256
N_CLASSES = 8
N_INNER = 3
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C: from strong to weak
N_SPLITS = 100
TINY = 1e-12

Values = NDArray[np.float64]


def loaded() -> OcclusionBehaviour:
    """Read the data, keeping the images in memory at 256 pixels."""
    found = maniquet2025.load()
    stimuli = found.stimuli
    images = [
        np.asarray(Image.fromarray(stimuli.image(name)).resize((SIZE, SIZE), Image.Resampling.BOX))
        for name in stimuli.ids
    ]
    small = StimulusSet.from_arrays(stimuli.name, images, ids=stimuli.ids, coords=stimuli.coords)
    return replace(found, stimuli=small)


def simulated() -> OcclusionBehaviour:
    """Stand in for the data: textures of eight classes under black squares of five sizes."""
    draws = generator(0, "simulated occlusion")
    textures = draws.integers(0, 256, size=(N_CLASSES, 8, 8))
    hidden = {CONTROL: 0, "eighth": 11, "quarter": 16, "half": 23, "much": 28, "most": 30}
    rows = [
        (c, f"c{c}", f"c{c}e{e}", name)
        for name in hidden
        for c in range(N_CLASSES)
        for e in range(6)
    ]
    images = []
    for c, _, _, name in rows:
        image = np.kron(textures[c], np.ones((4, 4))) * 0.5 + draws.normal(60, 30, size=(32, 32))
        image[: hidden[name], : hidden[name]] = 0
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    _, *coords = zip(*rows, strict=True)
    names = ("category", "object_name", "condition")
    stimuli = StimulusSet.from_arrays(
        "simulated occlusion",
        images,
        ids=[f"{name}_{exemplar}" for *_, exemplar, name in rows],
        coords=dict(zip(names, coords, strict=True)),
    )
    ease = np.array([0.96, 0.94, 0.9, 0.8, 0.7, 0.5])
    people = pd.DataFrame({"average_accuracy": ease, "average_RT": 1400 - 500 * ease})
    people = people.assign(no_mask_accuracy=ease + 0.02, mask_accuracy=ease**1.5)
    people = people.assign(sem_mask_accuracy=0.01, sem_no_mask_accuracy=0.01)
    people["masking_effect"] = people["no_mask_accuracy"] - people["mask_accuracy"]
    persons = pd.DataFrame(
        [
            (
                person,
                name,
                np.clip(a + draws.normal(0, 0.05), 0, 1),
                1400 - 500 * a + draws.normal(),
            )
            for person in range(12)
            for name, a in zip(hidden, ease, strict=True)
        ],
        columns=["participant", "condition", "accuracy", "rt_ms"],
    )
    return OcclusionBehaviour(
        "simulated", people.set_axis(pd.Index(hidden, name="condition")), persons, stimuli,
        species="none", reference="", licence="", caveats=("simulated",), sha256={},
    )  # fmt: skip


def conditions_of(behaviour: OcclusionBehaviour) -> list[str]:
    """Name the conditions of which there are images."""
    return [
        each for each in behaviour.conditions.index if each in behaviour.stimuli.coords["condition"]
    ]


def read_out(features: Values, stimuli: StimulusSet, *, n_folds: int) -> Values:
    """Return log-probabilities (image, class, step) of a readout of whole objects, other exemplars.

    `features` have shape (image, unit, step).
    """
    category, exemplar, condition = (
        np.array(stimuli.coords[name]) for name in ("category", "object_name", "condition")
    )
    whole = np.flatnonzero(condition == CONTROL)
    found = np.full((len(category), len(np.unique(category)), features.shape[2]), np.nan)
    for fold in Splits(n_folds).folds(len(whole), strata=category[whole]):
        train, held = whole[fold.train], np.isin(exemplar, exemplar[whole[fold.test]])
        penalty = chosen_penalty(features[train], category[train])
        for step in range(features.shape[2]):
            p, _ = class_probabilities(
                features[train, :, step],
                category[train],
                test_X=features[held, :, step],
                penalty=penalty,
            )
            found[held, :, step] = np.log(np.maximum(p, TINY))
    return found


def chosen_penalty(features: Values, category: NDArray[np.str_]) -> float:
    """Choose the penalty that reads training objects best, over all steps; the strongest of equals.

    `features` have shape (image, unit, step).
    """
    folds = Splits(N_INNER).folds(len(category), strata=category)
    right = np.zeros(len(PENALTIES))
    for place, penalty in enumerate(PENALTIES):
        for fold in folds:
            for step in range(features.shape[2]):
                p, classes = class_probabilities(
                    features[fold.train, :, step],
                    category[fold.train],
                    test_X=features[fold.test, :, step],
                    penalty=penalty,
                )
                right[place] += (classes[p.argmax(axis=1)] == category[fold.test]).sum()
    return PENALTIES[int(right.argmax())]


def measure(
    network: ReadyNetwork, behaviour: OcclusionBehaviour, *, n_folds: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return accuracy and entropy by step and condition, and the score of the reaction times."""
    model, stimuli = network.load(), behaviour.stimuli
    own: dict[str, Any] = {"network": network.name, "kind": network.kind, "task": network.task}
    own |= {"seed": network.seed, "parameters": n_parameters(model)}
    pooling = None if network.kind == PIXELS else "average"
    recorded = record(model, stimuli, layers=network.layers[-1:], batch_size=50, pooling=pooling)
    features = recorded.values.reshape(*recorded.shape[:2], -1).astype(np.float64)
    features = features[..., ~np.isnan(features).all(axis=(0, 1))]
    z = read_out(features, stimuli, n_folds=n_folds)
    entropy = readout_entropy(z)
    category, exemplar, condition = (
        np.array(stimuli.coords[name]) for name in ("category", "object_name", "condition")
    )
    right = np.unique(category)[z.argmax(axis=1)] == category[:, np.newaxis]
    rows = []
    for name in conditions_of(behaviour):
        inside = np.flatnonzero(condition == name)
        inside = inside[np.lexsort((exemplar[inside], category[inside]))]
        for step in range(z.shape[2]):
            correct = "".join("01"[int(each)] for each in right[inside, step])
            values = (right[inside, step].mean(), entropy[inside, step].mean(), f"e{correct}")
            rows.append((step, name, *values))
    columns = ["step", "condition", "accuracy", "entropy", "correct_by_exemplar"]
    times = reaction_times(z, behaviour) if z.shape[2] > 1 else []
    return (
        pd.DataFrame(rows, columns=columns).assign(**own)[[*own, *columns]],
        pd.DataFrame(times).assign(**own),
    )


def reaction_times(z: Values, behaviour: OcclusionBehaviour) -> list[dict[str, Any]]:
    """Score entropy reaction times of a recurrent network against people's, by condition."""
    stimuli = behaviour.stimuli
    people = behaviour.persons.pivot(index="participant", columns="condition", values="rt_ms")
    people = people[[name for name in people if name in set(stimuli.coords["condition"])]]
    target = xr.DataArray(
        people.to_numpy(), dims=("subject", "condition"), coords={"condition": list(people)}
    )
    readout = activations(z, stimulus=stimuli.ids, layer="readout")
    labelled = readout.assign_coords(condition=("stimulus", list(stimuli.coords["condition"])))
    try:
        found = ReactionTimes(condition="condition", n_splits=N_SPLITS)(labelled, target)
    except ContractError as error:
        return [{"r": np.nan, "ceiling": np.nan, "said": str(error)}]
    values = {name: float(found[name].mean()) for name in found}
    undefined = int(np.isnan(found["r"]).sum())
    return [{**values, "n_splits": found.sizes["split"], "n_undefined": undefined, "said": ""}]


def measure_missing(
    listed: list[ReadyNetwork], behaviour: OcclusionBehaviour, files: list[Path], *, n_folds: int
) -> None:
    """Append networks to the CSVs of accuracy and of reaction times as they are measured."""
    done = set()
    if files[0].exists():
        kept = pd.read_csv(files[0])
        done = set(zip(kept["network"], kept["seed"], strict=True))
    for network in listed:
        if (network.name, network.seed) in done:
            continue
        for rows, file in zip(measure(network, behaviour, n_folds=n_folds), files, strict=True):
            kept = [pd.read_csv(file)] if file.exists() else []
            pd.concat([*kept, rows]).to_csv(file, index=False, float_format="%.5g")
        print(f"{network.name}, seed {network.seed}: measured", flush=True)
