"""Ready-made architectures by name."""

from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.recurrent_architectures import RECURRENT_ARCHITECTURES
from brainscore_lite.stimuli import Preprocessing

HALF = Pool("max", 2)
AVERAGED = Pool("average", 2)
OVERLAPPING = Pool("max", 3, 2)

# Four areas of the ventral stream, small enough to train on a laptop's CPU in minutes. Bounded
# activations and no normalisation, so that every learning rule can train it; pooling before a
# monotone activation gives the same numbers as after it, for a quarter of the work.
SMALL_CNN = ConvNet(
    areas=(
        Area("V1", 32, pool_out=HALF, activation="clipped_relu"),
        Area("V2", 64, pool_out=HALF, activation="clipped_relu"),
        Area("V4", 128, pool_out=HALF, activation="clipped_relu"),
        Area("IT", 128, activation="clipped_relu"),
    ),
    n_classes=10,
    image_size=32,
    name="small_cnn",
)

# Pixels from 0 to 1, like the activations: standardised ones would saturate bounded units.
INK = Preprocessing(size=28, mean=(0.0,), std=(1.0,), channels="L")

# The networks on which learning rules are compared for cost: bounded activations, average pooling
# and no normalisation, so that every rule can train them.
MATCHED_MLP = ConvNet(
    areas=(
        Dense("hidden1", 256, activation="clipped_relu"),
        Dense("hidden2", 256, activation="clipped_relu"),
    ),
    n_classes=10,
    image_size=28,
    in_channels=1,
    preprocessing=INK,
    name="matched_mlp",
)
MATCHED_CNN = ConvNet(
    areas=(
        Area("conv1", 16, pool_out=AVERAGED, activation="clipped_relu"),
        Area("conv2", 32, pool_out=AVERAGED, activation="clipped_relu"),
        Dense("hidden", 128, activation="clipped_relu"),
    ),
    n_classes=10,
    image_size=28,
    in_channels=1,
    preprocessing=INK,
    name="matched_cnn",
)

# Krizhevsky (2014), arXiv 1404.5997, as in torchvision, without dropout: 61,100,840 parameters.
ALEXNET = ConvNet(
    areas=(
        Area("conv1", 64, kernel=11, stride=4, padding=2),
        Area("conv2", 192, kernel=5, pool_in=OVERLAPPING),
        Area("conv3", 384, pool_in=OVERLAPPING),
        Area("conv4", 256),
        Area("conv5", 256),
        Dense("fc6", 4096, pool_in=OVERLAPPING),
        Dense("fc7", 4096),
    ),
    n_classes=1000,
    image_size=224,
    name="alexnet",
)

ARCHITECTURES: dict[str, ConvNet] = {
    each.name: each
    for each in (SMALL_CNN, MATCHED_MLP, MATCHED_CNN, ALEXNET, *RECURRENT_ARCHITECTURES)
}
