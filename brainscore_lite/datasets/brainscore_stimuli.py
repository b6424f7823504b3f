"""Read and write Brain-Score's stimulus sets: a table of stimuli (CSV) and a zip of images."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

from PIL import Image

from brainscore_lite.datasets.archives import write_zip
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import StimulusSet
from brainscore_lite.storage import StorageError, atomic_write

_IDS = ("stimulus_id", "image_id")
_FILE = "filename"
_DEGREES = "degrees"
_FILE_NAME = re.compile(r"\w[\w.+-]*")


def read_brainscore_stimulus_set(
    table: str | os.PathLike[str],
    archive: str | os.PathLike[str],
    *,
    degrees: float | None = None,
    name: str | None = None,
) -> StimulusSet:
    """Read a stimulus set of Brain-Score's.

    Parameters
    ----------
    table : path
        CSV with the columns stimulus_id (or image_id, as older sets have it) and filename; every
        other column becomes a label of the stimuli, as text.
    archive : path
        Zip that holds the files named. Nothing is extracted to disk.
    degrees : float, optional
        Size at which the images were shown, in degrees of visual angle. By default the table's
        column ``degrees``, where it holds one value.
    name : str, optional
        By default the table's name, without "stimulus_".

    Returns
    -------
    StimulusSet

    Raises
    ------
    StorageError
        If the table is missing or no table.
    ContractError
        If a column or an image is missing, labels repeat, or `degrees` contradicts the table.

    Examples
    --------
    >>> table, archive = "stimulus_hvm-public.csv", "stimulus_hvm-public.zip"
    >>> stimuli = read_brainscore_stimulus_set(table, archive, degrees=8)  # doctest: +SKIP
    >>> stimuli.coords["object_name"][:2]  # doctest: +SKIP
    """
    source = Path(table)
    columns = _columns(source)
    context = f"stimulus set '{source.name}'"
    label = next((each for each in _IDS if each in columns), None)
    if label is None or _FILE not in columns:
        raise ContractError(
            f"{context}: has the columns {', '.join(columns) or 'none'}; expected {_IDS[0]} (or "
            f"{_IDS[1]}) and {_FILE}."
        )
    ids = columns[label]
    shown = _shown_degrees(columns.get(_DEGREES, ()), degrees, context)
    taken = {_FILE, "", _DEGREES if shown is not None else _FILE}  # "": the row numbers of pandas
    taken |= {each for each in _IDS if columns.get(each) == ids}
    return StimulusSet.from_zip(
        Path(archive),
        columns[_FILE],
        name=source.stem.removeprefix("stimulus_") if name is None else name,
        ids=ids,
        degrees=shown,
        coords={key: labels for key, labels in columns.items() if key not in taken},
    )


def write_brainscore_stimulus_set(
    stimuli: StimulusSet, table: str | os.PathLike[str], archive: str | os.PathLike[str]
) -> None:
    """Write a stimulus set that Brain-Score loads; the images as PNG, which loses nothing.

    Parameters
    ----------
    stimuli : StimulusSet
    table, archive : path
        CSV and zip to write. The zip has no folders; its files are named by the labels or, where
        these are no file names, by number.

    Raises
    ------
    ContractError
        If a label of the stimuli has the name of one of the table's own columns.
    StorageError
        If a place cannot be written.

    Examples
    --------
    >>> write_brainscore_stimulus_set(stimuli, "mine.csv", "mine.zip")  # doctest: +SKIP
    >>> again = read_brainscore_stimulus_set("mine.csv", "mine.zip")  # doctest: +SKIP
    >>> again.digest == stimuli.digest  # doctest: +SKIP
    """
    reserved = sorted({*_IDS, _FILE, _DEGREES} & set(stimuli.coords))
    if reserved:
        raise ContractError(
            f"stimulus set '{stimuli.name}': the labels {reserved} have the names of columns that "
            "Brain-Score's table keeps for itself. Rename them."
        )
    named = len({each.lower() for each in stimuli.ids}) == len(stimuli)
    named &= all(_FILE_NAME.fullmatch(each) for each in stimuli.ids)
    stems = stimuli.ids if named else [f"{i:06d}" for i in range(len(stimuli))]
    files = [f"{stem}.png" for stem in stems]
    columns = {_IDS[0]: stimuli.ids, **stimuli.coords}
    if stimuli.degrees is not None:
        columns[_DEGREES] = (repr(float(stimuli.degrees)),) * len(stimuli)
    columns[_FILE] = tuple(files)
    write_zip(Path(archive), ((file, _png(stimuli, i)) for i, file in enumerate(files)))
    with atomic_write(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _columns(source: Path) -> dict[str, tuple[str, ...]]:
    """Read a table column by column, every cell as text."""
    if not source.is_file():
        raise StorageError(f"no file {source}. Check the path.")
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            header, *rows = csv.reader(stream, strict=True)
    except (ValueError, csv.Error) as error:
        raise StorageError(f"cannot read {source} as a table: {error}.") from error
    uneven = [number for number, row in enumerate(rows, 2) if len(row) != len(header)]
    if uneven or not rows:
        where = f"row {uneven[0]} has another number of cells" if uneven else "it has no rows"
        raise StorageError(f"cannot read {source} as a table: {where}. Fetch it again.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise StorageError(f"cannot read {source} as a table: it has the columns {twice} twice.")
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _shown_degrees(column: tuple[str, ...], degrees: float | None, context: str) -> float | None:
    try:
        stated = {float(cell) for cell in column}
    except ValueError as error:
        raise ContractError(f"{context}: column '{_DEGREES}' holds no numbers: {error}.") from error
    if degrees is None:
        return stated.pop() if len(stated) == 1 else None
    if stated and stated != {degrees}:
        raise ContractError(
            f"{context}: degrees is {degrees:g}, but the table says {sorted(stated)[:4]}. Leave "
            "out degrees=."
        )
    return degrees


def _png(stimuli: StimulusSet, index: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(stimuli.read(index)).save(encoded, format="PNG")
    return encoded.getvalue()
