import pickle
from multiprocessing import get_context
from operator import attrgetter
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import CANVAS_GRAY, LUMINANCE, Preprocessing, StimulusSet


def pictures(n=3, size=8, **changes):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return images, StimulusSet.from_arrays(
        "made", images, ids=[f"i{k}" for k in range(n)], **changes
    )


def test_images_are_read_by_label():
    images, stimuli = pictures()
    np.testing.assert_array_equal(stimuli.image("i2"), images[2])
    assert len(stimuli) == 3


def test_selection_keeps_the_order_asked_for_and_the_coordinates():
    images, stimuli = pictures(coords={"block": ("0", "0", "1")})
    chosen = stimuli.select(["i2", "i0"])
    np.testing.assert_array_equal(chosen.image("i2"), images[2])
    assert chosen.coords["block"] == ("1", "0")


def test_an_image_of_four_degrees_takes_half_of_a_field_of_eight():
    images, stimuli = pictures(degrees=4.0)
    placed = stimuli.placed("i0", field_degrees=8.0)
    assert placed.shape == (16, 16, 3)
    np.testing.assert_array_equal(placed[4:12, 4:12], images[0])
    assert (placed[:4] == CANVAS_GRAY).all()
    assert (placed[:, 12:] == CANVAS_GRAY).all()


def test_a_smaller_field_sees_the_centre():
    images, stimuli = pictures(degrees=8.0)
    placed = stimuli.placed("i0", field_degrees=4.0)
    np.testing.assert_array_equal(placed, images[0][2:6, 2:6])


def test_a_wide_image_is_padded_to_a_square_field():
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    stimuli = StimulusSet.from_arrays("wide", [wide], ids=["w"], degrees=8.0)
    placed = stimuli.placed("w", field_degrees=8.0)
    assert placed.shape == (8, 8, 3)
    assert (placed[2:6] == 0).all()
    assert (placed[:2] == CANVAS_GRAY).all()


def test_without_degrees_the_image_fills_the_field_and_says_so():
    images, stimuli = pictures()
    np.testing.assert_array_equal(stimuli.placed("i0", field_degrees=8.0), images[0])
    assert stimuli.placement(field_degrees=8.0) == "size in degrees unknown: images fill the field"


def test_batches_are_the_images_in_order():
    images, stimuli = pictures(n=5)
    batches = list(stimuli.batches(Preprocessing(size=8), batch_size=2))
    assert [len(ids) for ids, _ in batches] == [2, 2, 1]
    together = np.concatenate([array for _, array in batches])
    np.testing.assert_allclose(together, np.moveaxis(images, -1, 1) / 255, atol=1e-6)


def test_preprocessing_normalises_and_orders_channels():
    images, _ = pictures()
    settings = Preprocessing(size=8, scale=255.0, mean=(1, 2, 3), std=(2, 2, 2), channels="BGR")
    expected = (images[0][..., ::-1].astype(float) - [1, 2, 3]) / 2
    np.testing.assert_allclose(settings(images[0]), np.moveaxis(expected, -1, 0), atol=1e-4)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    prepared = Preprocessing(size=16)(stripes)
    assert np.abs(prepared[..., 1:-1] - 0.5).max() < 0.005  # the outermost columns see the border


def test_resize_then_crop_keeps_the_shape_of_things():
    wide = np.zeros((32, 64, 3), dtype=np.uint8)
    wide[:, 24:40] = 255
    prepared = Preprocessing(size=16, resize=16, interpolation="bicubic")(wide)
    assert (prepared[0].mean(axis=0) > 0.5).sum() == 8


def test_luminance_has_one_channel():
    images, _ = pictures()
    gray = Preprocessing(size=8, channels="L", mean=(0.0,), std=(1.0,))(images[0])
    assert gray.shape == (1, 8, 8)
    np.testing.assert_allclose(gray[0], images[0] @ [0.299, 0.587, 0.114] / 255, atol=1e-5)


@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_prepared_is_pixels_times_gain_minus_offset(channels):
    images, _ = pictures()
    n_channels = 1 if channels == "L" else 3
    settings = Preprocessing(
        size=8, channels=channels, mean=(0.4, 0.5, 0.6)[:n_channels], std=(0.2,) * n_channels
    )
    assert settings.gain.dtype == settings.offset.dtype == np.float32
    assert settings.gain.shape == settings.offset.shape == (n_channels,)
    pixels = {"RGB": images, "BGR": images[..., ::-1], "L": (images @ LUMINANCE)[..., None]}
    expected = np.moveaxis(pixels[channels] * settings.gain - settings.offset, -1, 1)
    np.testing.assert_allclose(settings.batch(images), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "suffix", "mode"),
    [
        (np.full((4, 4), 30_000, dtype=np.uint16), "png", "I;16"),
        (np.full((4, 4), 30_000, dtype=np.uint16), "tif", "I;16"),
        (np.full((4, 4), 70_000, dtype=np.int32), "tif", "I"),
        (np.full((4, 4), 0.5, dtype=np.float32), "tif", "F"),
    ],
)
def test_images_of_more_than_8_bits_are_refused(tmp_path, values, suffix, mode):
    Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
    stimuli = StimulusSet.from_folder(tmp_path)
    said = rf"deep\.{suffix} has more than 8 bits a channel \(mode {mode}.*Save it with 8 bits"
    with pytest.raises(ContractError, match=said):
        stimuli.image("deep")


def sources(tmp_path):
    """The same three images from memory, a folder and a zip, and a selection of the last."""
    images, stimuli = pictures()
    folder = tmp_path / "images"
    folder.mkdir()
    with ZipFile(tmp_path / "images.zip", "w") as archive:
        for label, image in zip(stimuli.ids, images, strict=True):
            Image.fromarray(image).save(folder / f"{label}.png")
            archive.write(folder / f"{label}.png", f"{label}.png")
    members = [f"{label}.png" for label in stimuli.ids]
    zipped = StimulusSet.from_zip(tmp_path / "images.zip", members, name="z", ids=stimuli.ids)
    return stimuli, StimulusSet.from_folder(folder), zipped, zipped.select(["i2", "i0"])


def test_stimulus_sets_survive_pickling(tmp_path):
    for stimuli in sources(tmp_path):
        copy = pickle.loads(pickle.dumps(stimuli))
        assert "digest" not in vars(copy)  # computed anew, from the pixels
        assert copy.digest == stimuli.digest
        assert copy.ids == stimuli.ids


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_other_processes_read_the_same_images(tmp_path, start):
    sets = sources(tmp_path)
    with get_context(start).Pool(2) as pool:
        assert pool.map(attrgetter("digest"), sets) == [stimuli.digest for stimuli in sets]


def test_a_folder_is_read_in_order_of_names(tmp_path):
    images, _ = pictures()
    for name, image in zip(("b", "a", "c"), images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("no image")
    stimuli = StimulusSet.from_folder(tmp_path, degrees=5.0)
    assert stimuli.ids == ("a", "b", "c")
    np.testing.assert_array_equal(stimuli.image("b"), images[0])


def test_transparent_parts_show_the_canvas(tmp_path):
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    Image.fromarray(clear, mode="RGBA").save(tmp_path / "clear.png")
    assert (StimulusSet.from_folder(tmp_path).image("clear") == CANVAS_GRAY).all()


def test_a_zip_is_read_lazily(tmp_path):
    images, _ = pictures()
    with ZipFile(tmp_path / "x.zip", "w") as archive:
        for k, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "one.png")
            archive.write(tmp_path / "one.png", f"folder/{k}.png")
        archive.writestr("folder/3.png", b"not a picture")
    members = [f"folder/{k}.png" for k in (2, 0, 3)]
    stimuli = StimulusSet.from_zip(tmp_path / "x.zip", members, name="z", ids=["p", "q", "r"])
    np.testing.assert_array_equal(stimuli.image("p"), images[2])
    with pytest.raises(ContractError, match=r"cannot read the image .*x\.zip:folder/3\.png"):
        stimuli.image("r")
    with pytest.raises(ContractError, match=r"lacks 1 of 1 members \(first: \['absent\.png'\]\)"):
        StimulusSet.from_zip(tmp_path / "x.zip", ["absent.png"], name="z", ids=["a"])


def test_the_digest_sees_pixels_labels_and_size():
    images, stimuli = pictures()
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    digests = {
        stimuli.digest,
        StimulusSet.from_arrays("made", changed, ids=stimuli.ids).digest,
        StimulusSet.from_arrays("made", images, ids=["a", "b", "c"]).digest,
        pictures(degrees=4.0)[1].digest,
    }
    assert len(digests) == 4
    assert pictures()[1].digest in digests


def test_errors_say_what_is_wrong(tmp_path):
    images, stimuli = pictures()
    with pytest.raises(ContractError, match=r"no images in .*\. Expected files ending in \.png"):
        StimulusSet.from_folder(tmp_path)
    with pytest.raises(ContractError, match=r"no folder .*absent\. Give the folder"):
        StimulusSet.from_folder(tmp_path / "absent")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nonsense")
    with pytest.raises(ContractError, match=r"cannot read the image .*bad\.png"):
        StimulusSet.from_folder(tmp_path).image("bad")
    with pytest.raises(ContractError, match=r"'made' has no 'i9'; it holds 3, from 'i0' to 'i2'"):
        stimuli.image("i9")
    with pytest.raises(ContractError, match=r"labels are not unique; first repeated: 'a'"):
        StimulusSet.from_arrays("made", images, ids=["a", "a", "b"])
    with pytest.raises(ContractError, match=r"3 images, but 1 labels"):
        StimulusSet.from_arrays("made", images, ids=["a"])
    with pytest.raises(ContractError, match=r"stimulus set 'none': no images"):
        StimulusSet.from_arrays("none", [], ids=[])
    with pytest.raises(ContractError, match=r"shown at -1 degrees; expected > 0"):
        pictures(degrees=-1)
    with pytest.raises(ContractError, match=r"2 labels of 'block' for 3 images"):
        pictures(coords={"block": ("0", "1")})
    with pytest.raises(
        ContractError, match=r"image 'f' is float64 of shape \(2, 2, 3\); expected uint8"
    ):
        StimulusSet.from_arrays("f", [np.zeros((2, 2, 3))], ids=["f"]).image("f")
    with pytest.raises(ContractError, match=r"size 8, resize 4; expected 1 <= size <= resize"):
        Preprocessing(size=8, resize=4)
    with pytest.raises(ContractError, match=r"interpolation 'nearest'; known"):
        Preprocessing(size=8, interpolation="nearest")
    with pytest.raises(ContractError, match=r"channels 'HSV'; known: \['RGB', 'BGR', 'L'\]"):
        Preprocessing(size=8, channels="HSV")
    for wrong in ({"std": (1.0, 0.0, 1.0)}, {"scale": 0.0}, {"scale": float("nan")}):
        with pytest.raises(ContractError, match=r"expected numbers > 0\. Give std = 1"):
            Preprocessing(size=8, **wrong)
    with pytest.raises(ContractError, match=r"3 means and 3 deviations for 1 channels"):
        Preprocessing(size=8, channels="L")
    with pytest.raises(ContractError, match=r"batch_size is 0, expected at least 1"):
        next(stimuli.batches(Preprocessing(size=8), batch_size=0))
