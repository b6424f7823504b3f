"""Behavioural signatures: definition by loops, known confusions, halves and bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm, pearsonr

from brainscore_lite.configuration import to_json
from brainscore_lite.metrics.behaviour.classification import class_probabilities
from brainscore_lite.metrics.behaviour.image_confusions import ImageConfusions, choice_probabilities
from brainscore_lite.metrics.behaviour.signatures import (
    behavioural_signature,
    confusion_rates,
    correlate_signatures,
    response_rates,
    trial_halves,
)
from brainscore_lite.schema import ContractError, activations

SIGNATURES = ("i1", "i1n", "i2", "i2n")
CHOICES = np.array(["bear", "cat", "dog", "elk"])
TRUTH = np.repeat(CHOICES, 6)
STIMULI = np.array([f"image{i:02d}" for i in range(24)])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits)
    result: NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return result


def probabilities(seed: int = 0, spread: float = 1.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return softmax(1.5 * (TRUTH[:, None] == CHOICES) + spread * rng.normal(size=(24, 4)))


def trials_of(p: NDArray[np.float64], n_trials: int, seed: int = 0) -> pd.DataFrame:
    """Draw choices between the true object and one distractor by the rates that p implies."""
    rng = np.random.default_rng(seed)
    image = rng.integers(24, size=n_trials)
    right = image // 6
    wrong = (right + rng.integers(1, 4, size=n_trials)) % 4
    p_wrong = p[image, wrong] / (p[image, wrong] + p[image, right])
    chosen = np.where(rng.random(n_trials) < p_wrong, wrong, right)
    return pd.DataFrame(
        {
            "stimulus": STIMULI[image],
            "choice": CHOICES[chosen],
            "truth": CHOICES[right],
            "distractor": CHOICES[wrong],
        }
    )


def by_loops(f: NDArray[np.float64], signature: str) -> NDArray[np.float64]:
    """The definition, entry by entry."""
    d = np.full(f.shape, np.nan)
    for i in range(24):
        for c in range(4):
            if CHOICES[c] != TRUTH[i]:
                back = list(CHOICES).index(TRUTH[i])
                false_alarm = np.nanmean([f[j, back] for j in range(24) if TRUTH[j] == CHOICES[c]])
                d[i, c] = np.clip(norm.ppf(1 - f[i, c]) - norm.ppf(false_alarm), -5, 5)
    if signature.endswith("n"):
        for name in CHOICES:
            for c in range(4):
                if CHOICES[c] != name:
                    d[name == TRUTH, c] -= np.nanmean(d[name == TRUTH, c])
    return np.nanmean(d, axis=1) if signature.startswith("i1") else d


@pytest.mark.parametrize("signature", SIGNATURES)
def test_signatures_equal_their_definition(signature: str) -> None:
    p = probabilities()
    f = np.full((24, 4), np.nan)
    for i in range(24):
        right = list(CHOICES).index(TRUTH[i])
        for c in range(4):
            if c != right:
                f[i, c] = p[i, c] / (p[i, c] + p[i, right])
    rates = confusion_rates(p, truth=TRUTH, choices=CHOICES)
    np.testing.assert_allclose(rates, f, atol=1e-15)
    ours = behavioural_signature(rates, truth=TRUTH, choices=CHOICES, signature=signature)
    np.testing.assert_allclose(ours, by_loops(f, signature), atol=1e-12)


def test_response_rates_count_choices_of_what_was_offered() -> None:
    rates = response_rates(
        ["a", "a", "a", "b"],
        ["dog", "cat", "cat", "dog"],
        truth=["cat", "cat", "cat", "dog"],
        distractor=["dog", "dog", "elk", "cat"],
        stimuli=["a", "b"],
        choices=["cat", "dog", "elk"],
    )
    expected = [[np.nan, 0.5, 0.0], [0.0, np.nan, np.nan]]
    np.testing.assert_array_equal(rates, expected)


def test_equal_probabilities_give_no_sensitivity() -> None:
    rates = confusion_rates(np.full((24, 4), 0.25), truth=TRUTH, choices=CHOICES)
    d = behavioural_signature(rates, truth=TRUTH, choices=CHOICES, signature="i2")
    np.testing.assert_allclose(d[np.isfinite(d)], 0, atol=1e-12)
    assert np.isfinite(d).sum() == 24 * 3


def test_certainty_is_clipped_and_contradiction_is_undefined() -> None:
    """Never confused one way and back is the largest d'; never one way, always back is none."""
    f = np.array([[np.nan, 0.0], [0.0, np.nan]])
    named = {"truth": ["cat", "dog"], "choices": ["cat", "dog"]}
    np.testing.assert_array_equal(
        behavioural_signature(f, signature="i2", **named), [[np.nan, 5], [5, np.nan]]
    )
    np.testing.assert_array_equal(
        behavioural_signature(1 - f, signature="i2", **named), [[np.nan, -5], [-5, np.nan]]
    )
    contradiction = np.array([[np.nan, 0.0], [1.0, np.nan]])
    assert np.isnan(behavioural_signature(contradiction, signature="i2", **named)).all()
    assert np.isnan(behavioural_signature(contradiction, signature="i1", **named)).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_invariances_of_the_signatures(seed: int, scale: float) -> None:
    """Rows of p may be scaled; images and choices may be reordered together with their labels."""
    p = probabilities(seed)
    rng = np.random.default_rng(seed)
    images, choices = rng.permutation(24), rng.permutation(4)
    for signature in SIGNATURES:
        settings_ = {"truth": TRUTH, "choices": CHOICES}
        d = behavioural_signature(
            confusion_rates(p * scale, **settings_), signature=signature, **settings_
        )
        moved = {"truth": TRUTH[images], "choices": CHOICES[choices]}
        other = behavioural_signature(
            confusion_rates(p[images][:, choices], **moved), signature=signature, **moved
        )
        expected = d[images] if d.ndim == 1 else d[images][:, choices]
        np.testing.assert_allclose(other, expected, atol=1e-9)
        if signature == "i2n":
            for name in CHOICES:
                sums = np.nansum(d[name == TRUTH], axis=0)
                np.testing.assert_allclose(sums, 0, atol=1e-9)


def test_correlation_over_shared_entries() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 10, 4))
    a[0, 0], b[3, 1] = np.nan, np.nan
    shared = np.isfinite(a) & np.isfinite(b)
    r, n = correlate_signatures(a, b)
    assert n == 38
    assert float(r) == pytest.approx(pearsonr(a[shared], b[shared]).statistic, abs=1e-14)
    drawn, _ = correlate_signatures(a, b, weights=np.ones((3, 10)))
    np.testing.assert_allclose(drawn, r, atol=1e-12)
    counts = np.array([[2, 0, 1, 1, 1, 1, 1, 1, 1, 1]])
    rows = np.repeat(np.arange(10), counts[0])
    repeated, _ = correlate_signatures(a[rows], b[rows])
    weighted, _ = correlate_signatures(a, b, weights=counts)
    assert float(weighted[0]) == pytest.approx(float(repeated), abs=1e-12)


def test_signatures_may_be_lists() -> None:
    r, n = correlate_signatures([1, 2, 3, 5], [1, 2, 4, 4])
    assert n == 4
    assert r == pytest.approx(pearsonr([1, 2, 3, 5], [1, 2, 4, 4]).statistic)


def test_undefined_correlations_are_nan() -> None:
    flat = np.ones((5, 2))
    assert np.isnan(correlate_signatures(flat, np.random.default_rng(0).normal(size=(5, 2)))[0])
    r, n = correlate_signatures(np.full((5, 2), np.nan), flat)
    assert np.isnan(r)
    assert n == 0
    with pytest.raises(ContractError, match=r"shapes \(5, 2\) and \(4, 2\)"):
        correlate_signatures(flat, flat[1:])


def test_halves_are_those_of_brain_score() -> None:
    """Which shuffles a list with one legacy stream of seed 0, once for each repetition."""
    stream = np.random.RandomState(0)
    for first, second in trial_halves(101, n_repetitions=3):
        order = list(range(101))
        stream.shuffle(order)
        assert [*first, *second] == order
        assert len(first) == 50


def labelled(p: NDArray[np.float64]) -> xr.DataArray:
    return xr.DataArray(
        p, dims=("stimulus", "choice"), coords={"stimulus": STIMULI, "choice": CHOICES}
    )


@pytest.mark.parametrize("signature", SIGNATURES)
def test_true_probabilities_score_at_their_ceiling(signature: str) -> None:
    """A model that is people's own probabilities correlates with a half as sqrt(reliability)."""
    p = probabilities()
    result = ImageConfusions(signature, n_repetitions=6)(labelled(p), trials_of(p, 20_000))
    assert result.sizes == {"repetition": 6}
    assert (result["ceiling"] > 0.7).all()
    assert float(result["ceiled"].mean()) == pytest.approx(1, abs=0.02)
    entries = 24 if signature.startswith("i1") else 72
    assert (result["n_entries"] == entries).all()


def test_other_confusions_score_about_zero() -> None:
    p = probabilities()
    trials = trials_of(p, 10_000)
    scores = [
        float(ImageConfusions()(labelled(probabilities(s)), trials)["score"].mean())
        for s in range(1, 21)
    ]
    assert abs(np.mean(scores)) < 0.06


def test_labels_decide_not_order() -> None:
    p = probabilities()
    trials = trials_of(p, 3000)
    source = labelled(p)
    moved = source.isel(stimulus=np.random.default_rng(0).permutation(24), choice=[2, 0, 3, 1])
    more = xr.concat(
        [moved, moved.isel(stimulus=[0]).assign_coords(stimulus=["another"])], dim="stimulus"
    )
    expected = ImageConfusions()(source, trials)
    xr.testing.assert_allclose(ImageConfusions()(more, trials), expected, atol=1e-12)
    xr.testing.assert_identical(ImageConfusions()(source, trials), expected)


def test_parts_are_kept_and_resampled() -> None:
    p = probabilities()
    compared = ImageConfusions("i2n").compare(labelled(p), trials_of(p, 4000))
    assert compared.source.dims == ("stimulus", "choice")
    assert compared.halves.dims == ("repetition", "half", "stimulus", "choice")
    assert compared.source["truth"].values.tolist() == TRUTH.tolist()
    ones = compared.resampled(np.ones((2, 24)))
    for part in ("score", "ceiling", "ceiled"):
        np.testing.assert_allclose(ones[part][1], compared.values()[part], atol=1e-10)
    counts = np.random.default_rng(0).multinomial(24, np.full(24, 1 / 24), 200)
    drawn = compared.resampled(counts)
    assert drawn["score"].dims == ("draw", "repetition")
    assert 0.005 < float(drawn["score"].std("draw").mean()) < 0.2
    with pytest.raises(ContractError, match=r"weights have shape \(2, 5\)"):
        compared.resampled(np.ones((2, 5)))


def test_images_missing_from_a_half_are_skipped() -> None:
    """Few trials: some entries have none in a half; they are not counted, and nothing raises."""
    p = probabilities()
    result = ImageConfusions("i2n")(labelled(p), trials_of(p, 150))
    assert (result["n_entries"] < 72).all()
    assert (result["n_entries_ceiling"] < result["n_entries"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probabilities": probabilities() - 0.5}, "expected at least 0. Give the softmax"),
        ({"probabilities": probabilities() * np.nan}, "4 of 4 choices hold NaN or inf"),
        ({"probabilities": np.zeros((0, 4))}, r"probabilities: shape is \(0, 4\)"),
        ({"truth": TRUTH[1:]}, r"truth has shape \(23,\), expected 24 labels"),
        ({"truth": np.full(24, "fox")}, "truth: 24 labels are not among the 4 known; first: 'fox'"),
        ({"choices": CHOICES[:3]}, r"choices has shape \(3,\), expected 4"),
        ({"choices": np.full(4, "cat")}, "looked up in are not unique"),
    ],
)
def test_bad_probabilities(arguments: dict[str, NDArray[np.generic]], message: str) -> None:
    given_ = {"probabilities": probabilities(), "truth": TRUTH, "choices": CHOICES} | arguments
    with pytest.raises(ContractError, match=message):
        confusion_rates(**given_)


def test_integer_float16_and_tensor_probabilities() -> None:
    counts = np.random.default_rng(0).integers(1, 250, size=(24, 4))
    expected = confusion_rates(counts.astype(float), truth=TRUTH, choices=CHOICES)
    for same in (counts.astype(np.uint8), counts.astype(np.int16), torch.tensor(counts)):
        np.testing.assert_array_equal(confusion_rates(same, truth=TRUTH, choices=CHOICES), expected)
    half = confusion_rates(counts.astype(np.float16), truth=TRUTH, choices=CHOICES)
    np.testing.assert_allclose(half, expected, rtol=1e-3)


def test_bad_rates() -> None:
    rates = confusion_rates(probabilities(), truth=TRUTH, choices=CHOICES)
    for wrong, message in (
        ({"signature": "o2"}, "signature is 'o2', expected one of"),
        ({"largest": 0.0}, "largest above 0"),
    ):
        with pytest.raises(ContractError, match=message):
            behavioural_signature(rates, truth=TRUTH, choices=CHOICES, **wrong)
    with pytest.raises(ContractError, match="rates must lie between 0 and 1"):
        behavioural_signature(rates + 1, truth=TRUTH, choices=CHOICES)
    with pytest.raises(ContractError, match=r"rates have shape \(24,\)"):
        behavioural_signature(rates[:, 0], truth=TRUTH, choices=CHOICES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="truth"), r"trials lack the columns \['truth'\]"),
        (lambda t: t.assign(choice=t["choice"].where(t.index > 1)), "2 of 300 trials have missing"),
        (lambda t: t.assign(choice="elk", truth="cat", distractor="dog"), "300 of 300 trials have"),
        (lambda t: t.assign(choice="fox"), "choice: 300 labels are not among the 4 known"),
        (lambda t: t.assign(stimulus="image00"), "1 images have several true objects"),
        (lambda t: t.assign(stimulus="other"), "source lacks 1 of the 1 images with trials"),
        (lambda t: t[:1], "1 trials and 2 repetitions; expected at least 2"),
        (lambda t: t.assign(distractor=t["truth"]), "offer the true object as its own distractor"),
    ],
)
def test_bad_trials(change: object, message: str) -> None:
    p = probabilities()
    with pytest.raises(ContractError, match=message):
        ImageConfusions()(labelled(p), change(trials_of(p, 300)))


def test_bad_source_and_settings() -> None:
    p = probabilities()
    trials = trials_of(p, 300)
    with pytest.raises(ContractError, match=r"expected \(stimulus, choice\), both with labels"):
        ImageConfusions()(labelled(p).rename(choice="class"), trials)
    with pytest.raises(ContractError, match="signature is 'o2'"):
        ImageConfusions("o2")
    with pytest.raises(ContractError, match="n_repetitions is 0"):
        ImageConfusions(n_repetitions=0)
    assert "i2n" in to_json(ImageConfusions())


def test_readout_of_activations() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)) + 2 * (np.arange(60)[:, None] % 4 == np.arange(5))
    source = activations(X, stimulus=[f"image{i:02d}" for i in range(60)], layer="IT")
    objects = xr.DataArray(
        CHOICES[np.arange(60) % 4],
        dims="stimulus",
        coords={"stimulus": source["stimulus"]},
        name="object_name",
    )
    objects = objects.assign_coords(object_name=objects)
    fitting, tested = source[24:], source[:24]
    p = choice_probabilities(tested, fitting, label="object_name", labelled=objects[24:])
    expected, choices = class_probabilities(X[24:], objects.values[24:], test_X=X[:24])
    np.testing.assert_array_equal(p.values, expected)
    assert p["choice"].values.tolist() == choices.tolist() == CHOICES.tolist()
    assert ImageConfusions("i1")(p, trials_of(probabilities(), 2000)).sizes == {"repetition": 2}
    with pytest.raises(ContractError, match="4 images are both fitted and tested; first: 'image24"):
        choice_probabilities(source[:28], fitting, label="object_name", labelled=objects[24:])
    with pytest.raises(ContractError, match="have different neuroids"):
        choice_probabilities(tested[:, ::-1], fitting, label="object_name", labelled=objects[24:])
    with pytest.raises(ContractError, match="no coordinate 'object_name'"):
        choice_probabilities(tested, fitting, label="object_name")
