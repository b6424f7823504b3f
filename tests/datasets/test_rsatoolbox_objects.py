"""Objects of rsatoolbox from labelled arrays and back, with nothing lost."""

import numpy as np
import pytest
import xarray as xr
from rsatoolbox.data import Dataset, TemporalDataset
from rsatoolbox.rdm import RDMs, calc_rdm, calc_rdm_movie

from brainscore_lite.datasets.rsatoolbox_objects import from_rsatoolbox, to_rsatoolbox
from brainscore_lite.metrics.dissimilarities.rdm import condensed, rdm, square
from brainscore_lite.metrics.dissimilarities.recorded_rdms import rdm_movie
from brainscore_lite.schema import ContractError, activations, match_stimuli, rdms, responses

RNG = np.random.default_rng(0)
NAMES = ["pear", "apple", "zebra", "car"]  # not in the order of the alphabet
VALUES = RNG.poisson(4.0, size=(3, 4, 5)).astype(float)
VALUES[0, 1] = np.nan  # a trial that was not recorded
VALUES[2, 3, 4] = np.nan  # a unit that was lost in a trial
BINS = [(0.0, 50.0), (50.0, 100.0)]


def trials(
    values: np.ndarray = VALUES, bins: list[tuple[float, float]] | None = None
) -> xr.DataArray:
    array = responses(
        values,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(5)],
        region=["V4", "V4", "IT", "IT", "IT"],
        animal="m1",
        time_bins=bins,
        stimulus_coords={"object_name": ["fruit", "fruit", "animal", "object"]},
        neuroid_coords={"session": list("abcde")},
        name="recording",
    )
    block = RNG.normal(size=array.shape[:2])
    block[0, 1] = np.nan
    return array.assign_coords(
        day=("repetition", ["mon", "tue", "mon"]), block=(("repetition", "stimulus"), block)
    )


def test_trials_become_rows_and_come_back() -> None:
    array = trials()
    given = to_rsatoolbox(array)
    assert type(given) is Dataset
    assert given.measurements.shape == (11, 5)
    assert given.obs_descriptors["stimulus"].tolist() == [
        *["pear"] * 3,
        *["apple"] * 2,
        *["zebra"] * 3,
        *["car"] * 3,
    ]
    assert given.obs_descriptors["repetition"].tolist()[:5] == [0, 1, 2, 1, 2]
    assert given.obs_descriptors["object_name"].tolist()[3] == "fruit"
    assert given.obs_descriptors["day"].tolist()[:5] == ["mon", "tue", "mon", "tue", "mon"]
    assert given.channel_descriptors["region"].tolist() == ["V4", "V4", "IT", "IT", "IT"]
    xr.testing.assert_identical(from_rsatoolbox(given), array)


def test_times_become_a_temporal_dataset_and_come_back() -> None:
    array = trials(np.stack([VALUES, VALUES + 1], axis=-1), BINS)
    given = to_rsatoolbox(array)
    assert type(given) is TemporalDataset
    assert given.time_descriptors["time"].tolist() == [25.0, 75.0]
    xr.testing.assert_identical(from_rsatoolbox(given), array)


@pytest.mark.parametrize("n_steps", [0, 3])
def test_activations_come_back(n_steps: int) -> None:
    shape = (4, 6, n_steps) if n_steps else (4, 6)
    layers = ["a", "a", "a", "b", "b", "b"]
    array = activations(RNG.normal(size=shape), stimulus=NAMES, layer=layers, channel=range(6))
    given = to_rsatoolbox(array.assign_coords(step_ms=("step", [1, 2, 3])) if n_steps else array)
    assert type(given) is (TemporalDataset if n_steps else Dataset)
    back = from_rsatoolbox(given)
    xr.testing.assert_identical(back.drop_vars("step_ms", errors="ignore"), array)


def matrices(n_subjects: int = 2) -> xr.DataArray:
    patterns = RNG.normal(size=(n_subjects, 4, 9))
    return rdms(
        np.stack([square(rdm(each)) for each in patterns]),
        stimulus=NAMES,
        subject=[f"s{i}" for i in range(n_subjects)],
        region="IT",
        species="human",
        name="fmri",
    ).assign_coords(
        age=("subject", np.arange(n_subjects) + 30),
        animate=("stimulus", [False, False, True, False]),
    )


def test_matrices_come_back() -> None:
    array = matrices()
    given = to_rsatoolbox(array)
    assert type(given) is RDMs
    assert given.rdm_descriptors["subject"].tolist() == ["s0", "s1"]
    assert given.descriptors["region"] == "IT"
    np.testing.assert_array_equal(given.dissimilarities[1], condensed(array.values[1]))
    xr.testing.assert_identical(from_rsatoolbox(given), array)


def test_movies_of_several_subjects_come_back() -> None:
    movie = xr.concat([matrices(), matrices()], dim="time_bin").transpose(..., "time_bin")
    movie = movie.assign_coords(
        start_ms=("time_bin", [0.0, 50.0]), end_ms=("time_bin", [50.0, 100.0])
    )
    given = to_rsatoolbox(movie)
    assert given.rdm_descriptors["subject"].tolist() == ["s0", "s0", "s1", "s1"]
    assert given.rdm_descriptors["time"].tolist() == [25.0, 75.0, 25.0, 75.0]
    xr.testing.assert_identical(from_rsatoolbox(given), movie)
    one = movie.isel(time_bin=[0])
    xr.testing.assert_identical(from_rsatoolbox(to_rsatoolbox(one)), one)


def test_rsatoolbox_sorts_and_labels_put_it_right() -> None:
    array = trials(np.nan_to_num(VALUES))
    theirs = calc_rdm(to_rsatoolbox(array), "euclidean", "stimulus")
    assert list(theirs.pattern_descriptors["stimulus"]) == sorted(NAMES)
    back = from_rsatoolbox(theirs, region="IT", species="macaque")
    ours = rdm_movie(array.isel(neuroid=slice(2, 5)), dissimilarity="euclidean")
    theirs_of_it = from_rsatoolbox(
        calc_rdm(to_rsatoolbox(array.isel(neuroid=slice(2, 5))), "euclidean", "stimulus"),
        region="IT",
        species="macaque",
    )
    aligned, _ = match_stimuli(theirs_of_it, ours)
    np.testing.assert_allclose(aligned.values, ours.values, atol=1e-12)
    assert back["subject"].values.tolist() == ["subject0"]


def test_movies_made_by_rsatoolbox_are_read() -> None:
    array = trials(np.stack([np.nan_to_num(VALUES)] * 2, axis=-1), BINS).isel(neuroid=slice(2, 5))
    theirs = calc_rdm_movie(to_rsatoolbox(array), descriptor="stimulus")
    labels = {"region": "IT", "species": "macaque"}
    movie = from_rsatoolbox(theirs, time_bins=BINS, **labels)
    ours = rdm_movie(array, dissimilarity="euclidean")
    aligned, _ = match_stimuli(movie, ours)
    np.testing.assert_allclose(aligned.values, ours.values, atol=1e-12)
    np.testing.assert_array_equal(movie["end_ms"], [50.0, 100.0])
    with pytest.raises(ContractError, match=r"neither 'start_ms' nor 'end_ms'\. Give time_b"):
        from_rsatoolbox(theirs, **labels)
    with pytest.raises(ContractError, match=r"time_bins has shape \(1, 2\), but there are 2 times"):
        from_rsatoolbox(theirs, time_bins=BINS[:1], **labels)


def test_a_foreign_dataset_needs_its_labels_named() -> None:
    rows = Dataset(
        RNG.normal(size=(6, 2)),
        descriptors={"session": 3},
        obs_descriptors={
            "conds": ["b", "a", "b", "a", "b", "a"],
            "run": [0, 0, 1, 1, 2, 2],
            "half": [0, 0, 0, 0, 1, 1],
        },
    )
    labels = {"region": "IT", "animal": "m1"}
    read = from_rsatoolbox(rows, stimulus="conds", **labels)
    assert read["stimulus"].values.tolist() == ["b", "a"]
    assert read["neuroid"].values.tolist() == ["channel0", "channel1"]
    assert read["run"].dims == ("repetition",)
    assert read["session"].item() == 3
    np.testing.assert_array_equal(read.values[1], rows.measurements[2:4])
    by_run = from_rsatoolbox(rows, stimulus="conds", repetition="run", **labels)
    np.testing.assert_array_equal(by_run.values, read.values)
    counted = from_rsatoolbox(rows, stimulus="conds", repetition=None, **labels)
    xr.testing.assert_identical(counted, read)
    with pytest.raises(
        ContractError,
        match=r"no descriptor 'stimulus' for the stimulus; there are \['conds', 'half'",
    ):
        from_rsatoolbox(rows, **labels)
    with pytest.raises(ContractError, match=r"no descriptor 'animal'. Say what it is with animal="):
        from_rsatoolbox(rows, stimulus="conds", region="IT")
    with pytest.raises(
        ContractError, match="2 pairs of stimulus and repetition occur more than once"
    ):
        from_rsatoolbox(rows, stimulus="conds", repetition="half", **labels)
    with pytest.raises(ContractError, match="no descriptor 'trial' for the repetition"):
        from_rsatoolbox(rows, stimulus="conds", repetition="trial", **labels)
    with pytest.raises(ContractError, match="6 rows hold 2 stimuli, expected one row for each"):
        from_rsatoolbox(rows, stimulus="conds", layer="conv")
    model = rows.subset_obs("run", 1)
    assert from_rsatoolbox(model, stimulus="conds", layer="conv").dims == ("stimulus", "neuroid")


def test_matrices_of_several_regions_are_refused() -> None:
    given = to_rsatoolbox(matrices())
    given.rdm_descriptors["region"] = ["V4", "IT"]
    with pytest.raises(ContractError, match=r"of 2 regions \(IT, V4\), expected one"):
        from_rsatoolbox(given)
    given.rdm_descriptors["subject"] = ["s0", "s0"]
    with pytest.raises(ContractError, match="2 matrices are not one for each of 1 subjects"):
        from_rsatoolbox(given, region="IT")
