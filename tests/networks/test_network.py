"""Networks: graph, lesions, responses."""

import pytest
import torch

from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.connections import Connection, Convolution, FullyConnected, initialise
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Edge, Network, Node
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator
from brainscore_lite.stimuli import Preprocessing

SETTINGS = ConvNet(
    areas=(Area("V1", 4, norm="batch"), Area("IT", 4)), n_classes=3, image_size=8, name="tiny"
)


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def joined(delays: dict[str, int], *, n_steps: int = 3) -> Network:
    """Two areas and a readout, with the delays of their connections; lateral where named."""
    ops = {
        "image->V1": Convolution((4, 3, 3, 3), padding=1),
        "V1->V1": Convolution((4, 4, 3, 3), padding=1),
        "V1->IT": Convolution((4, 4, 3, 3), padding=1),
        "IT->V1": Convolution((4, 4, 3, 3), padding=1),
        "IT->readout": FullyConnected((3, 256)),
    }
    generator = torch_generator(0)
    for op in ops.values():
        initialise(op, generator, gain=1.0)
    areas = [AreaModule(Area("V1", 4)), AreaModule(Area("IT", 4)), AreaModule(Dense("readout", 3))]
    connections = [
        Connection(*name.split("->"), op=ops[name], delay=delay) for name, delay in delays.items()
    ]
    eye = Preprocessing(size=8)
    return Network("joined", areas, connections=connections, preprocessing=eye, n_steps=n_steps)


ENGINEERING = {"image->V1": 0, "V1->V1": 1, "V1->IT": 0, "IT->V1": 1, "IT->readout": 0}
BIOLOGICAL = {name: int(name != "image->V1") for name in ENGINEERING}


def test_forward_equals_the_same_operations_by_hand() -> None:
    network = SETTINGS.build(torch_generator(0)).eval()
    state = network.state_dict()
    maps = images()
    for area, source in (("V1", "image"), ("IT", "V1")):
        maps = torch.conv2d(maps, state[f"connections.{source}->{area}.op.weight"], padding=1)
        maps = maps + state[f"areas.{area}.bias"].view(-1, 1, 1)
        maps = (maps / (1 + 1e-5) ** 0.5 if area == "V1" else maps).relu()
    expected = maps.flatten(1) @ state["connections.IT->readout.op.weight"].T
    torch.testing.assert_close(network(images()), expected, atol=1e-5, rtol=1e-4)


def test_respond_gives_the_readout_of_forward() -> None:
    network = SETTINGS.build(torch_generator(0)).eval()
    (step,) = network.respond(images())
    torch.testing.assert_close(step.activations["readout"], network(images()))


def test_networks_in_double_precision_respond_to_images_in_single() -> None:
    network, seen = SETTINGS.build(torch_generator(0)).double().eval(), images()
    (step,) = network.respond(seen)
    assert torch.equal(step.activations["readout"], network(seen.double()))


def test_respond_evaluates_and_restores_training_mode() -> None:
    network = SETTINGS.build(torch_generator(0)).train()
    before = network.areas["V1"].norm.running_mean.clone()
    list(network.respond(images()))
    assert network.training
    assert network.areas["V1"].norm.training
    assert torch.equal(network.areas["V1"].norm.running_mean, before)


def test_a_half_read_response_leaves_the_training_mode_as_found() -> None:
    network = joined(ENGINEERING).train()
    network.areas["IT"].eval()
    steps = network.respond(images())
    next(steps)
    assert network.training
    assert network.areas["V1"].training
    assert not network.areas["IT"].training
    assert [step.index for step in steps] == [1, 2]
    assert network.training


def test_gradients_reach_every_parameter() -> None:
    network = SETTINGS.build(torch_generator(0))
    network(images()).square().sum().backward()
    assert all(float(each.grad.abs().sum()) > 0 for each in network.parameters())


def test_graph_of_a_feedforward_network_is_a_chain() -> None:
    graph = SETTINGS.build(torch_generator(0)).graph()
    assert graph == {
        Node("image", 0): (),
        Node("V1", 0): (Edge("image->V1", Node("image", 0)),),
        Node("IT", 0): (Edge("V1->IT", Node("V1", 0)),),
        Node("readout", 0): (Edge("IT->readout", Node("IT", 0)),),
    }


def test_graph_unrolls_delayed_connections() -> None:
    graph = joined(ENGINEERING).graph(2)
    assert [edge.connection for edge in graph[Node("V1", 0)]] == ["image->V1"]
    assert graph[Node("V1", 1)] == (
        Edge("image->V1", Node("image", 1)),
        Edge("V1->V1", Node("V1", 0)),
        Edge("IT->V1", Node("IT", 0)),
    )


def test_graph_lists_nodes_after_their_parents() -> None:
    for delays in (ENGINEERING, BIOLOGICAL):
        seen: set[Node] = set()
        for node, edges in joined(delays).graph().items():
            assert {edge.parent for edge in edges} <= seen
            seen.add(node)


def test_areas_that_no_signal_has_reached_are_absent() -> None:
    steps = list(joined(BIOLOGICAL).respond(images()))
    assert [tuple(step.activations) for step in steps] == [
        ("V1",),
        ("V1", "IT"),
        ("V1", "IT", "readout"),
    ]


@pytest.mark.parametrize("delays", [ENGINEERING, BIOLOGICAL], ids=["engineering", "biological"])
@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_graph_and_run_reach_the_same_nodes(delays: dict[str, int], n_steps: int) -> None:
    network = joined(delays, n_steps=n_steps)
    steps = enumerate(network.run(images()))
    assert [Node(area, step) for step, reached in steps for area in reached] == list(
        network.graph()
    )


def test_absent_signals_do_not_poison_gradients() -> None:
    network = joined(BIOLOGICAL)
    network(images()).sum().backward()
    grads = [each.grad for each in network.parameters() if each.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)


def test_lesioning_every_recurrent_connection_leaves_the_feedforward_response() -> None:
    network = joined(ENGINEERING)
    first, *_, last = network.respond(images())
    assert not torch.equal(first.activations["IT"], last.activations["IT"])
    with network.lesioned({"V1->V1": 0.0, "IT->V1": 0.0}):
        for step in network.respond(images()):
            for layer, activations in step.activations.items():
                assert torch.equal(activations, first.activations[layer])


def test_lesions_end_with_their_context_and_nest() -> None:
    network = SETTINGS.build(torch_generator(0)).eval()
    intact = network(images())
    with network.lesioned({"IT->readout": 0.5}), network.lesioned({"V1->IT": 1.0}):
        torch.testing.assert_close(network(images()), intact / 2)
    assert torch.equal(network(images()), intact)


def test_a_connection_that_is_mended_leaves_no_trace() -> None:
    network, mended = joined(ENGINEERING), joined(ENGINEERING)
    mended.lesion({"V1->V1": 0.0, "IT->V1": 0.5})
    assert "gains={'IT->V1': 0.5, 'V1->V1': 0.0}" in repr(mended)
    mended.lesion({"V1->V1": 1.0, "IT->V1": 1.0})
    assert repr(mended) == repr(network)
    assert torch.equal(mended(images()), network(images()))


def test_gain_of_a_connection_is_1_but_where_it_is_lesioned() -> None:
    network = SETTINGS.build(torch_generator(0))
    with network.lesioned({"V1->IT": 0.5}):
        assert network.gain("V1->IT") == 0.5
        assert network.gain("IT->readout") == 1.0
    assert network.gain("V1->IT") == 1.0


def test_activation_shapes_are_those_of_a_response() -> None:
    network = SETTINGS.build(torch_generator(0)).train()
    before = network.areas["V1"].norm.running_mean.clone()
    shapes = network.activation_shapes()
    assert shapes == {"V1": (4, 8, 8), "IT": (4, 8, 8), "readout": (3,)}
    assert list(shapes) == list(network.layer_names)
    assert torch.equal(network.areas["V1"].norm.running_mean, before)
    assert network.image_shape == (3, 8, 8)


def test_activation_shapes_leave_out_areas_that_no_signal_reaches() -> None:
    assert list(joined(BIOLOGICAL).activation_shapes()) == ["V1", "IT", "readout"]
    assert list(joined(BIOLOGICAL, n_steps=2).activation_shapes()) == ["V1", "IT"]


def test_unknown_connection_lists_the_connections() -> None:
    network = SETTINGS.build(torch_generator(0))
    with (
        pytest.raises(ContractError, match=r"no connection 'V1->V4'.*are: image->V1, V1->IT"),
        network.lesioned({"V1->V4": 0.0}),
    ):
        pass


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ContractError, match=r"takes images of shape \(batch, 3, 8, 8\), not"):
        SETTINGS.build(torch_generator(0))(torch.zeros(1, 3, 9, 9))


def test_unknown_layer_lists_the_layers() -> None:
    with pytest.raises(ContractError, match=r"has no layer 'V4'.*V1, IT, readout"):
        list(SETTINGS.build(torch_generator(0)).respond(images(), ["V4"]))


def test_two_areas_of_one_name_are_refused() -> None:
    settings = ConvNet(areas=(Area("V1", 2), Area("V1", 2)), n_classes=2, image_size=8)
    with pytest.raises(ContractError, match="Two areas have the same name"):
        settings.build(torch_generator(0))


@pytest.mark.parametrize("name", ["V1.a", "image"])
def test_names_that_cannot_be_areas_are_refused(name: str) -> None:
    settings = ConvNet(areas=(Area(name, 2),), n_classes=2, image_size=8)
    with pytest.raises(ContractError, match=f"cannot be named '{name}'"):
        settings.build(torch_generator(0))


def test_a_connection_back_needs_a_delay() -> None:
    with pytest.raises(ContractError, match=r"'IT->V1' leads back without delay"):
        joined({**ENGINEERING, "IT->V1": 0})


def test_a_connection_of_an_area_that_is_not_there_is_refused() -> None:
    connection = Connection("V2", "V1", op=Convolution((4, 4, 3, 3)))
    with pytest.raises(ContractError, match="does not exist: 'V2'"):
        Network(
            "broken",
            [AreaModule(Area("V1", 4))],
            connections=[connection],
            preprocessing=Preprocessing(size=8),
        )


def wired(*connections: Connection, areas: tuple[str, ...] = ("IT", "readout")) -> Network:
    """Dense areas, with one step."""
    return Network(
        "wired",
        [AreaModule(Dense(area, 3)) for area in areas],
        connections=connections,
        preprocessing=Preprocessing(size=8),
    )


def test_two_connections_of_one_name_are_refused() -> None:
    one, other = (Connection("image", "IT", op=FullyConnected((3, 192))) for _ in range(2))
    with pytest.raises(ContractError, match="Two connections are called 'image->IT'"):
        wired(one, other)


@pytest.mark.parametrize("delay", [-1, 2, 0.5])
def test_a_delay_of_neither_0_nor_1_is_refused(delay: int) -> None:
    connection = Connection("image", "IT", op=FullyConnected((3, 192)), delay=delay)
    with pytest.raises(ContractError, match=f"'image->IT' has delay={delay}; a signal takes 0"):
        wired(connection)


@pytest.mark.parametrize("areas", [(), ("IT",), ("readout", "IT")])
def test_a_network_without_a_readout_above_is_refused(areas: tuple[str, ...]) -> None:
    with pytest.raises(ContractError, match="the last must be the readout"):
        wired(areas=areas)


def test_a_network_without_steps_is_refused() -> None:
    with pytest.raises(ContractError, match="has n_steps=0; it must run at least 1"):
        joined(ENGINEERING, n_steps=0)
