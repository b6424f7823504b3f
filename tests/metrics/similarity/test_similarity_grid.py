"""Layer x layer grids equal pairwise comparison, and read every layer once."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
import xarray as xr

from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.gram import gram
from brainscore_lite.metrics.similarity.cca import CCA, cca
from brainscore_lite.metrics.similarity.cka import linear_cka, rbf_cka
from brainscore_lite.metrics.similarity.shape_metrics import ShapeSimilarity, shape_similarity
from brainscore_lite.metrics.similarity.similarity_grid import SIMILARITIES, similarity_grid
from brainscore_lite.schema import ContractError, activations, responses

RNG = np.random.default_rng(8)
LATENT = RNG.normal(size=(60, 5))
LAYERS = {
    f"layer{p}": LATENT @ RNG.normal(size=(5, p)) + RNG.normal(size=(60, p)) for p in (4, 9, 14)
}
OTHER = {"v4": RNG.normal(size=(60, 6)), "it": LATENT[:, :3] + RNG.normal(size=(60, 3))}
PAIRWISE = {
    "cka": linear_cka,
    "cka_biased": lambda a, b: linear_cka(a, b, debiased=False),
    "rbf_cka": rbf_cka,
    "cca": cca,
    "svcca": lambda a, b: cca(a, b, variance=0.99),
    "pwcca": lambda a, b: cca(a, b, summary="projection_weighted"),
    "procrustes": shape_similarity,
}
NAMES = [f"s{i}" for i in range(60)]


class ReadOnce(Mapping[str, np.ndarray]):
    """Layers that count how often each is loaded."""

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        self.reads[name] = self.reads.get(name, 0) + 1
        return LAYERS[name]

    def __iter__(self) -> Iterator[str]:
        return iter(LAYERS)

    def __len__(self) -> int:
        return len(LAYERS)


def as_activations(values: np.ndarray, order: np.ndarray) -> xr.DataArray:
    return activations(values[order], stimulus=np.array(NAMES)[order], layer="conv")


@pytest.mark.parametrize("method", SIMILARITIES)
def test_grid_equals_pairwise_comparison(method: str) -> None:
    for other in (None, OTHER):
        grid = similarity_grid(LAYERS, other, method=method)
        columns = LAYERS if other is None else other
        assert grid.dims == ("layer", "layer_other")
        assert grid["layer_other"].values.tolist() == list(columns)
        expected = [[PAIRWISE[method](a, b) for b in columns.values()] for a in LAYERS.values()]
        np.testing.assert_allclose(grid, expected, atol=1e-12)
    assert grid.name == SIMILARITIES[method].unit


@pytest.mark.parametrize("method", SIMILARITIES)
def test_gram_matrices_and_tensors_give_the_same(method: str) -> None:
    grid = similarity_grid(LAYERS, OTHER, method=method)
    grams = {name: gram(layer) for name, layer in LAYERS.items()}
    xr.testing.assert_identical(similarity_grid(grams, OTHER, method=method), grid)
    tensors = {name: torch.tensor(layer) for name, layer in LAYERS.items()}
    xr.testing.assert_allclose(similarity_grid(tensors, OTHER, method=method), grid, atol=1e-12)


def test_every_layer_is_read_once() -> None:
    layers = ReadOnce()
    similarity_grid(layers, method="cca")
    assert layers.reads == dict.fromkeys(LAYERS, 1)


def test_layers_may_come_as_streams_of_columns() -> None:
    streams = {name: iter([layer[:, :2], layer[:, 2:]]) for name, layer in LAYERS.items()}
    xr.testing.assert_allclose(similarity_grid(streams), similarity_grid(LAYERS), atol=1e-12)


def test_labels_decide_not_order() -> None:
    orders = [np.random.default_rng(i).permutation(60) for i in range(3)]
    labelled = {
        name: as_activations(layer, order)
        for (name, layer), order in zip(LAYERS.items(), orders, strict=True)
    }
    xr.testing.assert_allclose(similarity_grid(labelled), similarity_grid(LAYERS), atol=1e-12)
    recorded = responses(
        OTHER["v4"], stimulus=NAMES, neuroid=list("abcdef"), region="V4", animal="one"
    )
    mixed = similarity_grid(labelled, {"v4": recorded})
    np.testing.assert_allclose(mixed, similarity_grid(LAYERS, {"v4": OTHER["v4"]}), atol=1e-12)


def test_methods_are_names_or_objects() -> None:
    half = similarity_grid(LAYERS, method=ShapeSimilarity(alpha=0.5))
    assert np.diag(half) == pytest.approx(1.0)
    assert not np.allclose(half, similarity_grid(LAYERS, method="procrustes"))
    with pytest.raises(ContractError, match="unknown similarity 'dot'; expected one of"):
        similarity_grid(LAYERS, method="dot")


def test_only_projection_weighting_looks_at_the_order_of_two_layers() -> None:
    assert [name for name, m in SIMILARITIES.items() if not m.symmetric] == ["pwcca"]
    pwcca = similarity_grid(LAYERS, method=CCA(summary="projection_weighted")).values
    assert not np.allclose(pwcca, pwcca.T)


def test_bad_input_names_the_layer() -> None:
    with pytest.raises(ContractError, match="no layers were given"):
        similarity_grid({})
    with pytest.raises(ContractError, match="layers 'layer4' and 'short': 60 and 59 stimuli"):
        similarity_grid(LAYERS, {"short": LATENT[1:]}, method="procrustes")
    with pytest.raises(ContractError, match="layers 'layer4' and 'short': 60 and 59 stimuli"):
        similarity_grid(LAYERS, {"short": LATENT[1:]}, method="cka")
    with pytest.raises(ContractError, match="layer 'broken': X: feature 0 holds NaN"):
        similarity_grid({"broken": np.full((60, 2), np.nan)})
    with pytest.raises(ContractError, match="layers 'wide' and 'wide': a representation of 60"):
        similarity_grid({"wide": RNG.normal(size=(60, 70))}, method="cca")
    labelled = {"a": as_activations(LATENT, np.arange(60))}
    for layers in ({**labelled, "b": LATENT}, {"b": LATENT, **labelled}):
        with pytest.raises(ContractError, match="some layers are labelled DataArrays and others"):
            similarity_grid(layers)
    with pytest.raises(ContractError, match="some layers are labelled DataArrays and others"):
        similarity_grid(LAYERS, labelled)
    fewer = {"few": as_activations(LATENT, np.arange(50))}
    with pytest.raises(ContractError, match="layer 'few': no stimuli 's50'"):
        similarity_grid(labelled, fewer)
    with pytest.raises(ContractError, match="layer 'tiny': 3 and 3 stimuli, expected the same"):
        similarity_grid({"tiny": LATENT[:3]})
    with pytest.warns(UndefinedCorrelationWarning):
        constant = similarity_grid({"a": LATENT, "constant": np.full((60, 3), 0.1)})
    assert constant.sel(layer="constant").values.tolist() == [0, 0]
