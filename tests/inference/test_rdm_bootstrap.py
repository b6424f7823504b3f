"""The dual bootstrap of comparisons with subjects' dissimilarities, against rsatoolbox."""

import numpy as np
import pytest

from brainscore_lite.inference import rdm_bootstrap
from brainscore_lite.inference.rdm_bootstrap import (
    RDMDraws,
    draw_counts,
    dual_bootstrap,
    evaluate_draws,
)
from brainscore_lite.inference.rdm_crossvalidation import cross_validated_bootstrap
from brainscore_lite.metrics.dissimilarities.comparison import compare_rdms
from brainscore_lite.metrics.dissimilarities.rdm_models import FixedRDM, SelectedRDM, WeightedRDM
from brainscore_lite.schema import ContractError

N, N_SUBJECTS, N_DRAWS = 9, 4, 12
N_PAIRS = N * (N - 1) // 2
RNG = np.random.default_rng(7)
SHARED = RNG.random(N_PAIRS)
MODELS = SHARED + RNG.random((3, N_PAIRS))
SUBJECTS = SHARED + RNG.random((N_SUBJECTS, N_PAIRS))
PEERS = {
    "cosine": "cosine",
    "pearson": "corr",
    "rho_a": "rho-a",
    "kendall_tau_a": "tau-a",
    "whitened_cosine": "cosine_cov",
    "whitened_pearson": "corr_cov",
}


def counts(drawn: np.ndarray, n: int) -> np.ndarray:
    return np.stack([np.bincount(one, minlength=n) for one in drawn])


@pytest.mark.filterwarnings("ignore:Noise ceiling for tau")
@pytest.mark.parametrize("method", PEERS)
def test_evaluations_and_ceilings_equal_rsatoolbox_on_the_same_draws(method, monkeypatch):
    from rsatoolbox.inference import evaluate
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    rng = np.random.default_rng(1)
    subjects = rng.integers(0, N_SUBJECTS, size=(N_DRAWS, N_SUBJECTS))
    stimuli = rng.integers(0, N, size=(N_DRAWS, N))
    subjects[1], stimuli[2] = 2, [0, 0, 0, 0, 1, 1, 1, 1, 1]  # one subject; too few stimuli
    stimuli[3] = [0, 0, 0, 0, 0, 1, 2, 3, 3]
    draws = iter(zip(subjects, stimuli, strict=True))

    def sample(data, rdm_descriptor, pattern_descriptor):
        rdms, patterns = next(draws)
        drawn = data.subsample(rdm_descriptor, rdms).subsample_pattern(pattern_descriptor, patterns)
        return drawn, rdms, patterns

    monkeypatch.setattr(evaluate, "bootstrap_sample", sample)
    monkeypatch.setattr(evaluate.tqdm, "trange", range)
    models = [ModelFixed(str(i), one) for i, one in enumerate(MODELS)]
    peer = evaluate.eval_dual_bootstrap(models, RDMs(SUBJECTS), method=PEERS[method], N=N_DRAWS)
    ours = evaluate_draws(
        MODELS, SUBJECTS, counts(stimuli, N), counts(subjects, N_SUBJECTS), comparison=method
    )
    for place, way in ((0, ours.both), (1, ours.subjects_only), (2, ours.stimuli_only)):
        evaluations = peer.evaluations[:, :, 0, 0, place]
        np.testing.assert_allclose(way, evaluations, rtol=0, atol=1e-10)
    order = [0, 2, 1]
    for bounds, expected in zip((ours.lower, ours.upper), peer.noise_ceiling, strict=True):
        np.testing.assert_allclose(bounds[:, order], expected[:, 0], rtol=0, atol=1e-10)
    assert np.isnan(ours.both[2]).all()
    covariances = ours.covariances()[order]
    np.testing.assert_allclose(covariances, peer.variances, rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours.variances(), peer.model_var, rtol=0, atol=1e-10)
    each = compare_rdms(MODELS, SUBJECTS, method=method)
    np.testing.assert_allclose(ours.estimates, each.mean(axis=1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", ["cosine", "pearson"])
def test_evaluations_equal_those_of_rsatoolbox_with_its_seed(method):
    from rsatoolbox.inference import eval_bootstrap
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    models = [ModelFixed(str(i), one) for i, one in enumerate(MODELS)]
    np.random.seed(3)  # noqa: NPY002 -- rsatoolbox draws from NumPy's global generator
    peer = eval_bootstrap(models, RDMs(SUBJECTS), method=PEERS[method], N=N_DRAWS)
    np.random.seed(3)  # noqa: NPY002
    subjects, stimuli = [], []
    for _ in range(N_DRAWS):
        subjects.append(np.random.randint(0, N_SUBJECTS, size=N_SUBJECTS))  # noqa: NPY002
        stimuli.append(np.random.randint(0, N, size=N))  # noqa: NPY002
    ours = evaluate_draws(
        MODELS,
        SUBJECTS,
        counts(np.stack(stimuli), N),
        counts(np.stack(subjects), N_SUBJECTS),
        comparison=method,
    )
    np.testing.assert_allclose(ours.both, peer.evaluations, rtol=0, atol=1e-10)
    bounds = [ours.lower[:, 0], ours.upper[:, 0]]
    np.testing.assert_allclose(bounds, peer.noise_ceiling, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", ["spearman", "kendall_tau_b", "bures", "riemannian"])
def test_every_comparison_can_be_resampled(method):
    patterns = RNG.normal(size=(7, 8, 20)) + RNG.normal(size=(8, 20))
    pairs = np.triu_indices(8, k=1)
    vectors = np.stack([((x[:, None] - x[None]) ** 2).mean(axis=-1)[pairs] for x in patterns])
    draws = dual_bootstrap(vectors[:2], vectors[2:5], comparison=method, n_draws=2)
    assert draws.both.shape == (2, 2)
    assert np.isfinite(draws.both).all()
    assert draws.lower_estimate <= draws.upper_estimate
    assert np.isfinite(draws.lower).all()


def test_draws_are_the_same_bytes_and_more_begin_with_the_same():
    few, again = (dual_bootstrap(MODELS, SUBJECTS, n_draws=20, seed=4) for _ in range(2))
    assert few.both.tobytes() == again.both.tobytes()
    stimuli, subjects = draw_counts(N, N_SUBJECTS, n_draws=20, seed=4)
    more = draw_counts(N, N_SUBJECTS, n_draws=50, seed=4)
    np.testing.assert_array_equal(more[0][:20], stimuli)
    np.testing.assert_array_equal(more[1][:20], subjects)
    assert (stimuli.sum(axis=1) == N).all()
    assert (subjects.sum(axis=1) == N_SUBJECTS).all()
    assert stimuli.mean(axis=0).std() < 0.5


def test_chunks_do_not_change_a_number(monkeypatch):
    whole = dual_bootstrap(MODELS, SUBJECTS, comparison="whitened_pearson", n_draws=20)
    monkeypatch.setattr("brainscore_lite.metrics.resampling._CHUNK_BYTES", 4000)
    parts = dual_bootstrap(MODELS, SUBJECTS, comparison="whitened_pearson", n_draws=20)
    np.testing.assert_allclose(parts.both, whole.both, rtol=0, atol=1e-13)
    np.testing.assert_allclose(parts.lower, whole.lower, rtol=0, atol=1e-13)


def test_one_subject_has_stimuli_only_and_no_ceiling():
    draws = dual_bootstrap(MODELS, SUBJECTS[:1], n_draws=30)
    np.testing.assert_array_equal(draws.both, draws.stimuli_only)
    np.testing.assert_allclose(draws.subjects_only, np.tile(draws.estimates, (30, 1)), atol=1e-12)
    assert np.isnan(draws.lower).all()
    assert np.isnan(draws.upper_estimate)
    expected = np.var(draws.stimuli_only, axis=0, ddof=1) * N / (N - 1)
    np.testing.assert_allclose(draws.variances(), expected)


def test_variance_over_subjects_is_that_of_a_mean():
    draws = dual_bootstrap(MODELS, SUBJECTS, n_draws=4000)
    each = compare_rdms(MODELS, SUBJECTS, method="cosine")
    expected = each.var(axis=1) / N_SUBJECTS
    np.testing.assert_allclose(draws.subjects_only.var(axis=0), expected, rtol=0.1)
    assert isinstance(draws, RDMDraws)


def test_bad_input_is_refused():
    broken = SUBJECTS.copy()
    broken[0, 3] = np.nan
    with pytest.raises(ContractError, match="subjects: 1 dissimilarities are not finite"):
        dual_bootstrap(MODELS, broken)
    with pytest.raises(ContractError, match="a has 36 pairs, b has 28"):
        dual_bootstrap(MODELS, SUBJECTS[:, :28])
    with pytest.raises(ContractError, match="n_draws is 1, expected at least 2"):
        dual_bootstrap(MODELS, SUBJECTS, n_draws=1)
    with pytest.raises(ContractError, match="unknown comparison 'corr'"):
        dual_bootstrap(MODELS, SUBJECTS, comparison="corr")
    with pytest.raises(ContractError, match="each of at least one subject"):
        evaluate_draws(MODELS, SUBJECTS, np.ones((2, N)), np.zeros((2, N_SUBJECTS)))
    with pytest.raises(ContractError, match="9 stimuli in k_stimuli=4 folds"):
        cross_validated_bootstrap([FixedRDM(MODELS[0])], SUBJECTS, k_stimuli=4)


def test_cross_validation_within_draws_corrects_for_the_assignment_to_folds():
    subjects = np.vstack([SUBJECTS, SHARED + RNG.random((2, N_PAIRS))])
    models = [FixedRDM(MODELS[0]), SelectedRDM(MODELS), WeightedRDM(MODELS)]
    run = {"n_draws": 8, "comparison": "pearson", "k_stimuli": 2, "k_subjects": 2}
    draws = cross_validated_bootstrap(models, subjects, **run)
    again = cross_validated_bootstrap(models, subjects, **run)
    assert draws.both.shape == (8, 2, 3)
    assert draws.both.tobytes() == again.both.tobytes()
    joined = np.concatenate(
        [draws.both, draws.lower[:, :, 0, None], draws.upper[:, :, 0, None]], axis=2
    )
    joined = joined[np.isfinite(joined[:, 0, 0])]
    of_mean = np.cov(joined.mean(axis=1), rowvar=False)
    single = (np.cov(joined[:, 0], rowvar=False) + np.cov(joined[:, 1], rowvar=False)) / 2
    np.testing.assert_allclose(draws.covariances()[0], 2 * of_mean - single, atol=1e-12)


def test_a_draw_without_enough_stimuli_for_the_folds_is_left_out(monkeypatch):
    weights = np.ones((3, N)), np.ones((3, N_SUBJECTS))
    weights[0][1] = [5, 4, 0, 0, 0, 0, 0, 0, 0]
    monkeypatch.setattr(
        "brainscore_lite.inference.rdm_crossvalidation.draw_counts", lambda *_, **__: weights
    )
    draws = cross_validated_bootstrap([FixedRDM(MODELS[0])], SUBJECTS, n_draws=3)
    assert np.isfinite(draws.both[:, 0, 0]).tolist() == [True, False, True]


def test_ways_are_named_in_order():
    assert rdm_bootstrap.WAYS == ("both", "stimuli_only", "subjects_only")


def test_draws_of_no_use_are_counted():
    draws = dual_bootstrap(MODELS[:, :3], SUBJECTS[:, :3], n_draws=4, seed=1)
    assert np.isfinite(draws.both[:, 0]).sum() < 2
    with pytest.raises(ContractError, match="of 4 draws have enough distinct stimuli"):
        draws.covariances()
    model = FixedRDM(MODELS[0])
    few = cross_validated_bootstrap(model, SUBJECTS, n_draws=2, k_stimuli=3, k_subjects=3, seed=0)
    assert np.isfinite(few.both[:, 0, 0]).sum() < 2
    with pytest.raises(ContractError, match="of 2 draws have enough distinct stimuli"):
        few.covariances()
    with pytest.raises(ContractError, match="n_assignments is 0"):
        cross_validated_bootstrap(model, SUBJECTS, n_assignments=0)
