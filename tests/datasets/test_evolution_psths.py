"""Response time courses of V1, V4 and IT: which area peaks when."""

from pathlib import Path

import numpy as np
import pytest

from brainscore_lite.datasets import evolution_psths
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.delimited import read_table

TABLE = """experiment,animal,unit,area,date,n_generations,thread0_space,thread1_space
Exp1-B,B,Ch5U2,IT,2020-07-22,2,fc6,BigGAN
Exp2-A,A,Ch6U1,V1,2020-07-23,1,fc6,BigGAN
"""
PATHS = (
    "Exp1-B/gen_01/biggan_psth.json",
    "Exp1-B/gen_02/biggan_psth.json",
    "Exp2-A/gen_01/deepsim_psth.json",
)


def write(folder: Path, *, table: str = TABLE, paths: tuple[str, ...] = PATHS) -> tuple[Path, Path]:
    (folder / "experiments.csv").write_text(table)
    np.savez(
        folder / "psth_means.npz",
        mean=np.arange(3 * 5, dtype=np.float32).reshape(3, 5),
        evoked=np.ones(3),
        paths=np.array(paths),
    )
    return folder / "psth_means.npz", folder / "experiments.csv"


def test_small_files(tmp_path: Path) -> None:
    npz, table = write(tmp_path)
    experiments = read_table(table, evolution_psths._COLUMNS, dataset="evolution_psths")
    psths = evolution_psths.read_psths(npz, experiments=experiments)
    assert psths.dims == ("psth", "time_bin")
    assert psths["generation"].values.tolist() == [1, 2, 1]
    assert psths["thread"].values.tolist() == ["biggan", "biggan", "deepsim"]
    assert psths["area"].values.tolist() == ["IT", "IT", "V1"]
    assert psths["end_ms"].values.tolist() == [1, 2, 3, 4, 5]
    dataset = evolution_psths.EvolutionPsths("small", psths, experiments, "", "", "", (), {})
    sites = dataset.by_experiment()
    np.testing.assert_allclose(sites.sel(experiment="Exp1-B"), psths[:2].mean("psth"))
    assert sites["area"].values.tolist() == ["IT", "V1"]


def test_table_without_a_column(tmp_path: Path) -> None:
    _, table = write(tmp_path, table="experiment,animal\nExp1-B,B\n")
    with pytest.raises(DatasetError, match=r"'experiments.csv' lacks the columns \['unit', 'area'"):
        read_table(table, evolution_psths._COLUMNS, dataset="evolution_psths")


def test_psth_of_an_unknown_experiment(tmp_path: Path) -> None:
    npz, table = write(tmp_path, paths=(*PATHS[:2], "Exp9-B/gen_01/biggan_psth.json"))
    experiments = read_table(table, evolution_psths._COLUMNS, dataset="evolution_psths")
    with pytest.raises(DatasetError, match=r"1 PSTHs belong to no experiment .* first: 'Exp9-B"):
        evolution_psths.read_psths(npz, experiments=experiments)


def test_truncated_file(tmp_path: Path) -> None:
    npz, table = write(tmp_path)
    npz.write_bytes(npz.read_bytes()[:200])
    experiments = read_table(table, evolution_psths._COLUMNS, dataset="evolution_psths")
    with pytest.raises(DatasetError, match=r"psth_means.npz' cannot be read"):
        evolution_psths.read_psths(npz, experiments=experiments)


@pytest.mark.parametrize(
    ("area", "n_sites", "peak_ms"), [("V1", 11, 80), ("V4", 43, 98), ("IT", 116, 114)]
)
def test_peak_of_the_mean_time_course(mirror: Path, area: str, n_sites: int, peak_ms: int) -> None:
    """Each site counts equally: baseline (0 to 20 ms) subtracted, divided by its own maximum.

    The figures noted with the data leave the normalisation open; this one gives 80, 98 and 115.
    Means of the raw rates, in which the loudest sites decide, peak at 72, 73 and 114.
    """
    dataset = evolution_psths.load()
    assert dataset.psths.sizes == {"psth": 9786, "time_bin": 200}
    sites = dataset.by_experiment()
    rates = sites.values[sites["area"].values == area]
    assert len(rates) == n_sites
    evoked = rates - rates[:, :20].mean(axis=1, keepdims=True)
    course = (evoked / evoked.max(axis=1, keepdims=True)).mean(axis=0)
    assert abs(int(course.argmax()) - peak_ms) <= 1


def test_evoked_rate_is_the_mean_from_50_to_200_ms(mirror: Path) -> None:
    psths = evolution_psths.load().psths
    np.testing.assert_allclose(psths[:, 50:].mean("time_bin"), psths["evoked_hz"], atol=0.06)
