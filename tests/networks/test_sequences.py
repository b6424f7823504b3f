"""Networks that read images row by row."""

import pytest
import torch

from brainscore_lite.datasets import load_images
from brainscore_lite.learning_rules import Backprop
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.networks.model import Model
from brainscore_lite.networks.sequences import GatedNetwork, SequenceNetwork
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.training import TrainingConfig, fit

EYE = Preprocessing(size=6, mean=(0.5, 0.5, 0.5))
CELLS = ("simple", "lstm", "gru")
each_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def network(cell: str, **settings: object) -> ElmanNetwork | GatedNetwork:
    made = SequenceNetwork(cell=cell, n_units=7, n_classes=3, preprocessing=EYE, **settings)
    return made.build(torch.Generator().manual_seed(0)).double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def inputs(images: torch.Tensor) -> torch.Tensor:
    """Rows of all channels, (batch, step, input)."""
    return torch.stack([images[:, :, row].flatten(1) for row in range(6)], dim=1)


@each_cell
def test_it_is_a_model(cell: str, images: torch.Tensor) -> None:
    net = network(cell)
    assert isinstance(net, Model)
    assert net.n_steps == 6
    steps = list(net.respond(images))
    assert [step.index for step in steps] == list(range(6))
    assert set(steps[0].activations) == set(net.layer_names)
    torch.testing.assert_close(steps[-1].activations["readout"], net(images), rtol=0, atol=0)


def test_lstm_equals_its_equations(images: torch.Tensor) -> None:
    net = network("lstm")
    gates, hidden, cell = net.gates, torch.zeros(4, 7).double(), torch.zeros(4, 7).double()
    for row, step in zip(inputs(images).unbind(1), net.respond(images), strict=True):
        drive = row @ gates.weight_ih.T + hidden @ gates.weight_hh.T + gates.bias_ih + gates.bias_hh
        i, f, c, o = drive.chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * c.tanh()
        hidden = o.sigmoid() * cell.tanh()
        torch.testing.assert_close(step.activations["hidden"], hidden)
        torch.testing.assert_close(step.activations["cell"], cell)


def test_gru_equals_its_equations(images: torch.Tensor) -> None:
    net = network("gru")
    with torch.no_grad():
        net.gates.bias_hh.normal_(generator=torch.Generator().manual_seed(3))
    gates, hidden = net.gates, torch.zeros(4, 7).double()
    for row, step in zip(inputs(images).unbind(1), net.respond(images), strict=True):
        r, z, n = (row @ gates.weight_ih.T + gates.bias_ih).chunk(3, dim=1)
        of_r, of_z, of_n = (hidden @ gates.weight_hh.T + gates.bias_hh).chunk(3, dim=1)
        reset, kept = (r + of_r).sigmoid(), (z + of_z).sigmoid()
        hidden = (1 - kept) * (n + reset * of_n).tanh() + kept * hidden
        torch.testing.assert_close(step.activations["hidden"], hidden)


@pytest.mark.parametrize(("cell", "n_gates"), [("lstm", 4), ("gru", 3)])
def test_parameters_are_as_many_as_the_docstring_says(cell: str, n_gates: int) -> None:
    counted = sum(parameter.numel() for parameter in network(cell).gates.parameters())
    assert counted == n_gates * 7 * (3 * 6 + 7 + 2)


@each_cell
def test_gradients_reach_every_parameter(cell: str, images: torch.Tensor) -> None:
    net = network(cell)
    net(images).logsumexp(dim=1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


@each_cell
def test_the_last_answer_depends_on_the_first_row(cell: str, images: torch.Tensor) -> None:
    images.requires_grad_()
    network(cell)(images).sum().backward()
    assert (images.grad[:, :, 0].abs().amax(dim=(1, 2)) > 0).all()


@each_cell
def test_an_image_alone_gives_what_it_gives_in_a_batch(cell: str, images: torch.Tensor) -> None:
    net = network(cell)
    together = [step.activations["hidden"][:1] for step in net.respond(images)]
    alone = [step.activations["hidden"] for step in net.respond(images[:1])]
    torch.testing.assert_close(torch.stack(alone), torch.stack(together), rtol=0, atol=1e-12)


@each_cell
def test_weights_come_from_the_generator_alone(cell: str) -> None:
    first = network(cell).state_dict()
    torch.manual_seed(99)
    second = network(cell).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@each_cell
def test_the_global_random_state_stays_as_it_was(cell: str) -> None:
    before = torch.random.get_rng_state()
    network(cell)
    assert torch.equal(before, torch.random.get_rng_state())


def test_only_an_lstm_has_cells(images: torch.Tensor) -> None:
    with pytest.raises(ContractError, match="has no layer 'cell'"):
        list(network("gru").respond(images, ["cell"]))
    assert network("lstm").gates.bias_ih[7:14].tolist() == [1.0] * 7


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_it_learns_digits_by_backprop(cell: str) -> None:
    digits = load_images("digits")
    eye = Preprocessing(size=8, mean=(0.0,), std=(1.0,), channels="L")
    net = SequenceNetwork(cell=cell, n_units=32, preprocessing=eye)
    config = TrainingConfig(epochs=1, batch_size=16, lr=0.5, weight_decay=0.0, seed=1)
    start = net.build(torch.Generator().manual_seed(0))
    trained = fit(start, Backprop(), images=digits, config=config)
    assert trained.accuracies["test"] > 0.6


def test_bad_settings_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ContractError, match=r"cell 'rnn' is unknown. There are: simple, lstm, gru"):
        SequenceNetwork(cell="rnn")
    with pytest.raises(ContractError, match="0 units and 10 classes; expected at least one"):
        SequenceNetwork(n_units=0)
    with pytest.raises(ContractError, match=r"takes images of shape \(batch, 3, 6, 6\)"):
        network("lstm")(images[:, :1])
