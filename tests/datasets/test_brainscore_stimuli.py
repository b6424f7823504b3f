"""Brain-Score's stimulus sets: a table and a zip of images."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainscore_lite.datasets.brainscore_stimuli import (
    read_brainscore_stimulus_set,
    write_brainscore_stimulus_set,
)
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import StimulusSet
from brainscore_lite.storage import StorageError

FILES = Path(__file__).parent / "files"
TOY = (FILES / "stimulus_lab_Toy2026.csv", FILES / "stimulus_lab_Toy2026.zip")
OLDER = (FILES / "stimulus_hvm-public.csv", FILES / "stimulus_hvm-public.zip")


def own_stimuli(ids: tuple[str, ...] = ("b", "a", "c"), **settings) -> StimulusSet:
    pixels = np.random.default_rng(0).integers(0, 256, (len(ids), 5, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays("own", pixels, ids=ids, **settings)


def test_what_brainscore_core_packages_is_read() -> None:
    stimuli = read_brainscore_stimulus_set(*TOY)
    assert stimuli.name == "lab_Toy2026"
    assert stimuli.ids == tuple(f"object{i}" for i in range(5))
    assert stimuli.degrees == 8.0
    assert stimuli.coords["object_name"] == ("cat", "dog", "cat", "dog", "cat")
    assert stimuli.coords["background"] == ("000", "001", "002", "003", "004")  # text stays text
    with zipfile.ZipFile(TOY[1]) as archive:
        for stimulus in stimuli.ids:
            expected = np.asarray(Image.open(io.BytesIO(archive.read(f"{stimulus}.png"))))
            np.testing.assert_array_equal(stimuli.image(stimulus), expected)


def test_older_sets_say_image_id() -> None:
    stimuli = read_brainscore_stimulus_set(*OLDER, degrees=8, name="hvm")
    assert (stimuli.name, len(stimuli), stimuli.degrees) == ("hvm", 40, 8)
    assert set(stimuli.coords) == {"object_name", "category_name", "variation", "rxy"}
    assert set(stimuli.coords["variation"]) == {"0", "3"}


@pytest.mark.parametrize("ids", [("b", "a", "c"), ("x/b", "x/a", "y/a"), ("A", "a", "..")])
def test_what_is_written_is_read_back_exactly(tmp_path: Path, ids: tuple[str, ...]) -> None:
    coords = {"object_name": ("cat, tabby", "dog\n2", '"'), "number": ("01", "1", "")}
    stimuli = own_stimuli(ids, degrees=3.1, coords=coords)
    for folder in ("first", "second"):
        place = tmp_path / folder
        write_brainscore_stimulus_set(stimuli, place / "stimulus_own.csv", place / "own.zip")
    found = read_brainscore_stimulus_set(tmp_path / "first/stimulus_own.csv", place / "own.zip")
    assert (found.name, found.ids, found.degrees) == (stimuli.name, stimuli.ids, stimuli.degrees)
    assert found.coords == stimuli.coords
    assert found.digest == stimuli.digest
    with zipfile.ZipFile(place / "own.zip") as archive:
        assert not [name for name in archive.namelist() if "/" in name]
    for file in ("stimulus_own.csv", "own.zip"):
        assert (tmp_path / "first" / file).read_bytes() == (place / file).read_bytes()


def test_labels_named_as_columns_of_the_table_are_refused(tmp_path: Path) -> None:
    stimuli = own_stimuli(coords={"filename": ("1", "2", "3")})
    with pytest.raises(ContractError, match=r"\['filename'\] have the names of columns .* Rename"):
        write_brainscore_stimulus_set(stimuli, tmp_path / "a.csv", tmp_path / "a.zip")


def changed(path: Path, folder: Path, change) -> Path:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    with (folder / path.name).open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(change(rows))
    return folder / path.name


def test_tables_saved_by_other_programs_are_read(tmp_path: Path) -> None:
    header, *rows = TOY[0].read_text(encoding="utf-8").splitlines()
    numbered = "\n".join([f",{header}", *(f"{i},{row}" for i, row in enumerate(rows))])
    table = tmp_path / TOY[0].name
    table.write_text(numbered, encoding="utf-8-sig")  # row numbers, and a byte order mark
    found, expected = (read_brainscore_stimulus_set(each, TOY[1]) for each in (table, TOY[0]))
    assert found.coords == expected.coords
    assert found.digest == expected.digest
    table.write_text(f"{header},filename\n" + "\n".join(f"{row},x.png" for row in rows))
    with pytest.raises(StorageError, match=r"has the columns \['filename'\] twice"):
        read_brainscore_stimulus_set(table, TOY[1])


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    table, archive = TOY
    header = changed(table, tmp_path, lambda rows: [list("vwxyz"), *rows[1:]])
    with pytest.raises(ContractError, match=r"columns v, w, x, y, z; expected stimulus_id \(or im"):
        read_brainscore_stimulus_set(header, archive)
    short = changed(table, tmp_path, lambda rows: [*rows[:2], rows[2][:-1]])
    with pytest.raises(StorageError, match=r"row 3 has another number of cells"):
        read_brainscore_stimulus_set(short, archive)
    empty = changed(table, tmp_path, lambda rows: rows[:1])
    with pytest.raises(StorageError, match=r"it has no rows"):
        read_brainscore_stimulus_set(empty, archive)
    (tmp_path / "nothing.csv").write_bytes(b"")
    for name in ("nothing.csv", "none.csv"):
        with pytest.raises(StorageError, match=r"cannot read|no file"):
            read_brainscore_stimulus_set(tmp_path / name, archive)
    twice = changed(table, tmp_path, lambda rows: [*rows, rows[1]])
    with pytest.raises(ContractError, match=r"labels are not unique; first repeated: 'object0'"):
        read_brainscore_stimulus_set(twice, archive)
    with pytest.raises(ContractError, match=r"lacks 5 of 5 members"):
        read_brainscore_stimulus_set(table, OLDER[1])
    with pytest.raises(ContractError, match=r"cannot open the archive"):
        read_brainscore_stimulus_set(table, table)


def test_degrees_are_those_of_the_table_or_given(tmp_path: Path) -> None:
    table, archive = TOY
    with pytest.raises(ContractError, match=r"degrees is 4, but the table says \[8\.0\]"):
        read_brainscore_stimulus_set(table, archive, degrees=4)
    column = 4

    def of(*cells: str):
        def change(rows: list[list[str]]) -> list[list[str]]:
            assert rows[0][column] == "degrees"
            return [rows[0], *([*row[:column], cells[i % 2]] for i, row in enumerate(rows[1:]))]

        return change

    several = read_brainscore_stimulus_set(changed(table, tmp_path, of("4", "8")), archive)
    assert several.degrees is None
    assert set(several.coords["degrees"]) == {"4", "8"}
    with pytest.raises(ContractError, match=r"'degrees' holds no numbers"):
        read_brainscore_stimulus_set(changed(table, tmp_path, of("big", "8")), archive)
