import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from brainscore_lite.learning_rules import Phase
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.training import Augmentation, TrainingConfig
from brainscore_lite.training.minibatches import Minibatches, augmented

LABELLED = Phase(name="training")
GRAY = {"mean": (0.4,), "std": (0.2,), "channels": "L"}


def prepared(images: Any, preprocessing: Preprocessing, **settings: Any) -> Minibatches:
    config = TrainingConfig(batch_size=50, **settings)
    return Minibatches.prepare(images, preprocessing, config=config, dtype=torch.float32)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(size=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)),
        Preprocessing(size=8, scale=255.0, mean=(104.0, 117.0, 123.0), channels="BGR"),
        Preprocessing(size=8, **GRAY),
        Preprocessing(size=12, std=(0.2, 0.2, 0.2)),
        Preprocessing(size=6, resize=7, interpolation="bicubic", **GRAY),
    ],
    ids=["RGB", "BGR", "gray", "larger", "cropped"],
)
def test_images_equal_the_preprocessing(images: Any, preprocessing: Preprocessing) -> None:
    minibatches = prepared(images, preprocessing)
    found = minibatches.normalised(minibatches.splits["test"].pixels)
    expected = torch.from_numpy(preprocessing.batch(images.test_images))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * preprocessing.scale)


def test_an_epoch_shows_every_image_once(images: Any) -> None:
    minibatches = prepared(images, Preprocessing(size=8))
    batches = list(minibatches.epoch(1, LABELLED))
    assert [len(batch.images) for batch in batches] == [50, 50, 20]
    assert minibatches.n_steps == 3
    seen = torch.cat([batch.images for batch in batches]).flatten(1)
    whole = torch.from_numpy(Preprocessing(size=8).batch(images.train_images)).flatten(1)
    assert sorted(seen.sum(1).tolist()) == pytest.approx(sorted(whole.sum(1).tolist()))


@pytest.mark.parametrize(
    ("batch_size", "leaves"), [(1, True), (7, True), (119, True), (40, False), (500, False)]
)
def test_knows_of_a_last_batch_of_one_image(images: Any, batch_size: int, leaves: bool) -> None:
    config = TrainingConfig(batch_size=batch_size)
    eye = Preprocessing(size=8)
    minibatches = Minibatches.prepare(images, eye, config=config, dtype=torch.float32)
    sizes = [len(batch.images) for batch in minibatches.epoch(1, LABELLED)]
    assert minibatches.leaves_one is leaves is (sizes[-1] == 1)


def test_a_sample_has_the_labels_that_a_phase_tells(images: Any) -> None:
    minibatches = prepared(images, Preprocessing(size=8))
    train, shuffled = minibatches.splits["train"], Phase(name="control", shuffled=True)
    plain, told = minibatches.probe(50), minibatches.probe(50, phase=shuffled)
    assert torch.equal(plain.pixels, told.pixels)
    place = {image.numpy().tobytes(): i for i, image in enumerate(train.pixels)}
    found = [place[image.numpy().tobytes()] for image in told.pixels]
    assert torch.equal(told.labels, minibatches.labels_told(shuffled)[found])
    assert torch.equal(plain.labels, train.labels[found])
    unlabelled = minibatches.probe(50, phase=Phase(name="views", labels=False))
    assert torch.equal(unlabelled.labels, plain.labels)
    assert torch.equal(minibatches.probe(120).labels[:50], plain.labels)


def test_an_epoch_repeats_without_those_before_it(images: Any) -> None:
    minibatches = prepared(images, Preprocessing(size=8), augmentation=Augmentation(shift=2))
    list(minibatches.epoch(1, LABELLED))
    again = prepared(images, Preprocessing(size=8), augmentation=Augmentation(shift=2))
    for one, other in zip(minibatches.epoch(2, LABELLED), again.epoch(2, LABELLED), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    first, second = (next(minibatches.epoch(number, LABELLED)).labels for number in (1, 2))
    assert not torch.equal(first, second)


def test_a_phase_decides_about_labels_and_views(images: Any) -> None:
    minibatches = prepared(
        images, Preprocessing(size=8), augmentation=Augmentation(flip=True, shift=3)
    )
    batch = next(minibatches.epoch(1, Phase(name="unsupervised", labels=False, views=2)))
    assert batch.labels is None
    assert batch.views.shape == (2, *batch.images.shape)
    assert not torch.equal(batch.views[0], batch.views[1])
    plain = next(minibatches.epoch(1, LABELLED))
    assert plain.views is None
    assert torch.equal(plain.images, batch.images)  # views draw from a stream of their own


def test_shifts_stay_in_reach_and_fill_edges_by_reflection() -> None:
    ramp = torch.arange(6, dtype=torch.uint8).expand(200, 6, 6)[..., None]
    rng = torch.Generator().manual_seed(0)
    shifted = augmented(ramp, Augmentation(shift=2), rng=rng)[:, 0, :, 0]
    expected = {
        (2, 1, 0, 1, 2, 3),
        (1, 0, 1, 2, 3, 4),
        (0, 1, 2, 3, 4, 5),
        (1, 2, 3, 4, 5, 4),
        (2, 3, 4, 5, 4, 3),
    }
    assert {tuple(row) for row in shifted.tolist()} == expected


def test_flips_half_of_the_images() -> None:
    ramp = torch.arange(6, dtype=torch.uint8).expand(400, 6, 6)[..., None]
    flipped = augmented(ramp, Augmentation(flip=True), rng=torch.Generator().manual_seed(0))
    mirrored = (flipped[:, 0, 0, 0] == 5).float().mean()
    assert 0.4 < mirrored < 0.6
    assert {tuple(row) for row in flipped[:, 0, :, 0].tolist()} == {
        (0, 1, 2, 3, 4, 5),
        (5, 4, 3, 2, 1, 0),
    }


def test_validation_images_are_stratified_and_kept_apart(images: Any) -> None:
    splits = prepared(images, Preprocessing(size=8), validation_fraction=0.1).splits
    assert torch.bincount(splits["validation"].labels).tolist() == [6, 6]
    assert len(splits["train"]) == 108
    apart = {tuple(image.flatten().tolist()) for image in splits["validation"].pixels}
    assert not apart & {tuple(image.flatten().tolist()) for image in splits["train"].pixels}
    same = prepared(images, Preprocessing(size=8), validation_fraction=0.1).splits
    assert torch.equal(same["validation"].pixels, splits["validation"].pixels)
    other = prepared(images, Preprocessing(size=8), validation_fraction=0.1, seed=1).splits
    assert not torch.equal(other["validation"].pixels, splits["validation"].pixels)


def test_refuses_a_class_too_small_to_split(images: Any) -> None:
    few = dataclasses.replace(
        images, train_images=images.train_images[:6], train_labels=images.train_labels[:6]
    )
    with pytest.raises(ContractError, match="class 0 has 3 training images, too few to keep"):
        prepared(few, Preprocessing(size=8), validation_fraction=0.1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"train_images": np.zeros((4, 8, 8, 3), np.float32)}, "train_images are float32 of shape"),
        ({"test_images": np.zeros((0, 8, 8, 3), np.uint8)}, r"test_images are uint8 of shape \(0"),
        ({"train_labels": np.zeros(7, int)}, r"train_labels are int64 of shape \(7,\); expected"),
        ({"test_labels": np.full(40, -1)}, "expected whole numbers from 0, one for each of 40"),
    ],
)
def test_refuses_images_and_labels_that_do_not_fit(
    images: Any, wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ContractError, match=sentence):
        prepared(dataclasses.replace(images, **wrong), Preprocessing(size=8))


def test_labels_are_dealt_out_anew_once_for_the_whole_run(images: Any) -> None:
    whole = prepared(images, Preprocessing(size=8), seed=3)
    shuffled = Phase(name="training", shuffled=True)
    told = whole.labels_told(shuffled)
    true = whole.labels_told(LABELLED)
    assert told is not None
    assert true is not None
    assert torch.equal(told.sort().values, true.sort().values)
    assert 0.3 < (told == true).double().mean() < 0.7
    assert torch.equal(told, whole.labels_told(shuffled))
    batch, unshuffled = (next(whole.epoch(1, phase)) for phase in (shuffled, LABELLED))
    assert torch.equal(batch.images, unshuffled.images)
    assert not torch.equal(batch.labels, unshuffled.labels)
    assert whole.labels_told(Phase(name="training", labels=False)) is None


def test_a_phase_may_go_without_augmentation(images: Any) -> None:
    eye = Preprocessing(size=8)
    shifted = prepared(images, eye, augmentation=Augmentation(shift=2))
    plain = prepared(images, eye)
    readout = Phase(name="readout", augmented=False, views=1)
    one, other = next(shifted.epoch(1, readout)), next(plain.epoch(1, LABELLED))
    assert torch.equal(one.images, other.images)
    assert one.views is not None
    assert not torch.equal(one.views[0], one.images)
    assert not torch.equal(next(shifted.epoch(1, LABELLED)).images, one.images)
