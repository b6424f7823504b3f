"""NWB files that pynwb writes here: spikes and presentations become responses."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynwb import NWBHDF5IO, NWBFile
from pynwb.epoch import TimeIntervals
from pynwb.file import Subject

from brainscore_lite.benchmarks import benchmark_of
from brainscore_lite.datasets import nwb
from brainscore_lite.datasets.nwb import read_nwb
from brainscore_lite.schema import ContractError, MissingExtraError, activations
from brainscore_lite.stimuli import StimulusSet
from brainscore_lite.storage import StorageError

WINDOW = (70, 170)
SPIKES = (  # s; around the onsets 1, 2, 4, 4.2 and 5.3 of TRIALS
    [1.07, 1.1, 1.169999, 1.17, 2.1, 4.27, 4.3, 4.1],
    [5.4, 2.07, 0.5, 2.08],  # not in order
    [],
)
TRIALS = (
    # start, stop, image, category, correct
    (2.0, 2.5, "dog", "animal", True),
    (1.0, 1.5, "car", "thing", True),
    (4.2, 4.7, "car", "thing", False),
    (4.0, 4.5, "cat", "animal", True),
    (5.3, 5.8, "car", "thing", True),
)


def content(*, subject: str | None = "m1", session: str | None = "s1") -> NWBFile:
    return NWBFile(
        session_description="made up",
        identifier="id1",
        session_start_time=datetime(2026, 1, 1, tzinfo=UTC),
        session_id=session,
        subject=None if subject is None else Subject(subject_id=subject, species="Macaca mulatta"),
    )


def add_electrodes(file: NWBFile, locations: tuple[str, ...]) -> None:
    device = file.create_device(name="array")
    for i, location in enumerate(sorted(set(locations))):
        file.create_electrode_group(
            name=f"group{i}", description="made up", location=location, device=device
        )
    for location in locations:
        group = file.electrode_groups[f"group{sorted(set(locations)).index(location)}"]
        file.add_electrode(location=location, group=group)


def add_units(file: NWBFile, spikes=SPIKES, *, electrodes=None, intervals=None, **columns) -> None:
    for name in columns:
        file.add_unit_column(name=name, description="made up")
    for i, times in enumerate(spikes):
        extra = {name: values[i] for name, values in columns.items()}
        if electrodes is not None:
            extra["electrodes"] = list(electrodes[i])
        if intervals is not None:
            extra["obs_intervals"] = intervals[i]
        file.add_unit(spike_times=np.array(times, dtype=float), id=10 + i, **extra)


def add_trials(file: NWBFile, rows=TRIALS) -> None:
    for name in ("image", "category", "correct"):
        file.add_trial_column(name=name, description="made up")
    for start, stop, image, category, correct in rows:
        file.add_trial(
            start_time=start, stop_time=stop, image=image, category=category, correct=correct
        )


def add_presentations(file: NWBFile, name: str, rows=TRIALS) -> None:
    table = TimeIntervals(name=name, description="made up")
    table.add_column(name="stimulus_name", description="made up")
    table.add_column(name="onset", description="made up")
    for start, stop, image, *_ in rows:
        table.add_interval(start_time=start - 0.2, stop_time=stop, stimulus_name=image, onset=start)
    file.add_time_intervals(table)


def saved(file: NWBFile, path: Path) -> Path:
    with NWBHDF5IO(str(path), "w") as stream:
        stream.write(file)
    return path


def usual(path: Path, **settings) -> Path:
    file = content(**settings)
    add_electrodes(file, ("V4", "IT", "IT"))
    add_units(file, electrodes=[(0,), (1, 2), (2,)])
    add_trials(file)
    return saved(file, path)


def test_spikes_are_counted_from_the_edge_that_belongs_to_the_window(tmp_path: Path) -> None:
    found = read_nwb(usual(tmp_path / "a.nwb"), stimulus_column="image", window_ms=WINDOW)
    assert found.dims == ("repetition", "stimulus", "neuroid")
    assert found["stimulus"].values.tolist() == ["car", "dog", "cat"]  # by first onset
    counts = {
        # 1.07 counts, 1.17 does not; 4.27 counts, though 4.2 + 0.07 > 4.27 in floating point
        "car": [[3, 0, 0], [2, 0, 0], [0, 1, 0]],
        "dog": [[1, 2, 0], [np.nan] * 3, [np.nan] * 3],
        "cat": [[1, 0, 0], [np.nan] * 3, [np.nan] * 3],
    }
    for stimulus, expected in counts.items():
        np.testing.assert_array_equal(found.sel(stimulus=stimulus).values, expected)


def test_neuroids_have_region_animal_session_and_unit(tmp_path: Path) -> None:
    found = read_nwb(usual(tmp_path / "a.nwb"), stimulus_column="image", window_ms=WINDOW)
    assert found["neuroid"].values.tolist() == ["m1_s1_10", "m1_s1_11", "m1_s1_12"]
    assert found["region"].values.tolist() == ["V4", "IT", "IT"]
    assert found["animal"].values.tolist() == ["m1"] * 3
    assert found["session"].values.tolist() == ["s1"] * 3
    assert found["unit"].values.tolist() == ["10", "11", "12"]
    assert found["category"].values.tolist() == ["thing", "animal", "animal"]
    assert found["correct"].dims == ("repetition",)  # as it happens: True, False, True for all
    assert found.name == "a"
    assert found.attrs["response"] == "spikes"


def test_bins_share_no_spike_and_rates_are_per_second(tmp_path: Path) -> None:
    path = usual(tmp_path / "a.nwb")
    bins = [(70, 100), (100, 170), (70, 170)]
    found = read_nwb(path, stimulus_column="image", time_bins_ms=bins)
    assert found["start_ms"].values.tolist() == [70, 100, 70]
    assert found["end_ms"].values.tolist() == [100, 170, 170]
    np.testing.assert_array_equal(found[..., 0] + found[..., 1], found[..., 2])
    car = found.sel(stimulus="car").values[0, 0]
    assert car.tolist() == [1, 2, 3]  # a spike at 100 ms is of the second bin
    rates = read_nwb(path, stimulus_column="image", time_bins_ms=bins, response="rate")
    np.testing.assert_allclose(rates.values, found.values / [0.03, 0.07, 0.1], rtol=1e-15)
    assert rates.attrs["response"] == "spikes per second"


@given(
    start=st.integers(0, 10**9),
    spikes=st.lists(st.integers(0, 500), max_size=20),
    edges=st.tuples(st.integers(0, 250), st.integers(251, 500)),
)
@settings(max_examples=25, deadline=None)
def test_counts_equal_those_in_whole_milliseconds(start, spikes, edges) -> None:
    times = [(start + each) / 1000 for each in spikes]
    units = _Units(times)
    counts = nwb._counts(units, np.array([start / 1000]), np.array([edges], dtype=float), "c")
    assert counts.item() == sum(edges[0] <= each < edges[1] for each in spikes)


class _Units:
    """One unit, as pynwb's table presents it."""

    id = (0,)
    colnames = ("spike_times",)

    def __init__(self, times) -> None:
        self._times = times

    def __len__(self) -> int:
        return 1

    def __getitem__(self, name):
        return [self._times]


def test_tables_of_presentations_are_read_like_trials(tmp_path: Path) -> None:
    expected = read_nwb(usual(tmp_path / "a.nwb"), stimulus_column="image", window_ms=WINDOW)
    file = content()
    add_units(file, area=["V4", "IT", "IT"])
    add_presentations(file, "stimulus_presentations")
    settings = {"stimulus_column": "stimulus_name", "window_ms": WINDOW, "region_column": "area"}
    path = saved(file, tmp_path / "b.nwb")
    found = read_nwb(path, start_column="onset", **settings)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found["region"].values.tolist() == expected["region"].values.tolist()
    shifted = read_nwb(path, **{**settings, "window_ms": (270, 370)})  # start_time is 200 ms early
    np.testing.assert_array_equal(shifted.values, expected.values)
    file = content()
    add_units(file, area=["V4", "IT", "IT"])
    for name in ("stimulus_presentations", "spontaneous"):
        add_presentations(file, name)
    several = saved(file, tmp_path / "c.nwb")
    with pytest.raises(ContractError, match=r"no table is named; it has spontaneous, stimulus_pre"):
        read_nwb(several, **settings)
    with pytest.raises(ContractError, match=r"no table 'trials'; it has spontaneous, stimulus_pre"):
        read_nwb(several, table="trials", **settings)
    named = read_nwb(several, table="stimulus_presentations", start_column="onset", **settings)
    np.testing.assert_array_equal(named.values, expected.values)


def test_rows_are_chosen_by_value_and_blanks_left_out_by_name(tmp_path: Path) -> None:
    settings = {"stimulus_column": "image", "window_ms": WINDOW}
    path = usual(tmp_path / "a.nwb")
    correct = read_nwb(path, where={"correct": True}, **settings)
    np.testing.assert_array_equal(correct.sel(stimulus="car").values[:, 0], [3, 0])
    some = read_nwb(path, leave_out=("dog", "cat"), **settings)
    assert some["stimulus"].values.tolist() == ["car"]
    with pytest.raises(ContractError, match=r"no presentations"):
        read_nwb(path, leave_out=("dog", "cat", "car"), **settings)
    file = content()
    add_units(file)
    add_trials(file, [*TRIALS, (7.0, 7.5, "", "none", True)])
    blank = saved(file, tmp_path / "b.nwb")
    with pytest.raises(ContractError, match=r"1 rows of 'trials' name no stimulus in 'image'\. Le"):
        read_nwb(blank, region="IT", **settings)
    found = read_nwb(blank, region="IT", leave_out=("",), **settings)
    assert set(found["region"].values) == {"IT"}
    assert found.sizes["stimulus"] == 3


def test_trials_outside_of_a_units_observed_intervals_are_missing(tmp_path: Path) -> None:
    file = content()
    whole, first = [[0.0, 10.0]], [[0.0, 2.17], [4.2, 4.4]]
    add_units(file, intervals=[whole, first, whole])
    add_trials(file)
    path = saved(file, tmp_path / "a.nwb")
    found = read_nwb(
        path, stimulus_column="image", window_ms=WINDOW, region="IT", leave_out=("cat",)
    )
    lost = found.sel(stimulus="car", neuroid="m1_s1_11").values
    np.testing.assert_array_equal(lost, [0, 0, np.nan])
    assert found.sel(stimulus="dog", neuroid="m1_s1_11").values[0] == 2
    with pytest.raises(ContractError, match=r"stimulus 'cat', neuroid 'm1_s1_11'"):
        read_nwb(path, stimulus_column="image", window_ms=WINDOW, region="IT")


def test_what_the_file_does_not_state_is_given(tmp_path: Path) -> None:
    settings = {"stimulus_column": "image", "window_ms": WINDOW}
    path = usual(tmp_path / "a.nwb", subject=None, session=None)
    with pytest.raises(ContractError, match=r"states no subject_id\. Give animal="):
        read_nwb(path, **settings)
    found = read_nwb(path, animal="m7", **settings)
    assert found["neuroid"].values[0] == "m7_id1_10"
    with pytest.raises(ContractError, match=r"states the subject_id 'm1'\. Leave out animal="):
        read_nwb(usual(tmp_path / "b.nwb"), animal="m7", **settings)
    with pytest.raises(ContractError, match=r"no column 'area'; they have .*spike_times"):
        read_nwb(path, animal="m7", region_column="area", **settings)
    with pytest.raises(ContractError, match=r"give either region= or region_column="):
        read_nwb(path, animal="m7", region="IT", region_column="area", **settings)
    file = content()
    add_units(file)
    add_trials(file)
    with pytest.raises(ContractError, match=r"no electrodes, so no location; .* Give\s+region_col"):
        read_nwb(saved(file, tmp_path / "c.nwb"), **settings)
    file = content()
    add_electrodes(file, ("V4", "IT"))
    add_units(file, electrodes=[(0,), (0, 1), (1,)])
    add_trials(file)
    with pytest.raises(
        ContractError, match=r"unit 11 lie in \['IT', 'V4'\], expected one location"
    ):
        read_nwb(saved(file, tmp_path / "d.nwb"), **settings)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    settings = {"stimulus_column": "image", "window_ms": WINDOW}
    with pytest.raises(StorageError, match=r"no file .*none\.nwb"):
        read_nwb(tmp_path / "none.nwb", **settings)
    (tmp_path / "text.nwb").write_text("no HDF5")
    with pytest.raises(StorageError, match=r"cannot read .*text\.nwb as an NWB file"):
        read_nwb(tmp_path / "text.nwb", **settings)
    path = usual(tmp_path / "a.nwb")
    with pytest.raises(ContractError, match=r"table 'trials' has no column \['picture', 'onset'\]"):
        read_nwb(path, stimulus_column="picture", start_column="onset", window_ms=WINDOW)
    file = content()
    add_trials(file)
    with pytest.raises(ContractError, match=r"no units with spike_times"):
        read_nwb(saved(file, tmp_path / "b.nwb"), **settings)
    file = content()
    add_units(file)
    with pytest.raises(ContractError, match=r"no table is named; it has no table of intervals"):
        read_nwb(saved(file, tmp_path / "c.nwb"), **settings)
    file = content()
    add_units(file, [[1.0, np.nan]])
    add_trials(file)
    with pytest.raises(ContractError, match=r"unit 10 has spike times that are no times"):
        read_nwb(saved(file, tmp_path / "d.nwb"), region="IT", **settings)
    file = content()
    add_units(file)
    add_trials(file, [*TRIALS, (np.nan, 7.5, "car", "thing", True)])
    with pytest.raises(
        ContractError, match=r"1 values of 'start_time' in 'trials' are no finite t"
    ):
        read_nwb(saved(file, tmp_path / "e.nwb"), region="IT", **settings)
    with pytest.raises(ContractError, match=r"5 values of 'category' in 'trials' are no finite"):
        read_nwb(path, start_column="category", **settings)
    file = content()
    add_units(file, intervals=[np.zeros((0, 2))] * 3)
    add_trials(file)
    with pytest.raises(
        ContractError, match=r"9 \(stimulus, neuroid\) cells have no finite response"
    ):
        read_nwb(saved(file, tmp_path / "f.nwb"), region="IT", **settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "give either window_ms"),
        ({"window_ms": (0, 1), "time_bins_ms": [(0, 1)]}, "give either window_ms"),
        ({"window_ms": (170, 70)}, r"bins are \[\[170\.0, 70\.0\]\] ms, expected finite pairs"),
        ({"window_ms": (0, np.inf)}, r"bins are \[\[0\.0, inf\]\] ms, expected finite pairs"),
        ({"time_bins_ms": []}, r"bins are \[\] ms, expected finite pairs"),
        ({"window_ms": WINDOW, "response": "hz"}, r"response is 'hz', expected one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, settings, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        read_nwb(tmp_path / "none.nwb", stimulus_column="image", **settings)


def test_a_missing_pynwb_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nwb, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"extra 'nwb'.*pip install 'brainscore-lite\[nwb\]"
    ):
        read_nwb(tmp_path / "a.nwb", stimulus_column="image", window_ms=WINDOW)


@pytest.mark.filterwarnings("ignore:.*reliabilities are not positive")
def test_a_model_is_scored_on_spikes(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    file = content()
    onsets = np.arange(1, 121) * 0.5
    add_electrodes(file, ("IT", "V4"))
    spikes = [np.sort(draws.uniform(0, 61, 3000)) for _ in range(3)]
    add_units(file, spikes, electrodes=[(0,), (0,), (1,)])
    names = [f"im{i % 40:02d}" for i in range(120)]
    add_trials(file, [(t, t + 0.1, n, "x", True) for t, n in zip(onsets, names, strict=True)])
    trials = read_nwb(saved(file, tmp_path / "a.nwb"), stimulus_column="image", window_ms=WINDOW)
    ids = list(trials["stimulus"].values)
    images = StimulusSet.from_arrays("gray", np.zeros((40, 4, 4, 3), dtype=np.uint8), ids=ids)
    made = benchmark_of(trials, stimuli=images, region="IT", metric="pls", n_draws=0)
    model = activations(draws.normal(size=(40, 30)), stimulus=ids, layer="conv")
    assert np.isfinite(made(model).raw)
