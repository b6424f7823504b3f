"""Published networks with lateral and feedback connections, and their feedforward controls."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from brainscore_lite.networks.areas import PER_STEP, Area
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.stimuli import Preprocessing

HALF = Pool("max", 2)


def _spoerer_2017(name: str, *, channels: int = 32, kernel: int = 3) -> ConvNet:
    first = Area("V1", channels, kernel=kernel, post_norm="local_response")
    return ConvNet(
        areas=(first, replace(first, name="V2", pool_in=HALF)),
        n_classes=10,
        image_size=32,
        in_channels=1,
        readout_pool=Pool("max", None),
        name=f"spoerer_2017_{name}",
    )


def _spoerer_2020(
    name: str, *, kernels: Sequence[int] = (7, 5, 3, 3, 3, 3, 1), width: int = 1, depth: int = 1
) -> ConvNet:
    channels = (96, 128, 192, 256, 512, 1024, 2048)
    areas = tuple(
        Area(
            f"layer{index + 1}",
            width * size,
            kernel=kernel,
            depth=depth,
            pool_in=HALF if index else None,
            norm=PER_STEP,
            bias=False,
        )
        for index, (size, kernel) in enumerate(zip(channels, kernels, strict=True))
    )
    return ConvNet(
        areas=areas,
        n_classes=565,
        image_size=128,
        readout_pool=Pool("average", None),
        preprocessing=Preprocessing(size=128, mean=(0.5,) * 3, std=(0.5,) * 3),
        name=f"spoerer_2020_{name}",
    )


def _liao_poggio_2016() -> ConvNet:
    areas = (
        Area("V1", 32, norm=PER_STEP, bias=False),
        Area("V2", 64, pool_in=HALF, norm=PER_STEP, bias=False),
        Area("V4", 64, pool_in=HALF, norm=PER_STEP, bias=False),
        Area("IT", 64, pool_in=HALF, norm=PER_STEP, bias=False),
    )
    upwards = tuple(combinations([area.name for area in areas], 2))
    return ConvNet(
        areas=areas,
        n_classes=10,
        image_size=32,
        lateral=True,
        feedback=tuple((above, below) for below, above in upwards),
        skip=(("V1", "V4"), ("V1", "IT"), ("V2", "IT")),
        n_steps=8,
        unroll="biological",
        readout_pool=Pool("average", None),
        name="liao_poggio_2016",
    )


# Spoerer, McClure & Kriegeskorte (2017), doi:10.3389/fpsyg.2017.01551: 9,898 parameters (B), 38,218
# (B-F), 26,794 (B-K), 28,330 (BL), 19,114 (BT) and 37,546 (BLT).
_B_2017 = _spoerer_2017("b")
SPOERER_2017 = (
    _B_2017,
    _spoerer_2017("b_f", channels=64),
    _spoerer_2017("b_k", kernel=5),
    replace(_B_2017, lateral=True, n_steps=4, name="spoerer_2017_bl"),
    replace(_B_2017, feedback=True, n_steps=4, name="spoerer_2017_bt"),
    replace(_B_2017, lateral=True, feedback=True, n_steps=4, name="spoerer_2017_blt"),
)

# Spoerer et al. (2020), doi:10.1371/journal.pcbi.1008215, for the 565 classes of ecoset. Without
# norms 10,137,941 parameters (B), 38,896,213 (B-K), 38,207,605 (B-F) and 27,911,509 (B-D and BL).
_B_2020 = _spoerer_2020("b")
SPOERER_2020 = (
    _B_2020,
    _spoerer_2020("b_k", kernels=(11, 7, 5, 5, 5, 5, 3)),
    _spoerer_2020("b_f", width=2),
    _spoerer_2020("b_d", depth=2),
    replace(_B_2020, lateral=True, n_steps=8, name="spoerer_2020_bl"),
)

# After the fully recurrent network of several states of Liao & Poggio (2016), arXiv:1604.03640: all
# areas joined in both directions, weights shared over time, batch statistics of each step. The
# sizes are this package's: 453,098 parameters without those of norms.
LIAO_POGGIO_2016 = _liao_poggio_2016()

RECURRENT_ARCHITECTURES = (*SPOERER_2017, *SPOERER_2020, LIAO_POGGIO_2016)
