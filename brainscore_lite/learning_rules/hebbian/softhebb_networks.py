"""The networks for which SoftHebb was published, with the settings that belong to them."""

from brainscore_lite.learning_rules.hebbian.softhebb import SoftHebb
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.stimuli import Preprocessing

#: Mean and standard deviation of the pixels of MNIST, in place of a batch norm of the image.
MNIST_STANDARDISED = Preprocessing(size=28, mean=(0.1307,), std=(0.3081,), channels="L")

# Journe et al. (2023), arXiv:2209.11883: channels times 4 and maps halved from area to area.
# Theirs pads the maps before pooling and drops out half of the features of the readout.
SOFTHEBB_CNN = ConvNet(
    areas=(
        Area("conv1", 96, kernel=5, activation="triangle_0.7", post_norm="batch", bias=False),
        Area(
            "conv2",
            384,
            pool_in=Pool("max", 4, 2),
            activation="triangle_1.4",
            post_norm="batch",
            bias=False,
        ),
        Area("conv3", 1536, pool_in=Pool("max", 4, 2), activation="triangle", bias=False),
    ),
    n_classes=10,
    image_size=28,
    in_channels=1,
    readout_pool=Pool("average", 2),
    preprocessing=MNIST_STANDARDISED,
    name="softhebb_cnn",
)
#: Weights start long, so that the learning rate, which falls with the norm, has far to go.
PUBLISHED_CNN = SoftHebb(biases="none", initial_norm=25.0)

# Moraitis et al. (2022), doi:10.1088/2634-4386/aca710: a single layer of 2000 units; theirs passes
# on the softmax itself.
SOFTHEBB_MLP = ConvNet(
    areas=(Dense("hidden", 2000, activation="triangle_1.4"),),
    n_classes=10,
    image_size=28,
    in_channels=1,
    preprocessing=MNIST_STANDARDISED,
    name="softhebb_mlp",
)
#: Their form of the rule, with steps as large as stay stable; weights start at about the radius.
MIXTURE_MLP = SoftHebb(
    anti_hebbian=False,
    rescaled=False,
    norm_power=0.0,
    radius=0.5,
    initial_norm=0.6,
    inverse_temperatures=(2.0,),
    lrs=(0.2,),
)
#: For dense areas, bounded ones too: drives of about one unit, and few winners for an image.
DENSE_SOFTHEBB = SoftHebb(radius=0.1, inverse_temperatures=(20.0,), lrs=(0.01,))
