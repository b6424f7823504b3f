"""Models of dissimilarities: fits against rsatoolbox and by their laws, cross-validation."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics.dissimilarities.comparison import compare_rdms
from brainscore_lite.metrics.dissimilarities.rdm_cross_validation import (
    cross_validate_rdm_model,
    default_folds,
    rdm_folds,
)
from brainscore_lite.metrics.dissimilarities.rdm_models import (
    FixedRDM,
    InterpolatedRDM,
    SelectedRDM,
    WeightedRDM,
    non_negative_mixture,
)
from brainscore_lite.schema import ContractError

N = 12
N_PAIRS = N * (N - 1) // 2
RNG = np.random.default_rng(5)
COMPONENTS = RNG.random((4, N_PAIRS)) + 0.1
SUBJECTS = COMPONENTS.T[:, :2].sum(axis=1) + 0.8 * RNG.random((5, N_PAIRS))
PEERS = {"cosine": "cosine", "pearson": "corr", "spearman": "spearman", "rho_a": "rho-a"}
CLOSED = ("cosine", "pearson", "whitened_cosine", "whitened_pearson")


def direction(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("method", PEERS)
def test_selection_equals_rsatoolbox(method):
    from rsatoolbox.model import ModelSelect
    from rsatoolbox.model.fitter import fit_select
    from rsatoolbox.rdm import RDMs

    model = ModelSelect("candidates", COMPONENTS)
    chosen = fit_select(model, RDMs(SUBJECTS), method=PEERS[method])
    ours = SelectedRDM(COMPONENTS).fit(SUBJECTS, comparison=method)
    np.testing.assert_array_equal(ours, COMPONENTS[chosen])


@pytest.mark.parametrize("method", ["cosine", "pearson"])
def test_weights_equal_rsatoolbox_on_drawn_stimuli_and_subjects(method):
    from rsatoolbox.model import ModelWeighted
    from rsatoolbox.model.fitter import fit_regress_nn
    from rsatoolbox.rdm import RDMs

    drawn, subjects = np.array([0, 0, 1, 2, 3, 3, 3, 5, 6, 8, 9, 11]), np.array([0, 2, 2, 3, 4])
    data = RDMs(SUBJECTS).subsample("index", subjects).subsample_pattern("index", drawn)
    model = ModelWeighted("components", COMPONENTS)
    theta = fit_regress_nn(
        model, data, method=PEERS[method], pattern_idx=drawn, pattern_descriptor="index"
    )
    ours = WeightedRDM(COMPONENTS).fit(
        SUBJECTS,
        comparison=method,
        stimulus_weights=np.bincount(drawn, minlength=N),
        subject_weights=np.bincount(subjects, minlength=5),
    )
    expected = direction(theta @ COMPONENTS)
    np.testing.assert_allclose(direction(ours), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", CLOSED)
def test_no_other_weights_are_better(method):
    fitted = WeightedRDM(COMPONENTS).fit(SUBJECTS, comparison=method)
    best = compare_rdms(fitted[None], SUBJECTS, method=method).mean()
    others = np.random.default_rng(0).random((300, 4)) ** 3 @ COMPONENTS
    assert compare_rdms(others, SUBJECTS, method=method).mean(axis=1).max() <= best + 1e-12


@pytest.mark.parametrize("method", [*CLOSED, "spearman", "kendall_tau_a", "bures"])
def test_interpolation_finds_the_best_of_a_grid(method):
    anchors = COMPONENTS[[2, 0, 1, 3]]
    fitted = InterpolatedRDM(anchors).fit(SUBJECTS, comparison=method)
    best = compare_rdms(fitted[None], SUBJECTS, method=method).mean()
    grid = np.linspace(0, 1, 51)[:, None]
    others = np.vstack([grid * a + (1 - grid) * b for a, b in pairwise(anchors)])
    found = compare_rdms(others, SUBJECTS, method=method).mean(axis=1).max()
    # ranks are steps, between which the search may stop
    assert best >= found - (1e-12 if method in CLOSED else 5e-3)


def test_interpolation_equals_rsatoolbox():
    from rsatoolbox.model import ModelInterpolate
    from rsatoolbox.model.fitter import fit_interpolate
    from rsatoolbox.rdm import RDMs

    model = ModelInterpolate("anchors", COMPONENTS)
    theta = fit_interpolate(model, RDMs(SUBJECTS), method="cosine")
    peer = compare_rdms((theta @ COMPONENTS)[None], SUBJECTS, method="cosine").mean()
    fitted = InterpolatedRDM(COMPONENTS).fit(SUBJECTS, comparison="cosine")
    ours = compare_rdms(fitted[None], SUBJECTS, method="cosine").mean()
    assert ours == pytest.approx(peer, abs=1e-9)
    assert ours >= peer - 1e-12


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_mixture_meets_the_conditions_of_the_minimum(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(20, 5)), rng.normal(size=20)
    within, across = X.T @ X, X.T @ y
    mixture = non_negative_mixture(within, across)
    gradient = within @ mixture - across
    assert (mixture >= 0).all()
    assert (gradient >= -1e-8).all()
    np.testing.assert_allclose(gradient * mixture, 0, atol=1e-8)


def test_weights_of_ranks_recover_the_components():
    subjects = np.exp(COMPONENTS[:2].sum(axis=0) + 0.05 * RNG.random((3, N_PAIRS)))
    fitted = WeightedRDM(COMPONENTS).fit(subjects, comparison="spearman")
    assert compare_rdms(fitted, COMPONENTS[:2].sum(axis=0), method="spearman") > 0.97


def test_a_model_against_all_data_is_its_best_component():
    opposite = WeightedRDM(COMPONENTS[:1]).fit(-COMPONENTS[:1], comparison="pearson")
    np.testing.assert_array_equal(opposite, COMPONENTS[0])


def test_default_folds_are_those_of_rsatoolbox():
    from rsatoolbox.util.inference_util import default_k_pattern, default_k_rdm

    for n in np.linspace(2, 50, 97):
        assert default_folds(n, of="stimuli") == default_k_pattern(n)
        assert default_folds(n, of="subjects") == default_k_rdm(n)
    assert default_folds(1, of="subjects") == 1


def test_folds_test_everything_once_and_never_what_was_fitted():
    counts, members = RNG.integers(0, 3, size=20).astype(float), np.array([2.0, 0, 1, 1, 3])
    folds = rdm_folds(counts, members, k_stimuli=3, k_subjects=2, random=RNG)
    assert len(folds) == 6
    tested = sum(np.outer(fold.test_stimuli, fold.test_subjects) for fold in folds)
    np.testing.assert_array_equal(tested, np.outer(counts, members))
    for fold in folds:
        assert not (fold.train_stimuli * fold.test_stimuli).any()
        assert not (fold.train_subjects * fold.test_subjects).any()


@pytest.mark.parametrize("method", ["cosine", "pearson", "rho_a"])
def test_a_fold_equals_rsatoolbox(method, monkeypatch):
    from rsatoolbox.inference import crossval
    from rsatoolbox.inference.noise_ceiling import cv_noise_ceiling
    from rsatoolbox.model import ModelFixed, ModelSelect
    from rsatoolbox.rdm import RDMs

    from brainscore_lite.metrics.dissimilarities import rdm_cross_validation

    made = []
    original = rdm_cross_validation.rdm_folds

    def kept(*args, **kwargs):
        made.extend(original(*args, **kwargs))
        return made

    monkeypatch.setattr(rdm_cross_validation, "rdm_folds", kept)
    result = cross_validate_rdm_model(
        [FixedRDM(COMPONENTS[0]), SelectedRDM(COMPONENTS)],
        SUBJECTS,
        comparison=method,
        k_stimuli=3,
        k_subjects=2,
    )
    data = RDMs(SUBJECTS)
    models = [ModelFixed("fixed", COMPONENTS[0]), ModelSelect("selected", COMPONENTS)]
    sets = {"train": [], "test": [], "ceiling": []}
    for fold in made:
        for kind, stimuli, subjects in (
            ("train", fold.train_stimuli, fold.train_subjects),
            ("test", fold.test_stimuli, fold.test_subjects),
            ("ceiling", fold.test_stimuli, fold.train_subjects),
        ):
            part = data.subset("index", np.flatnonzero(subjects))
            index = np.flatnonzero(stimuli)
            sets[kind].append([part.subset_pattern("index", index), index])
    peer = crossval(models, data, sets["train"], sets["test"], sets["ceiling"], PEERS[method])
    np.testing.assert_allclose(result.values[0].T, peer.evaluations[0], rtol=0, atol=1e-10)
    bounds = cv_noise_ceiling(data, sets["ceiling"], sets["test"], method=PEERS[method])
    ours = result.lower.mean(), result.upper.mean()
    np.testing.assert_allclose(ours, bounds, rtol=0, atol=1e-10)


def test_a_model_with_many_parameters_gains_nothing_by_cross_validation():
    rng = np.random.default_rng(0)
    noise, subjects = rng.random((40, N_PAIRS)), rng.random((6, N_PAIRS))
    model = WeightedRDM(noise)
    fitted = model.fit(subjects, comparison="pearson")
    reached = compare_rdms(fitted[None], subjects, method="pearson").mean()
    tested = cross_validate_rdm_model(model, subjects, comparison="pearson", n_assignments=4)
    assert reached > 0.1
    assert abs(tested.values.mean()) < reached / 3
    assert tested.values.shape == (4, 9, 1)


def test_two_runs_give_the_same_bytes():
    one, other = (
        cross_validate_rdm_model(WeightedRDM(COMPONENTS), SUBJECTS, seed=3).values.tobytes()
        for _ in range(2)
    )
    assert one == other


def test_bad_models_are_refused():
    with pytest.raises(ContractError, match="anchors: 1 matrix, expected at least 2"):
        InterpolatedRDM(COMPONENTS[0])
    with pytest.raises(ContractError, match="not those of a whole number of stimuli"):
        FixedRDM(np.ones(5))
    with pytest.raises(ContractError, match="cannot be fitted by 'bures'"):
        WeightedRDM(COMPONENTS).fit(SUBJECTS, comparison="bures")
    with pytest.raises(ContractError, match="a has 66 pairs, b has 55"):
        FixedRDM(COMPONENTS[0]).fit(SUBJECTS[:, :55], comparison="cosine")
    with pytest.raises(ContractError, match="2 stimuli and 5 subjects to fit to"):
        FixedRDM(COMPONENTS[0]).fit(
            SUBJECTS, comparison="cosine", stimulus_weights=[3, 4] + [0] * (N - 2)
        )
    with pytest.raises(ContractError, match="12 stimuli in k_stimuli=5 folds"):
        cross_validate_rdm_model(FixedRDM(COMPONENTS[0]), SUBJECTS, k_stimuli=5)
    with pytest.raises(ContractError, match="5 subjects in k_subjects=6 folds"):
        cross_validate_rdm_model(FixedRDM(COMPONENTS[0]), SUBJECTS, k_subjects=6)


def test_nothing_to_cross_validate_is_refused():
    subjects = np.random.default_rng(0).random((4, 66))
    with pytest.raises(ContractError, match="no models were given"):
        cross_validate_rdm_model([], subjects)
    with pytest.raises(ContractError, match="n_assignments is 0, expected at least 1"):
        cross_validate_rdm_model(FixedRDM(subjects[0]), subjects, n_assignments=0)
