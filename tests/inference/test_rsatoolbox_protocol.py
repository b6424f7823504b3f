"""The protocol "rsatoolbox": every evaluation, variance and test against rsatoolbox itself."""

import numpy as np
import pytest

from brainscore_lite.inference.crossvalidated_ceiling import CrossedFold, crossvalidated_ceiling
from brainscore_lite.inference.rsatoolbox_protocol import Evaluation, rsatoolbox_evaluation
from brainscore_lite.metrics import rdm
from brainscore_lite.schema import ContractError

NAMES = {
    "cosine": "cosine",
    "pearson": "corr",
    "spearman": "spearman",
    "kendall_tau_a": "tau-a",
    "rho_a": "rho-a",
    "whitened_cosine": "cosine_cov",
}
N_DRAWS, SEED = 8, 4


def matrices(n_models: int = 3, n_subjects: int = 5, n_stimuli: int = 9):
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(n_stimuli, 30))
    models = [rdm(shared + k * rng.normal(size=shared.shape)) for k in range(1, n_models + 1)]
    subjects = [rdm(shared + 1.5 * rng.normal(size=shared.shape)) for _ in range(n_subjects)]
    return np.stack(models), np.stack(subjects)


def peer(method: str, comparison: str, draw_ceiling: bool = True):
    from rsatoolbox import inference
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    models, subjects = matrices()
    fixed = [ModelFixed(f"m{i}", vector) for i, vector in enumerate(models)]
    settings = {"method": NAMES[comparison]}
    if method != "fixed":
        settings["N"] = N_DRAWS
    if method.startswith("bootstrap"):
        settings["boot_noise_ceil"] = draw_ceiling
    np.random.seed(SEED)  # noqa: NPY002 - rsatoolbox draws from the global generator
    return getattr(inference, f"eval_{method}")(fixed, RDMs(subjects), **settings)


def ours(method: str, comparison: str, draw_ceiling: bool = True) -> Evaluation:
    return rsatoolbox_evaluation(
        *matrices(),
        comparison=comparison,
        method=method,
        n_draws=N_DRAWS,
        seed=SEED,
        draw_ceiling=draw_ceiling,
    )


SLOW = ("pearson", "kendall_tau_a", "rho_a", "whitened_cosine")
COMPARISONS = [pytest.param(c, marks=[pytest.mark.slow] * (c in SLOW)) for c in NAMES]
METHODS = ("fixed", "bootstrap", "bootstrap_rdm", "bootstrap_pattern", "dual_bootstrap")


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:Noise ceiling for tau based on averaged ranks")
def test_evaluations_ceilings_and_t_tests_equal_rsatoolbox(method: str, comparison: str) -> None:
    expected, found = peer(method, comparison), ours(method, comparison)
    np.testing.assert_allclose(
        found.evaluations, np.squeeze(expected.evaluations).reshape(found.evaluations.shape),
        atol=1e-10,
    )  # fmt: skip
    np.testing.assert_allclose(found.noise_ceiling, np.squeeze(expected.noise_ceiling), atol=1e-10)
    np.testing.assert_allclose(found.model_variances, expected.model_var, atol=1e-10)
    np.testing.assert_allclose(found.ceiling_variances, expected.noise_ceil_var, atol=1e-10)
    upper = np.triu_indices(3, k=1)
    np.testing.assert_allclose(found.difference_variances[upper], expected.diff_var, atol=1e-10)
    assert found.dof == expected.dof
    pairwise, zero, ceiling = expected.test_all("t-test")
    np.testing.assert_allclose(found.test_pairwise(), pairwise, atol=1e-8)
    np.testing.assert_allclose(found.test_zero(), zero, atol=1e-8)
    np.testing.assert_allclose(found.test_ceiling(), ceiling, atol=1e-8)


def test_bootstrap_and_rank_sum_tests_equal_rsatoolbox() -> None:
    expected, found = peer("bootstrap", "cosine", False), ours("bootstrap", "cosine", False)
    pairwise, zero, ceiling = expected.test_all("bootstrap")
    np.testing.assert_allclose(found.test_pairwise("bootstrap"), pairwise)
    np.testing.assert_allclose(found.test_zero("bootstrap"), zero)
    np.testing.assert_allclose(found.test_ceiling("bootstrap"), ceiling.ravel())
    expected, found = peer("fixed", "cosine"), ours("fixed", "cosine")
    pairwise, zero, ceiling = expected.test_all("ranksum")
    np.testing.assert_allclose(found.test_pairwise("ranksum"), pairwise)
    np.testing.assert_allclose(found.test_zero("ranksum"), zero)
    np.testing.assert_allclose(found.test_ceiling("ranksum"), ceiling)


def test_a_drawn_ceiling_is_tested_where_rsatoolbox_raises() -> None:
    with pytest.raises(ValueError, match=r"reshape|broadcast|shape"):
        peer("bootstrap", "cosine").test_all("bootstrap")
    p = ours("bootstrap", "cosine").test_ceiling("bootstrap")
    assert ((p > 0) & (p <= 1 + 1 / N_DRAWS)).all()


@pytest.mark.parametrize("comparison", NAMES)
@pytest.mark.filterwarnings("ignore:Noise ceiling for tau based on averaged ranks")
def test_the_crossvalidated_ceiling_equals_rsatoolbox(comparison: str) -> None:
    from rsatoolbox.inference import cv_noise_ceiling
    from rsatoolbox.inference.crossvalsets import sets_k_fold
    from rsatoolbox.rdm import RDMs

    _, subjects = matrices(n_subjects=6, n_stimuli=12)
    recorded = RDMs(subjects)
    _, test_set, ceil_set = sets_k_fold(recorded, k_rdm=2, k_pattern=3, random=False)
    expected = cv_noise_ceiling(recorded, ceil_set, test_set, method=NAMES[comparison])
    folds = [
        CrossedFold(
            train=np.array(train.rdm_descriptors["index"]),
            test=np.array(test.rdm_descriptors["index"]),
            stimuli=np.array(stimuli),
        )
        for (train, _), (test, stimuli) in zip(ceil_set, test_set, strict=True)
    ]
    found = crossvalidated_ceiling(subjects, folds, comparison=comparison)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_two_runs_give_the_same_bytes() -> None:
    first, second = ours("dual_bootstrap", "pearson"), ours("dual_bootstrap", "pearson")
    assert first.evaluations.tobytes() == second.evaluations.tobytes()


def test_one_model_needs_no_pairs() -> None:
    models, subjects = matrices()
    for method in METHODS:
        found = rsatoolbox_evaluation(models[0], subjects, method=method, n_draws=8)
        assert found.model_variances.shape == (1,)
        assert found.test_pairwise().shape == (1, 1)


def test_errors_say_what_to_do() -> None:
    models, subjects = matrices()
    with pytest.raises(ContractError, match="method is 'crossval', expected one of"):
        rsatoolbox_evaluation(models, subjects, method="crossval")
    with pytest.raises(ContractError, match="1 subject, expected at least two"):
        rsatoolbox_evaluation(models, subjects[:1], method="fixed")
    with pytest.raises(ContractError, match="36 pairs, b has 28"):
        rsatoolbox_evaluation(models, subjects[:, :28])
    one, none = np.array([0]), np.array([], dtype=int)
    with pytest.raises(ContractError, match="fold 0 has 0 subjects to train, 1 to test and 1 st"):
        crossvalidated_ceiling(subjects, [CrossedFold(none, one, one)])
    several = np.arange(3)
    for fold in (CrossedFold(one, one + 99, several), CrossedFold(one, one, several + 99)):
        with pytest.raises(ContractError, match=r"fold 0 has positions .*, expected below"):
            crossvalidated_ceiling(subjects, [fold])
    with pytest.raises(ContractError, match="n_draws is 1, expected at least two"):
        rsatoolbox_evaluation(models, subjects, n_draws=1)
    with pytest.raises(ContractError, match="no folds were given"):
        crossvalidated_ceiling(subjects, [])
    fixed = ours("fixed", "cosine")
    with pytest.raises(ContractError, match="'bootstrap' needs draws of one kind"):
        fixed.test_zero("bootstrap")
    with pytest.raises(ContractError, match="'ranksum' needs one value for each subject"):
        ours("bootstrap", "cosine").test_zero("ranksum")
    with pytest.raises(ContractError, match="test is 'z', expected one of"):
        fixed.test_zero("z")
