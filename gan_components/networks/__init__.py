"""The architectures by name. Each module has ``generator(...)`` and ``discriminator(...)``."""

from gan_components.networks import dcgan

NETWORKS = {"dcgan": dcgan}
