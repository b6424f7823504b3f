"""Images with labels and sizes, and how they come to a model's eye."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from brainscore_lite.configuration import digest_bytes
from brainscore_lite.schema import ContractError

Pixels = NDArray[np.uint8]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
CANVAS_GRAY = 128
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
CHANNELS = ("RGB", "BGR", "L")
_DEEP_MODES = ("I", "F")  # and I;16...: more than 8 bits, which Pillow would clip at 255
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocessing:
    """Turn an image into the array that a network takes.

    ``(scale * pixel / 255 - mean) / std``, computed as ``pixel * gain - offset``, after resizing
    with Pillow, whose filters widen when they shrink an image and so are antialiased.

    Parameters
    ----------
    size : int
        Height and width in pixels of what the network sees.
    resize : int, optional
        Shorter side before the centre crop to `size`; by default the image is resized straight
        to size x size, whatever its shape.
    interpolation : {"bilinear", "bicubic"}
    scale : float
        Value of white: 1 or 255.
    mean, std : tuple of float
        Per channel, in units of `scale`.
    channels : {"RGB", "BGR", "L"}
        Order of the colours; "L" is one channel of luminance.

    Raises
    ------
    ContractError
        If a setting is unknown or out of range, or means and deviations are not one per channel.
    """

    size: int
    resize: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    channels: Literal["RGB", "BGR", "L"] = "RGB"

    def __post_init__(self) -> None:
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise ContractError(
                f"preprocessing: size {self.size}, resize {self.resize}; expected 1 <= size <= "
                "resize (or no resize)."
            )
        if self.interpolation not in _FILTERS:
            raise ContractError(
                f"preprocessing: interpolation '{self.interpolation}'; known: {list(_FILTERS)}."
            )
        if self.channels not in CHANNELS:
            raise ContractError(
                f"preprocessing: channels '{self.channels}'; known: {list(CHANNELS)}."
            )
        if not len(self.mean) == len(self.std) == self.n_channels:
            raise ContractError(
                f"preprocessing: {len(self.mean)} means and {len(self.std)} deviations for "
                f"{self.n_channels} channels; expected one each."
            )
        if not (self.scale > 0 and all(each > 0 for each in self.std)):
            raise ContractError(
                f"preprocessing: scale {self.scale}, std {self.std}; expected numbers > 0. Give "
                "std = 1 where nothing is to be divided."
            )

    @property
    def n_channels(self) -> int:
        """Number of channels that the network sees."""
        return 1 if self.channels == "L" else 3

    @property
    def gain(self) -> NDArray[np.float32]:
        """Factor of each channel, shape (n_channels,): scale / 255 / std."""
        std = np.asarray(self.std, dtype=np.float32)
        return np.asarray(np.float32(self.scale / 255) / std, dtype=np.float32)

    @property
    def offset(self) -> NDArray[np.float32]:
        """What is then subtracted from each channel, shape (n_channels,): mean / std."""
        mean, std = (np.asarray(each, dtype=np.float32) for each in (self.mean, self.std))
        return np.asarray(mean / std, dtype=np.float32)

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Prepare one image.

        Parameters
        ----------
        image : uint8 array, shape (height, width, 3)
            RGB.

        Returns
        -------
        float32 array, shape (n_channels, size, size)
        """
        prepared: NDArray[np.float32] = self.batch(image[np.newaxis])[0]
        return prepared

    def batch(self, images: Pixels) -> NDArray[np.float32]:
        """Prepare images of one size.

        Parameters
        ----------
        images : uint8 array, shape (n, height, width, 3)
            RGB.

        Returns
        -------
        float32 array, shape (n, n_channels, size, size)
        """
        resized = np.stack([self._resized(image) for image in images])
        if self.channels == "L":
            channels = (resized @ np.array(LUMINANCE, dtype=np.float32))[..., np.newaxis]
        else:
            ordered = resized[..., ::-1] if self.channels == "BGR" else resized
            channels = ordered.astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(channels * self.gain - self.offset, -1, 1))

    def _resized(self, image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        if self.resize is None:
            wanted = (self.size, self.size)
        else:
            ratio = self.resize / min(height, width)
            wanted = (round(height * ratio), round(width * ratio))
        if wanted != (height, width):
            pil = Image.fromarray(image)
            image = np.asarray(
                pil.resize((wanted[1], wanted[0]), _FILTERS[self.interpolation]), dtype=np.uint8
            )
        top, left = (wanted[0] - self.size) // 2, (wanted[1] - self.size) // 2
        return image[top : top + self.size, left : left + self.size]


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Read images from memory."""

    images: Sequence[Pixels] | Pixels
    ids: tuple[str, ...]

    def __call__(self, index: int) -> Pixels:
        """Return image `index`, uint8 (height, width, 3)."""
        return _as_rgb(self.images[index], self.ids[index])


@dataclass(frozen=True)
class FolderImages:
    """Read images from files."""

    files: tuple[Path, ...]

    def __call__(self, index: int) -> Pixels:
        """Return image `index`, uint8 (height, width, 3)."""
        return _decode(self.files[index], self.files[index])


@dataclass(frozen=True)
class ZipImages:
    """Read images from members of a zip archive, which each process opens once."""

    path: str
    members: tuple[str, ...]

    def __call__(self, index: int) -> Pixels:
        """Return image `index`, uint8 (height, width, 3)."""
        with _opened_zip(self.path, os.getpid()).open(self.members[index]) as opened:
            return _decode(opened, f"{self.path}:{self.members[index]}")


@dataclass(frozen=True)
class SelectedImages:
    """Read some of the images that another callable reads."""

    read: Callable[[int], Pixels]
    positions: tuple[int, ...]

    def __call__(self, index: int) -> Pixels:
        """Return image `index`, uint8 (height, width, 3)."""
        return self.read(self.positions[index])


@dataclass(frozen=True, eq=False)
class StimulusSet:
    """Labelled images, read when they are needed; can be pickled if `read` can.

    Parameters
    ----------
    name : str
    ids : tuple of str
        Unique labels; they are the ``stimulus`` labels of responses and activations.
    read : callable
        Index into `ids` -> uint8 array, shape (height, width, 3), RGB.
    degrees : float, optional
        Size at which the images were shown, in degrees of visual angle of the longer side.
        Unset: the images fill whatever field a model has, and the provenance says so.
    coords : mapping of str to tuple of str
        More labels for each image: object_name, category, block.

    Raises
    ------
    ContractError
        If there are no images, labels repeat, or a coordinate has the wrong length.
    """

    name: str
    ids: tuple[str, ...]
    read: Callable[[int], Pixels]
    degrees: float | None = None
    coords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        context = f"stimulus set '{self.name}'"
        if not self.ids:
            raise ContractError(f"{context}: no images. At least one is needed.")
        if len(set(self.ids)) != len(self.ids):
            repeated = next(each for each in self.ids if self.ids.count(each) > 1)
            raise ContractError(f"{context}: labels are not unique; first repeated: '{repeated}'.")
        if self.degrees is not None and not self.degrees > 0:
            raise ContractError(f"{context}: shown at {self.degrees} degrees; expected > 0.")
        for coord, labels in self.coords.items():
            if len(labels) != len(self.ids):
                raise ContractError(
                    f"{context}: {len(labels)} labels of '{coord}' for {len(self.ids)} images."
                )

    @classmethod
    def from_arrays(
        cls,
        name: str,
        images: Sequence[Pixels] | Pixels,
        *,
        ids: Sequence[str],
        degrees: float | None = None,
        coords: Mapping[str, tuple[str, ...]] | None = None,
    ) -> "StimulusSet":
        """Make a stimulus set of images in memory.

        Parameters
        ----------
        name : str
        images : sequence of uint8 arrays, each of shape (height, width) or (height, width, 3)
        ids : sequence of str
        degrees, coords
            As in :class:`StimulusSet`.
        """
        if len(images) != len(ids):
            raise ContractError(
                f"stimulus set '{name}': {len(images)} images, but {len(ids)} labels."
            )
        return cls(name, tuple(ids), ArrayImages(images, tuple(ids)), degrees, coords or {})

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, name: str | None = None, degrees: float | None = None
    ) -> "StimulusSet":
        """Make a stimulus set of the image files in a folder; labels are file names without suffix.

        Parameters
        ----------
        folder : path
            Not searched below; sorted by name.
        name : str, optional
            By default the folder's name.
        degrees : float, optional
            Size at which the images were shown, in degrees of visual angle.

        Raises
        ------
        ContractError
            If there is no such folder or no image in it.
        """
        place = Path(folder)
        if not place.is_dir():
            raise ContractError(f"no folder {place}. Give the folder that holds the images.")
        found = (each for each in place.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES)
        files = tuple(sorted(found))
        if not files:
            raise ContractError(
                f"no images in {place}. Expected files ending in {', '.join(IMAGE_SUFFIXES)}."
            )
        ids = tuple(each.stem for each in files)
        return cls(name or place.name, ids, FolderImages(files), degrees)

    @classmethod
    def from_zip(
        cls,
        path: str | Path,
        members: Sequence[str],
        *,
        name: str,
        ids: Sequence[str],
        degrees: float | None = None,
        coords: Mapping[str, tuple[str, ...]] | None = None,
    ) -> "StimulusSet":
        """Make a stimulus set of members of a zip archive, read from it one by one.

        Parameters
        ----------
        path : path
        members : sequence of str
            Names inside the archive, in the order of `ids`.
        name, ids, degrees, coords
            As in :class:`StimulusSet`.

        Raises
        ------
        ContractError
            If the archive is broken or lacks a member.
        """
        present = set(_opened_zip(str(path), os.getpid()).namelist())
        missing = [member for member in members if member not in present]
        if missing or len(members) != len(ids):
            raise ContractError(
                f"stimulus set '{name}': {path} lacks {len(missing)} of {len(members)} members "
                f"(first: {missing[:3]}) for {len(ids)} labels."
            )
        read = ZipImages(str(path), tuple(members))
        return cls(name, tuple(ids), read, degrees, coords or {})

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, stimulus: str) -> Pixels:
        """Read one image.

        Parameters
        ----------
        stimulus : str
            Its label.

        Returns
        -------
        uint8 array, shape (height, width, 3)

        Raises
        ------
        ContractError
            If there is no such label or the file cannot be read.
        """
        return self.read(self._position(stimulus))

    def placed(self, stimulus: str, *, field_degrees: float | None) -> Pixels:
        """Read one image as it lies in a visual field.

        A field larger than the image shows it in the middle of a gray canvas; a smaller field
        shows its centre. Where either size is unknown, the image fills the field.

        Parameters
        ----------
        stimulus : str
        field_degrees : float or None
            Side of the model's visual field, in degrees of visual angle.

        Returns
        -------
        uint8 array, shape (side, side, 3), or (height, width, 3) if the image fills the field
        """
        image = self.image(stimulus)
        if self.degrees is None or field_degrees is None:
            return image
        side = max(1, round(max(image.shape[:2]) * field_degrees / self.degrees))
        canvas = np.full((side, side, 3), CANVAS_GRAY, dtype=np.uint8)
        onto, taken = zip(*(_overlap(length, side) for length in image.shape[:2]), strict=True)
        canvas[onto] = image[taken]
        return canvas

    def placement(self, *, field_degrees: float | None) -> str:
        """Say in words how the images lie in a field of `field_degrees`."""
        if self.degrees is None:
            return "size in degrees unknown: images fill the field"
        if field_degrees is None:
            return f"images of {self.degrees:g} degrees fill a field of unknown size"
        return f"images of {self.degrees:g} degrees in a field of {field_degrees:g} degrees"

    def batches(
        self,
        preprocessing: Callable[[Pixels], NDArray[np.float32]],
        *,
        batch_size: int,
        field_degrees: float | None = None,
    ) -> Iterator[tuple[tuple[str, ...], NDArray[np.float32]]]:
        """Prepare the images batch by batch.

        Parameters
        ----------
        preprocessing : callable
            uint8 (height, width, 3) -> float32 (channels, size, size).
        batch_size : int
        field_degrees : float, optional
            Side of the model's visual field.

        Yields
        ------
        ids : tuple of str
        images : float32 array, shape (batch, channels, size, size)
        """
        if batch_size < 1:
            raise ContractError(f"batch_size is {batch_size}, expected at least 1.")
        for start in range(0, len(self), batch_size):
            ids = self.ids[start : start + batch_size]
            yield (
                ids,
                np.stack(
                    [preprocessing(self.placed(each, field_degrees=field_degrees)) for each in ids]
                ),
            )

    def select(self, stimuli: Sequence[str]) -> "StimulusSet":
        """Keep some of the images, in the order asked for.

        Raises
        ------
        ContractError
            If a label is unknown.
        """
        positions = tuple(self._position(each) for each in stimuli)
        coords = {key: tuple(labels[i] for i in positions) for key, labels in self.coords.items()}
        read = SelectedImages(self.read, positions)
        return StimulusSet(self.name, tuple(stimuli), read, self.degrees, coords)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of labels, size in degrees and decoded pixels, in hex."""
        chunks = [f"{self.degrees}".encode()]
        for index, label in enumerate(self.ids):
            image = self.read(index)
            chunks += [label.encode(), str(image.shape).encode(), image.tobytes()]
        return digest_bytes(*chunks)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.ids)}

    def _position(self, stimulus: str) -> int:
        if stimulus not in self._positions:
            raise ContractError(
                f"stimulus set '{self.name}' has no '{stimulus}'; it holds {len(self.ids)}, from "
                f"'{self.ids[0]}' to '{self.ids[-1]}'."
            )
        return self._positions[stimulus]


def _overlap(length: int, side: int) -> tuple[slice, slice]:
    """Slices of a canvas and of an image, both centred, that cover each other."""
    common = min(length, side)
    onto, taken = (side - common) // 2, (length - common) // 2
    return slice(onto, onto + common), slice(taken, taken + common)


def _as_rgb(image: Pixels, label: str) -> Pixels:
    array = np.asarray(image)
    if array.ndim == 2:
        array = np.repeat(array[..., np.newaxis], 3, axis=2)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ContractError(
            f"image '{label}' is {array.dtype} of shape {array.shape}; expected uint8 of shape "
            "(height, width) or (height, width, 3)."
        )
    return array


def _decode(source: object, label: object) -> Pixels:
    try:
        with Image.open(source) as opened:  # type: ignore[arg-type]  # path or binary stream
            if opened.mode in _DEEP_MODES or opened.mode.startswith("I;16"):
                raise ContractError(
                    f"the image {label} has more than 8 bits a channel (mode {opened.mode}); "
                    "which value is white is not known. Save it with 8 bits."
                )
            return np.asarray(_flattened(opened), dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ContractError(
            f"cannot read the image {label}: {error}. Replace or remove the file."
        ) from error


def _flattened(image: Image.Image) -> Image.Image:
    """RGB, with transparent parts on the gray of the canvas."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        gray = Image.new("RGBA", over.size, (CANVAS_GRAY,) * 3 + (255,))
        return Image.alpha_composite(gray, over).convert("RGB")
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _opened_zip(path: str, process: int) -> ZipFile:
    """Open an archive; a forked process must not share its parent's place in the file."""
    try:
        return ZipFile(path)
    except (BadZipFile, OSError) as error:
        raise ContractError(f"cannot open the archive {path}: {error}.") from error
