"""One macaque IT site, whose pairing with the V4 session's images is inferred."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainscore_lite.datasets import load_dataset
from brainscore_lite.schema import average_repetitions
from brainscore_lite.seeding import generator


def test_the_pairing_is_marked_as_inferred(mirror: Path) -> None:
    dataset = load_dataset("kar_it_site")
    assert dataset["IT"].shape == (63, 640, 1)
    assert "alignment inferred" in dataset.caveats
    assert dataset.licence == "none stated"
    v4 = load_dataset("cowley2023_v4_210325")["V4"]
    assert list(dataset["IT"].stimulus.values) == list(v4.stimulus.values)


def test_split_half_reliability(mirror: Path) -> None:
    trials = load_dataset("kar_it_site")["IT"].values[:, :, 0]
    random = generator(0, "test", "halves")
    corrected = []
    for _ in range(100):
        order = random.permutation(63)
        r = np.corrcoef(trials[order[:31]].mean(axis=0), trials[order[31:62]].mean(axis=0))[0, 1]
        corrected.append(2 * r / (1 + r))
    assert np.mean(corrected) == pytest.approx(0.847, abs=0.005)


def test_v4_predicts_the_site_across_the_pairing_and_no_other(mirror: Path) -> None:
    v4 = average_repetitions(load_dataset("cowley2023_v4_210325")["V4"]).values
    it = average_repetitions(load_dataset("kar_it_site")["IT"]).values[:, 0]
    random = generator(0, "test", "permutations")
    targets = np.stack([it, *(random.permutation(it) for _ in range(200))], axis=1)
    ridge = make_pipeline(
        StandardScaler(), RidgeCV(alphas=np.logspace(-1, 5, 13), alpha_per_target=True)
    )
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(ridge, v4, targets, cv=folds)
    r = [np.corrcoef(predicted[:, i], targets[:, i])[0, 1] for i in range(targets.shape[1])]
    assert r[0] == pytest.approx(0.457, abs=0.02)
    assert max(r[1:]) < 0.15
