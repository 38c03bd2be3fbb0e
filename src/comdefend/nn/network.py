"""What the networks with a weight file of their own have in common."""

from typing import ClassVar

import msgspec
from torch import nn


class Network(nn.Module):
    """A network that is built from its configuration alone, so that a weight file can hold it.

    Attributes:
        kind: Name of the kind of network, as weight files give it.
        config_type: Type of its configuration.
        config: Its configuration.
    """

    kind: ClassVar[str]
    config_type: ClassVar[type[msgspec.Struct]]
    config: msgspec.Struct
