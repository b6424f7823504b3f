import numpy as np
import pytest
import torch

from brainscore_lite.benchmarks import benchmark
from brainscore_lite.networks import Area, ConvNet, ElmanNetwork
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.studies import Recording, load_model, score_model


def test_images_shared_by_benchmarks_are_shown_once(monkeypatch):
    shown = []
    original = Recording.__call__

    def counted(self, model, stimuli, **settings):
        shown.append(stimuli.name)
        return original(self, model, stimuli, **settings)

    monkeypatch.setattr(Recording, "__call__", counted)
    names = ("simulated_v4_it.V4.rsa", "simulated_v4_it.IT.rsa")
    first, second = score_model("pixels", *(benchmark(name, n_draws=0) for name in names))
    assert len(shown) == 1
    assert (first.benchmark, second.benchmark) == names


def test_a_score_says_how_it_was_recorded():
    [score] = score_model("small_cnn_untrained", benchmark("simulated_v4_it.V4.rsa", n_draws=5))
    known = score.provenance
    assert known["model"] == "small_cnn_untrained"
    assert known["task"] == "nothing (random weights)"
    assert "images fill the field" in str(known.values())
    assert known["layer"] in load_model("small_cnn_untrained").model.layer_names


def test_a_named_layer_is_scored_on_all_stimuli():
    target = benchmark("simulated_v4_it.V4.ridge", n_draws=0)
    [score] = score_model("gabor", target, layer="complex")
    assert score.provenance["layer_choice"] == "given"
    assert score.values.sizes["split"] == 10


def test_wide_layers_are_projected_only_beyond_a_number_of_stimuli():
    model = load_model("gabor").model
    stimuli = benchmark("simulated_v4_it.V4.rsa", n_draws=0).stimuli.select
    names = benchmark("simulated_v4_it.V4.rsa", n_draws=0).stimuli.ids[:6]
    whole = Recording(whole_up_to=6)(model, stimuli(names), layers=["simple"])
    projected = Recording(whole_up_to=5)(model, stimuli(names), layers=["simple"])
    assert whole.sizes["neuroid"] > projected.sizes["neuroid"] == 4096
    inner = [(array.values @ array.values.T).ravel() for array in (whole, projected)]
    assert np.corrcoef(*inner)[0, 1] > 0.99


def test_a_step_of_a_model_over_time_is_scored():
    preprocessing = Preprocessing(size=16, channels="L", mean=(0.0,), std=(1.0,))
    model = ElmanNetwork(
        12, 4, generator=torch.Generator().manual_seed(0), preprocessing=preprocessing
    )
    target = benchmark("simulated_v4_it.V4.rsa", n_draws=0)
    last, named = (
        score_model(model, target, layer="hidden", recording=Recording(step=step))[0].raw
        for step in (-1, model.n_steps - 1)
    )
    first = score_model(model, target, layer="hidden", recording=Recording(step=0))[0].raw
    assert last == named != first
    refused = rf"answers in {model.n_steps} steps and step is None\. Name one from 0 to"
    with pytest.raises(ContractError, match=refused):
        score_model(model, target, layer="hidden")
    with pytest.raises(ContractError, match="answers in 1 steps and step is 3"):
        score_model("pixels", target, recording=Recording(step=3))


def test_layers_that_no_signal_has_reached_are_no_candidates():
    settings = ConvNet(
        areas=(Area("V1", 2), Area("IT", 2)), n_classes=2, image_size=8, n_steps=3,
        unroll="biological", name="slow",
    )  # fmt: skip
    model = settings.build(torch.Generator().manual_seed(0))
    target = benchmark("simulated_v4_it.V4.rsa", n_draws=0)
    [chosen] = score_model(model, target, recording=Recording(step=0))
    [named] = score_model(model, target, layer="V1", recording=Recording(step=0))
    assert chosen.raw == pytest.approx(named.raw, abs=0.1)
    assert "V1" in chosen.provenance["layer"]
    refused = "no signal has reached layer 'IT' of 'slow' at step 0; the first .* comes at step 1"
    with pytest.raises(ContractError, match=refused):
        score_model(model, target, layer="IT", recording=Recording(step=0))


def test_an_unknown_layer_is_refused():
    with pytest.raises(ContractError, match="has no layer 'V9'"):
        score_model("pixels", benchmark("simulated_v4_it.V4.rsa", n_draws=0), layer="V9")


def test_a_bare_module_is_told_how_to_be_wrapped():
    with pytest.raises(ContractError, match=r"a Linear cannot be recorded as it is\. Wrap it"):
        score_model(torch.nn.Linear(2, 2), benchmark("simulated_v4_it.V4.rsa", n_draws=0))
    with pytest.raises(ContractError, match="no benchmark was given"):
        score_model("pixels")
