"""Intervals and tests on simulated recordings with known truth: where nominal holds, and where not.

The whole table is printed by ``speed/inference.py``.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

N_RUNS = 500
SCRIPT = Path(__file__).resolve().parents[2] / "speed" / "inference.py"
ALLOWED = 3 * np.sqrt(0.05 * 0.95 / N_RUNS)

HOLDS = {
    "RDMs, Satterthwaite": "stimuli x subjects",
    "regression, Satterthwaite": "stimuli x neuroids",
    "regression, given maps": "stimuli",
    "means, 5 seeds, paired, Satterthwaite": "stimuli x seeds",
    "means, 6 subjects, 5 seeds, Satterthwaite": "stimuli x subjects x seeds",
}
FAILS = {
    "RDMs, stimuli left out": "subjects",
    "regression, neuroids in fives alike": "neuroids",
    "means, 5 seeds left out": "stimuli",
}


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    specification = importlib.util.spec_from_file_location("simulated_inference", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["simulated_inference"] = module
    specification.loader.exec_module(module)
    return module


def scenario(simulation: ModuleType, name: str, over: str) -> object:
    [found] = [
        one
        for one in simulation.SCENARIOS
        if one.name == name and " x ".join(one.generalise_to) == over
    ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "over"), HOLDS.items())
def test_nominal_rates_hold(simulation: ModuleType, name: str, over: str) -> None:
    found = simulation.rates(scenario(simulation, name, over), n_runs=N_RUNS)
    assert found.score > 0.95 - ALLOWED
    assert found.difference > 0.95 - ALLOWED
    assert found.pairs < 0.05 + ALLOWED
    assert np.isnan(found.zero) or found.zero < 0.05 + ALLOWED


@pytest.mark.slow
@pytest.mark.parametrize(("name", "over"), FAILS.items())
def test_what_is_left_out_makes_intervals_too_narrow(
    simulation: ModuleType, name: str, over: str
) -> None:
    found = simulation.rates(scenario(simulation, name, over), n_runs=200)
    assert found.difference < 0.9
    assert found.pairs > 0.1


def test_every_scenario_runs(simulation: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "TRUTH_RUNS", 2)
    chosen = [
        scenario(simulation, "RDMs, A the true model, lower bound", "stimuli x subjects"),
        scenario(simulation, "regression, A the noise-free response", "stimuli x neuroids"),
        scenario(simulation, "means, 5 seeds, nested", "stimuli x seeds"),
    ]
    lines = simulation.table(chosen, n_runs=2, n_draws=100).splitlines()
    assert len(lines) == 2 + len(chosen)
