import numpy as np
import pytest
import xarray as xr

from brainscore_lite.schema import (
    ContractError,
    activations,
    average_repetitions,
    check_activations,
    check_rdms,
    check_responses,
    match_stimuli,
    rdms,
    responses,
)

STIMULI = ["s0", "s1", "s2", "s3"]


def trials(**changes):
    rng = np.random.default_rng(0)
    settings = {
        "stimulus": STIMULI,
        "neuroid": ["a_1", "a_2", "b_1"],
        "region": "IT",
        "animal": ["a", "a", "b"],
        **changes,
    }
    return responses(settings.pop("values", rng.normal(size=(5, 4, 3))), **settings)


def features(values=None, **changes):
    values = np.random.default_rng(1).normal(size=(4, 6)) if values is None else values
    settings = {"stimulus": STIMULI, "layer": ["conv1"] * 2 + ["conv2"] * 4, **changes}
    return activations(values, **settings)


def matrices(values=None, **changes):
    if values is None:
        values = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))[None].repeat(2, axis=0)
    settings = {"stimulus": STIMULI, "subject": ["x", "y"], "region": "IT", "species": "human"}
    return rdms(values, **(settings | changes))


def test_responses_have_the_dims_and_coords_of_the_contract():
    array = trials(stimulus_coords={"block": ["0", "0", "1", "1"]})
    assert array.dims == ("repetition", "stimulus", "neuroid")
    assert list(array["animal"].values) == ["a", "a", "b"]
    assert array["block"].dims == ("stimulus",)


def test_an_array_without_repetitions_is_one_repetition():
    array = trials(values=np.ones((4, 3)))
    assert array.sizes["repetition"] == 1


def test_time_bins_carry_their_milliseconds():
    array = trials(values=np.ones((2, 4, 3, 2)), time_bins=[(70, 120), (120, 170)])
    assert array["end_ms"].values.tolist() == [120, 170]


def test_activations_number_neuroids_within_their_layer():
    array = features()
    assert array["neuroid"].values.tolist()[:3] == ["conv1.0", "conv1.1", "conv2.0"]


def test_activations_keep_single_precision():
    assert features(np.ones((4, 6), dtype=np.float32)).dtype == np.float32


def test_a_whole_layer_and_step_may_be_absent():
    values = np.ones((4, 6, 2))
    values[:, 2:, 0] = np.nan
    assert features(values).sizes["step"] == 2


def test_average_repetitions_skips_trials_that_were_not_recorded():
    values = np.ones((2, 4, 3))
    values[1, 0] = np.nan
    values[0, 0] = 3
    assert average_repetitions(trials(values=values)).values[0].tolist() == [3, 3, 3]


def nan_cell():
    values = np.ones((5, 4, 3))
    values[:, 2, 1] = np.nan
    return values


def one_nan(shape=(4, 6)):
    values = np.ones(shape)
    values[(1, 3, 0)[: len(shape)]] = np.nan
    return values


BROKEN = {
    "repeated neuroid": (
        lambda: trials(neuroid=["a_1", "a_1", "b_1"]),
        r"'neuroid' labels are not unique \(3 labels, 2 distinct; first repeated: 'a_1'\)\. "
        r"Prefix them with the animal's name\.",
    ),
    "repeated stimulus": (
        lambda: trials(stimulus=["s0", "s0", "s2", "s3"]),
        r"'stimulus' labels are not unique .* Average or stack repetitions along 'repetition'\.",
    ),
    "nothing recorded": (
        lambda: trials(values=nan_cell()),
        r"1 \(stimulus, neuroid\) cells have no finite response in any repetition; first: "
        r"stimulus 's2', neuroid 'a_2'\. Leave out",
    ),
    "infinite response": (
        lambda: trials(values=np.full((5, 4, 3), np.inf)),
        r"60 infinite values\. Mark trials that were not recorded as NaN\.",
    ),
    "too few labels": (
        lambda: trials(stimulus=["s0"]),
        r"4 entries along 'stimulus' \(axis 1, shape \(5, 4, 3\)\), but 1 labels were given",
    ),
    "too few animals": (
        lambda: trials(animal=["a"]),
        r"1 values of animal for 3 neuroids\. Give one for all or one for each\.",
    ),
    "time axis unannounced": (
        lambda: trials(values=np.ones((5, 4, 3, 2))),
        r"array has 4 axes, expected .* Give time_bins=",
    ),
    "wrong number of time bins": (
        lambda: trials(values=np.ones((5, 4, 3, 2)), time_bins=[(0, 50)]),
        r"2 time bins in the array, but time_bins has shape \(1, 2\)",
    ),
    "misfit coordinate": (
        lambda: trials(stimulus_coords={"block": ["0"]}),
        r"'responses': a coordinate does not fit the array",
    ),
    "not an array": (
        lambda: check_responses(np.ones((5, 4, 3))),
        r"responses: got ndarray, expected an xarray\.DataArray\. Make one with",
    ),
    "wrong dims": (
        lambda: check_responses(trials().rename(neuroid="unit"), name="mine"),
        r"responses 'mine': dims are \('repetition', 'stimulus', 'unit'\), expected",
    ),
    "no region": (
        lambda: check_responses(trials().drop_vars("region")),
        r"needs the coordinate 'region' along 'neuroid'\. Add it with \.assign_coords",
    ),
    "no labels": (
        lambda: check_responses(trials().drop_vars("stimulus")),
        r"'stimulus' has no labels\. Add them with",
    ),
    "numbers as labels": (
        lambda: check_responses(trials().assign_coords(stimulus=[0, 1, 2, 3])),
        r"'stimulus' labels are int64, expected strings\. Convert with \.astype\(str\)",
    ),
    "complex values": (
        lambda: check_responses(trials().astype(complex)),
        r"values are complex128, expected real numbers",
    ),
    "nothing along a dim": (
        lambda: check_responses(trials().isel(neuroid=[])),
        r"nothing along \['neuroid'\]\. At least one entry is needed",
    ),
    "activations with one axis": (
        lambda: features(np.ones(4)),
        r"array has 1 axes, expected \(stimulus, neuroid\) or .* Flatten",
    ),
    "activations without layer": (
        lambda: check_activations(features().drop_vars("layer")),
        r"needs the coordinate 'layer' along 'neuroid'",
    ),
    "NaN activation": (
        lambda: features(one_nan()),
        r"layer 'conv2' holds NaN or inf; first at stimulus 's1'\. Only whole",
    ),
    "NaN in part of a step": (
        lambda: features(one_nan((4, 6, 2))),
        r"layer 'conv2' holds NaN or inf; first at stimulus 's1'",
    ),
    "single matrix": (
        lambda: matrices(np.zeros((4, 4))),
        r"array has 2 axes, .* needs a leading subject axis: values\[None\]",
    ),
    "asymmetric": (
        lambda: matrices(np.triu(np.ones((2, 4, 4)), 1)),
        r"matrices are not symmetric",
    ),
    "similarities": (
        lambda: matrices(np.ones((2, 4, 4))),
        r"the diagonal is not zero\. These are no dissimilarities",
    ),
    "NaN dissimilarity": (
        lambda: matrices(np.full((2, 4, 4), np.nan)),
        r"32 dissimilarities are not finite",
    ),
    "no species": (
        lambda: check_rdms(matrices().drop_vars("species")),
        r"needs the scalar coordinate 'species'",
    ),
    "different labels": (
        lambda: check_rdms(matrices().assign_coords(stimulus_other=["x0", "x1", "x2", "x3"])),
        r"'stimulus' and 'stimulus_other' carry different labels",
    ),
    "missing stimuli": (
        lambda: match_stimuli(features().isel(stimulus=slice(1, 3)), trials()),
        r"source lacks 2 of the target's 4 stimuli; first missing: 's0', 's3'\. Record the model",
    ),
    "source without labels": (
        lambda: match_stimuli(np.ones((4, 3)), trials()),
        r"source is ndarray, expected an xarray\.DataArray\. Label it with activations\(array",
    ),
    "target without labels": (
        lambda: match_stimuli(features(), np.ones((4, 3))),
        r"target is ndarray, expected an xarray\.DataArray\. Label it with responses\(array",
    ),
    "no stimulus dim": (
        lambda: match_stimuli(xr.DataArray(np.ones(3), dims="x"), trials()),
        r"source: has dims \('x',\), expected a 'stimulus' dim",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_array_says_what_is_wrong(case):
    make, sentence = BROKEN[case]
    with pytest.raises(ContractError, match=sentence):
        make()


def test_match_stimuli_follows_labels_not_order():
    source, target = match_stimuli(features().isel(stimulus=[3, 1, 0, 2]), trials())
    assert source["stimulus"].values.tolist() == target["stimulus"].values.tolist()
    np.testing.assert_array_equal(source.values, features().values)


def test_match_stimuli_leaves_out_what_the_target_lacks():
    source, _ = match_stimuli(features(), trials().isel(stimulus=[2, 0]))
    assert source["stimulus"].values.tolist() == ["s2", "s0"]


def test_match_stimuli_reorders_both_sides_of_a_matrix():
    values = np.random.default_rng(0).random((2, 4, 4))
    values = values + values.swapaxes(1, 2)
    values[:, range(4), range(4)] = 0
    shuffled, _ = match_stimuli(matrices(values), trials().isel(stimulus=[2, 0, 3]))
    np.testing.assert_array_equal(shuffled.values, values[:, [2, 0, 3]][:, :, [2, 0, 3]])
    check_rdms(shuffled)
