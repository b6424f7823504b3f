"""Type-I error and interval coverage of ``compare_models`` on simulated recordings, as a table.

Every run simulates a recording whose truth is known and asks ``compare_models`` about four models:
A and B, which are equally good; C, which is worse; and Z, which knows nothing. The truth is the
expected score over what is generalised to, from many recordings without any inference.

coverage     share of runs whose 95 % interval holds the truth: of the scores of A, B and C; of the
             difference A - C. Nominal 0.95.
type-I       share of runs with p <= .05 where nothing is there: A against B; Z above zero;
             A against C with the true difference as the margin of equivalence; a model as good as
             the ceiling against the ceiling. Nominal 0.05.

    python speed/inference.py                # 500 runs a row
    python speed/inference.py --quick        # 40 runs a row
    python speed/inference.py --only seeds   # rows whose name holds a word
"""

import argparse
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.ceilings import LeaveOneSubjectOut, SplitHalf
from brainscore_lite.inference import ModelComparison, compare_models
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.dissimilarities.comparison import Comparator
from brainscore_lite.metrics.dissimilarities.rdm import rdm, square
from brainscore_lite.metrics.dissimilarities.rsa import RSA, ComparedRDMs
from brainscore_lite.metrics.regression.cross_validation import CrossValidated, cross_validate
from brainscore_lite.metrics.regression.linear_predictivity import (
    LinearPredictivity,
    PredictedResponses,
)
from brainscore_lite.metrics.regression.ridge import Ridge
from brainscore_lite.metrics.splits import Fold, Splits
from brainscore_lite.schema import rdms, responses
from brainscore_lite.score import aggregate
from brainscore_lite.seeding import generator

Floats = NDArray[np.float64]
Random = np.random.Generator
Models = dict[str, object]
NOMINAL = 0.05
TRUTH_RUNS = 800
NAMES = ("A", "B", "C", "Z")


@dataclass(frozen=True)
class Scenario:
    """One row: how a recording is simulated, and what the inference is asked.

    Parameters
    ----------
    name : str
    generalise_to : tuple of str
    simulate : partial function of a generator
        Makes the models' comparisons of one recording.
    options : mapping
        More arguments of ``compare_models``.
    bound : str
        Of the ceiling, which A is tested against where the models come with one.
    remark : str
        Why the row may be off its nominal value.
    """

    name: str
    generalise_to: tuple[str, ...]
    simulate: partial[Models]
    options: Mapping[str, object] = field(default_factory=dict)
    bound: str = "ceiling"
    remark: str = ""


@dataclass(frozen=True)
class Rates:
    """What the runs of a scenario gave; NaN where it has no such test."""

    score: float
    difference: float
    pairs: float
    zero: float
    ceiling: float
    equivalence: float
    cpu_s: float


@dataclass(frozen=True, eq=False)
class StimulusMean:
    """The plainest score: a mean over stimuli for each subject, whose variances are known."""

    by_stimulus: Floats  # (n_stimuli, n_subjects)

    @property
    def n_stimuli(self) -> int:
        """How many stimuli are weighted."""
        return len(self.by_stimulus)

    def values(self) -> xr.DataArray:
        """Return the mean of each subject."""
        return xr.DataArray(self.by_stimulus.mean(axis=0), dims="subject")

    def resampled(self, weights: NDArray[np.int64]) -> xr.DataArray:
        """Return the weighted means."""
        total = weights.sum(axis=1, keepdims=True)
        means = weights @ self.by_stimulus / total
        return xr.DataArray(means, dims=("draw", "subject"))


def rdm_models(
    random: Random,
    *,
    n_stimuli: int = 30,
    n_subjects: int = 8,
    fixed: str = "",
    comparison: Comparator = "pearson",
) -> Models:
    """Simulate subjects' dissimilarities from shared and own tuning, and four models'.

    Every stimulus has 6 shared latent values and 6 for each model; `fixed` names the factor that
    stays the same in all recordings ("stimuli" or "subjects"). Noise is new every time.
    """
    of_stimuli = generator(0, "fixed", "stimuli") if fixed == "stimuli" else random
    of_subjects = generator(0, "fixed", "subjects") if fixed == "subjects" else random
    shared = of_stimuli.standard_normal((n_stimuli, 6))
    own = {name: of_stimuli.standard_normal((n_stimuli, 6)) for name in NAMES}
    common = generator(0, "common").standard_normal((6, 15))
    tuning = common + 0.7 * of_subjects.standard_normal((n_subjects, 6, 15))
    patterns = shared @ tuning + 1.5 * random.standard_normal((n_subjects, n_stimuli, 15))
    subjects = np.stack([rdm(one, method="euclidean") for one in patterns])
    weight = {"A": 0.6, "B": 0.6, "C": 0.9}
    template = xr.DataArray(
        np.zeros(n_subjects), coords={"subject": [str(s) for s in range(n_subjects)]}
    )
    models: Models = {}
    for name in NAMES:
        features = [shared, weight[name] * own[name]] if name in weight else [own[name]]
        source = np.asarray(rdm(np.concatenate(features, axis=1), method="euclidean"))
        models[name] = ComparedRDMs(source, subjects, comparison, template)
    return models


def predicted(
    random: Random,
    *,
    n_stimuli: int = 120,
    n_animals: int = 2,
    per_animal: int = 15,
    fixed: str = "",
    cluster: int = 1,
    between_animals: float = 0.0,
) -> Models:
    """Simulate recorded responses and what four fitted models predict of them.

    A neuroid follows 5 latent values of a stimulus, a prediction the same with an error of its
    own that is a function of stimulus and neuroid. `cluster` neighbours share tuning and noise;
    animals differ in how well they are predicted by `between_animals` (log units).
    """
    of_stimuli = generator(0, "fixed", "stimuli") if fixed == "stimuli" else random
    of_neuroids = generator(0, "fixed", "neuroids") if fixed == "neuroids" else random
    n_neuroids = n_animals * per_animal
    groups = np.repeat(np.arange(n_neuroids // cluster), cluster)
    latent = of_stimuli.standard_normal((n_stimuli, 5))
    shared_error = {name: of_stimuli.standard_normal((n_stimuli, 3)) for name in NAMES}
    animal = np.repeat([f"animal{a}" for a in range(n_animals)], per_animal)
    level = np.exp(between_animals * of_neuroids.standard_normal(n_animals)).repeat(per_animal)
    tuning = of_neuroids.standard_normal((5, groups.max() + 1))[:, groups] / np.sqrt(5)
    noise_level = np.exp(0.3 * of_neuroids.standard_normal(groups.max() + 1))[groups]
    signal = latent @ tuning
    noise = random.standard_normal((n_stimuli, groups.max() + 1))[:, groups]
    recorded = signal + noise_level * level * noise
    weight = {"A": (1.0, 0.7), "B": (1.0, 0.7), "C": (1.0, 1.1), "Z": (0.0, 1.0)}
    models: Models = {}
    for name, (known, error) in weight.items():
        loading = of_neuroids.standard_normal((3, groups.max() + 1))[:, groups] / np.sqrt(3)
        alone = random.standard_normal((n_stimuli, groups.max() + 1))[:, groups]
        own = 0.6 * shared_error[name] @ loading + 0.8 * alone
        models[name] = _held_out(known * signal + error * level * own, recorded, animal)
    return models


def at_the_ceiling(
    random: Random, *, n_stimuli: int = 120, n_neuroids: int = 30, fixed: str = ""
) -> Models:
    """Simulate trials; A predicts the noise-free response, so that its r is the ceiling's."""
    of_neuroids = generator(0, "fixed", "neuroids") if fixed == "neuroids" else random
    tuning = of_neuroids.standard_normal((5, n_neuroids)) / np.sqrt(5)
    signal = random.standard_normal((n_stimuli, 5)) @ tuning
    trials = signal + 2.0 * random.standard_normal((6, n_stimuli, n_neuroids))
    animal = np.repeat("animal0", n_neuroids)
    models: Models = {}
    for name, (known, error) in {"A": (1, 0), "B": (1, 0.3), "C": (1, 1), "Z": (0, 1)}.items():
        own = random.standard_normal((n_stimuli, n_neuroids))
        models[name] = _held_out(known * signal + error * own, trials.mean(axis=0), animal)
    labelled = responses(
        trials,
        stimulus=[f"s{i}" for i in range(n_stimuli)],
        neuroid=[f"n{i}" for i in range(n_neuroids)],
        region="IT",
        animal="animal0",
    )
    models["ceiling"] = SplitHalf().measure(labelled, LinearPredictivity())
    return models


def pooled_subjects(random: Random, *, n_stimuli: int = 30, n_subjects: int = 8) -> Models:
    """Simulate subjects' dissimilarities; A is the mean of 200 more subjects: the true model."""
    models = rdm_models(random, n_stimuli=n_stimuli, n_subjects=n_subjects + 200)
    a = models["A"]
    assert isinstance(a, ComparedRDMs)
    subjects, others = a.targets[:n_subjects], a.targets[n_subjects:]
    template = a.template[:n_subjects]
    sources = {
        name: model.source for name, model in models.items() if isinstance(model, ComparedRDMs)
    } | {"A": others.mean(axis=0)}
    found: Models = {
        name: ComparedRDMs(source, subjects, "pearson", template)
        for name, source in sources.items()
    }
    labels = [f"s{i}" for i in range(n_stimuli)]
    labelled = rdms(
        np.stack([square(one) for one in subjects]),
        stimulus=labels,
        subject=[str(s) for s in range(n_subjects)],
        region="IT",
        species="none",
    )
    found["ceiling"] = LeaveOneSubjectOut().measure(labelled, RSA(comparison="pearson"))
    return found


def fitted(random: Random, *, n_stimuli: int = 100, n_neuroids: int = 20) -> Models:
    """Simulate recordings on which ridge regressions are really fitted, from new stimuli."""
    latent = random.standard_normal((n_stimuli, 6))
    tuning = generator(0, "fixed", "tuning").standard_normal((6, n_neuroids))
    recorded = latent @ tuning + 2.5 * random.standard_normal((n_stimuli, n_neuroids))
    animal = np.repeat("animal0", n_neuroids)
    weight = {"A": 0.8, "B": 0.8, "C": 1.4}
    models: Models = {}
    for name in NAMES:
        own = random.standard_normal((n_stimuli, 15))
        mixing = generator(0, "fixed", "features").standard_normal((6, 15)) / np.sqrt(6)
        features = latent @ mixing + weight[name] * own if name in weight else own
        ridge = Ridge(penalties=(10.0,), unit="absolute")
        result = cross_validate(features, recorded, _folds(n_stimuli), regression=ridge)
        models[name] = PredictedResponses(result, _labelled(recorded, animal))
    return models


def seeded(
    random: Random, *, n_seeds: int, n_stimuli: int = 40, n_subjects: int = 1, paired: bool
) -> Models:
    """Simulate scores that are sums of effects of stimuli, subjects, seeds and their products."""
    stimulus, subject = random.standard_normal((n_stimuli, 1)), random.standard_normal(n_subjects)
    shared = 0.2 * random.standard_normal(n_seeds)
    level = {"A": 0.5, "B": 0.5, "C": 0.2, "Z": 0.0}
    spread = 0.3 * float(n_subjects > 1)
    models: Models = {}
    for name, mean in level.items():
        by_model = 0.5 * random.standard_normal((n_stimuli, 1))
        by_subject = spread * (subject + random.standard_normal(n_subjects))
        common = shared if paired else 0.2 * random.standard_normal(n_seeds)
        of_seed = common + 0.2 * random.standard_normal(n_seeds)
        rest = random.standard_normal((n_seeds, n_stimuli, n_subjects))
        base = mean + stimulus + by_model + by_subject
        models[name] = [StimulusMean(base + of_seed[k] + rest[k]) for k in range(n_seeds)]
    return models


def rates(scenario: Scenario, *, n_runs: int, n_draws: int = 250, seed: int = 0) -> Rates:
    """Run a scenario and count."""
    truth, error = _expected(scenario, seed)
    nothing = abs(truth[3]) < 4 * error[3]
    margin = abs(truth[0] - truth[2])
    start, hits = time.process_time(), []
    for run in range(n_runs):
        models = scenario.simulate(generator(seed, "run", str(run)))
        result = compare_models(
            models,  # type: ignore[arg-type]
            generalise_to=scenario.generalise_to,
            ceiling=models.pop("ceiling", None),  # type: ignore[arg-type]
            equivalence=margin,
            n_draws=n_draws,
            seed=run,
            **scenario.options,  # type: ignore[arg-type]
        )
        hits.append(_hits(result, truth, nothing=nothing, bound=scenario.bound))
    mean = np.mean(hits, axis=0)
    return Rates(*mean, cpu_s=time.process_time() - start)


def _hits(result: ModelComparison, truth: Floats, *, nothing: bool, bound: str) -> list[float]:
    scores = result.estimates.iloc[:3]
    covered = (scores["low"] <= truth[:3]) & (truth[:3] <= scores["high"])
    pairs = result.pairs.set_index(["first", "second"])
    worse, equal = pairs.loc[("A", "C")], pairs.loc[("A", "B")]
    difference = truth[0] - truth[2]
    # Where A and B differ by chance of what is fixed, the test asked is whether they differ by it.
    null = truth[0] - truth[1]
    return [
        float(covered.mean()),
        float(worse["low"] <= difference <= worse["high"]),
        float(not equal["low"] <= null <= equal["high"]),
        float(result.against_zero["p"].iloc[3] <= NOMINAL) if nothing else np.nan,
        _rejected(result.against_ceiling, bound),
        float(worse["p_equivalence"] <= NOMINAL),
    ]


def _rejected(against_ceiling: pd.DataFrame, bound: str) -> float:
    if not len(against_ceiling):
        return np.nan
    return float(against_ceiling.set_index(["model", "bound"]).loc[("A", bound), "p"] <= NOMINAL)


_KNOWN: dict[object, tuple[Floats, Floats]] = {}


def _expected(scenario: Scenario, seed: int) -> tuple[Floats, Floats]:
    """Return the mean score of each model over many recordings, and its standard error."""
    key = (scenario.simulate.func, tuple(sorted(scenario.simulate.keywords.items())), seed)
    if key not in _KNOWN:
        scores = []
        for run in range(TRUTH_RUNS):
            models = scenario.simulate(generator(seed, "truth", str(run)))
            scores.append([_score(models[name]) for name in NAMES])
        _KNOWN[key] = np.mean(scores, axis=0), np.std(scores, axis=0) / np.sqrt(TRUTH_RUNS)
    return _KNOWN[key]


def _score(model: object) -> float:
    several: Sequence[object] = model if isinstance(model, list) else [model]
    return float(np.mean([float(aggregate(one.values())) for one in several]))  # type: ignore[attr-defined]


@cache
def _folds(n_stimuli: int) -> tuple[Fold, ...]:
    return Splits(5, seed=0).folds(n_stimuli)


def _labelled(recorded: Floats, animal: NDArray[np.str_]) -> xr.DataArray:
    labels = [f"n{i}" for i in range(recorded.shape[1])]
    return xr.DataArray(
        recorded,
        dims=("stimulus", "neuroid"),
        coords={"neuroid": labels, "animal": ("neuroid", animal)},
    )


def _held_out(predictions: Floats, recorded: Floats, animal: NDArray[np.str_]) -> object:
    folds = _folds(len(recorded))
    correlations = [pearson_columns(predictions[f.test], recorded[f.test])[0] for f in folds]
    result = CrossValidated(
        folds=folds,
        predictions=tuple(predictions[fold.test] for fold in folds),
        responses=recorded,
        r=np.stack(correlations),
        inner_r=None,
        penalties=None,
    )
    return PredictedResponses(result, _labelled(recorded, animal))


SATTERTHWAITE = {"degrees": "satterthwaite"}
SCENARIOS = (
    Scenario("RDMs", ("stimuli",), partial(rdm_models, fixed="subjects")),
    Scenario("RDMs", ("subjects",), partial(rdm_models, fixed="stimuli")),
    Scenario("RDMs", ("stimuli", "subjects"), partial(rdm_models)),
    Scenario(
        "RDMs, uncorrected",
        ("stimuli", "subjects"),
        partial(rdm_models),
        {"variance": "uncorrected"},
    ),
    Scenario("RDMs, Satterthwaite", ("stimuli", "subjects"), partial(rdm_models), SATTERTHWAITE),
    Scenario(
        "RDMs, percentiles",
        ("stimuli", "subjects"),
        partial(rdm_models),
        {"interval": "percentile"},
    ),
    Scenario(
        "RDMs, stimuli left out",
        ("subjects",),
        partial(rdm_models),
        remark="asked about subjects only",
    ),
    Scenario("RDMs, 4 subjects", ("stimuli", "subjects"), partial(rdm_models, n_subjects=4)),
    Scenario("RDMs, Spearman", ("stimuli", "subjects"), partial(rdm_models, comparison="spearman")),
    *(
        Scenario(
            f"RDMs, A the true model, {bound} bound",
            ("stimuli", "subjects"),
            partial(pooled_subjects),
            bound=name,
            remark="A lies between the bounds",
        )
        for bound, name in (("lower", "lower"), ("upper", "ceiling"))
    ),
    *(
        Scenario(
            "regression, A the noise-free response",
            factors,
            partial(at_the_ceiling, fixed="neuroids" if len(factors) == 1 else ""),
        )
        for factors in (("stimuli",), ("stimuli", "neuroids"))
    ),
    Scenario("regression, given maps", ("stimuli",), partial(predicted, fixed="neuroids")),
    Scenario(
        "regression, maps fitted anew", ("stimuli",), partial(fitted), remark="the fit varies too"
    ),
    Scenario("regression", ("neuroids",), partial(predicted, fixed="stimuli")),
    Scenario(
        "regression, neuroids in fives alike",
        ("neuroids",),
        partial(predicted, fixed="stimuli", cluster=5),
        remark="a fifth as many neuroids in truth",
    ),
    Scenario("regression", ("stimuli", "neuroids"), partial(predicted)),
    Scenario(
        "regression, Satterthwaite", ("stimuli", "neuroids"), partial(predicted), SATTERTHWAITE
    ),
    Scenario(
        "regression, uncorrected",
        ("stimuli", "neuroids"),
        partial(predicted),
        {"variance": "uncorrected"},
    ),
    Scenario(
        "regression, 6 animals that differ",
        ("neuroids",),
        partial(predicted, fixed="stimuli", n_animals=6, per_animal=10, between_animals=0.3),
        remark="animals taken as these",
    ),
    *(
        Scenario(
            f"regression, {n} animals that differ",
            ("animals",),
            partial(predicted, fixed="stimuli", n_animals=n, per_animal=10, between_animals=0.3),
        )
        for n in (5, 16)
    ),
    Scenario(
        "regression, 6 animals that differ",
        ("stimuli", "animals"),
        partial(predicted, n_animals=6, per_animal=10, between_animals=0.3),
    ),
    Scenario(
        "regression, 6 animals, Satterthwaite",
        ("stimuli", "animals"),
        partial(predicted, n_animals=6, per_animal=10, between_animals=0.3),
        SATTERTHWAITE,
    ),
    *(
        Scenario(
            f"means, {n} seeds, paired, Satterthwaite",
            ("stimuli", "seeds"),
            partial(seeded, n_seeds=n, paired=True),
            {"paired_seeds": True, **SATTERTHWAITE},
        )
        for n in (3, 5, 10)
    ),
    Scenario(
        "means, 6 subjects, 5 seeds, Satterthwaite",
        ("stimuli", "subjects", "seeds"),
        partial(seeded, n_seeds=5, n_subjects=6, paired=True),
        {"paired_seeds": True, **SATTERTHWAITE},
    ),
    *(
        Scenario(
            f"means, {n} seeds, paired",
            ("stimuli", "seeds"),
            partial(seeded, n_seeds=n, paired=True),
            {"paired_seeds": True},
        )
        for n in (3, 10)
    ),
    Scenario(
        "means, 5 seeds, nested",
        ("stimuli", "seeds"),
        partial(seeded, n_seeds=5, paired=False),
        {"paired_seeds": False},
    ),
    Scenario(
        "means, 5 seeds left out",
        ("stimuli",),
        partial(seeded, n_seeds=5, paired=False),
        remark="seeds taken as these",
    ),
    Scenario(
        "means, 6 subjects, 5 seeds",
        ("stimuli", "subjects", "seeds"),
        partial(seeded, n_seeds=5, n_subjects=6, paired=True),
        {"paired_seeds": True},
    ),
)


def table(scenarios: Sequence[Scenario], *, n_runs: int, n_draws: int = 250) -> str:
    """Run scenarios and write their rates as a Markdown table."""
    lines = [
        "| simulated | over | coverage: score | difference "
        "| type-I: pair | zero | ceiling | equivalence | |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for scenario in scenarios:
        found = rates(scenario, n_runs=n_runs, n_draws=n_draws)
        shown = [
            "" if np.isnan(value) else f"{value:.3f}"
            for value in (
                found.score,
                found.difference,
                found.pairs,
                found.zero,
                found.ceiling,
                found.equivalence,
            )
        ]
        over = " x ".join(scenario.generalise_to)
        lines.append(f"| {scenario.name} | {over} | {' | '.join(shown)} | {scenario.remark} |")
        print(lines[-1], f"{found.cpu_s:.0f} s", file=sys.stderr, flush=True)
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 runs a row")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--only", default="", help="rows whose name or factors hold this")
    arguments = parser.parse_args()
    n_runs = 40 if arguments.quick else arguments.runs
    chosen = [
        scenario
        for scenario in SCENARIOS
        if arguments.only in f"{scenario.name} {' x '.join(scenario.generalise_to)}"
    ]
    error = 1.96 * np.sqrt(NOMINAL * (1 - NOMINAL) / n_runs)
    print(f"{n_runs} runs a row, so that 0.05 and 0.95 are known to +-{error:.3f}.\n")
    print(table(chosen, n_runs=n_runs))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
