"""ComCNN, RecCNN, and the two together: ComDefend (Jia et al., CVPR 2019)."""

import torch
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.nn.binarize import Threshold, Unthresholded
from comdefend.nn.config import RGB_12BPP, PurifierConfig
from comdefend.nn.device import device_of, dtype_of
from comdefend.nn.gray_code import Fold, Unfold
from comdefend.nn.images import check_dtype, check_images, check_range, pad_to_multiple
from comdefend.nn.layout import layers, tensor_shapes
from comdefend.nn.network import Network
from comdefend.nn.weights import PurifierWeights


class ComCNN(nn.Module):
    """Compressing network: images to logits, one per bit of the code.

    (N, C, H, W) in [0, 1], H and W divisible by ``multiple`` -> (N, K, H/d, W/d), unbounded.
    Jia et al. 2019, Table 1.
    """

    def __init__(self, config: PurifierConfig) -> None:
        super().__init__()
        self.unshuffle = _rearranging(nn.PixelUnshuffle, config.multiple)
        self.layers = _convolutions(config, "encoder")
        self.shuffle = _rearranging(nn.PixelShuffle, config.reduction)
        self.fold = Fold(config.value_bits) if config.value_bits > 1 else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits z of the code."""
        return self.fold(self.shuffle(self.layers(self.unshuffle(images) - 0.5)))


class RecCNN(nn.Module):
    """Reconstruction network: code to images.

    (N, K, h, w) in [0, 1], h and w divisible by ``reduction`` -> (N, C, h*d, w*d) in [0, 1].
    Jia et al. 2019, Table 2.
    """

    def __init__(self, config: PurifierConfig) -> None:
        super().__init__()
        self.unfold = Unfold(config.value_bits) if config.value_bits > 1 else nn.Identity()
        self.unshuffle = _rearranging(nn.PixelUnshuffle, config.reduction)
        self.layers = _convolutions(config, "decoder")
        self.shuffle = _rearranging(nn.PixelShuffle, config.multiple)

    def forward(self, code: Tensor) -> Tensor:
        """Return the rebuilt images."""
        return torch.sigmoid(self.shuffle(self.layers(self.unshuffle(self.unfold(code)))))


class ComDefend(Network):
    """A purifier: compresses images to a binary code and rebuilds them from it.

    Composed of three modules::

        images -- encoder --> logits z -- binarizer --> code -- decoder --> purified images

    Called on images it returns purified images of the same shape. In training mode the code is
    soft and noisy, in evaluation mode hard (`Threshold`). Gradients pass straight through the hard
    code, so attacking ``classifier(purifier(x))`` by gradient is an adaptive attack.

    Args:
        config: The architecture; the paper's RGB network by default.
        encoder: Images to logits, as `ComCNN`, which is the default.
        decoder: Code to images, as `RecCNN`, which is the default.
        binarizer: Logits, and noise or None, to a code; `Threshold` by default.
    """

    kind = "purifier"
    config_type = PurifierConfig
    config: PurifierConfig

    encoder: nn.Module
    decoder: nn.Module
    binarizer: nn.Module

    def __init__(
        self,
        config: PurifierConfig = RGB_12BPP,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        binarizer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = ComCNN(config) if encoder is None else encoder
        self.decoder = RecCNN(config) if decoder is None else decoder
        if binarizer is None:
            binarizer = Threshold(config.phi) if config.binary else Unthresholded()
        self.binarizer = binarizer

    def with_binarizer(self, binarizer: nn.Module) -> "ComDefend":
        """Return a purifier with the same encoder and decoder, in the same mode.

        Args:
            binarizer: Logits, and noise or None, to a code.
        """
        purifier = ComDefend(self.config, self.encoder, self.decoder, binarizer)
        return purifier.train(self.training)

    def logits(self, images: Tensor) -> Tensor:
        """Return z, the real-valued code before binarisation.

        Args:
            images: (N, C, H, W) float in [0, 1], any H and W. Sizes that ``config.multiple`` does
                not divide are padded by reflection at the right and the bottom.

        Returns:
            (N, K, h, w), with h and w from `PurifierConfig.code_side`: H/d and W/d, rounded up to
            a multiple of the reduction.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not a tensor of the weights' float type.
        """
        check_images(images, self.config.channels, dtype_of(self))
        return self.encoder(pad_to_multiple(images, self.config.multiple))

    def binarize(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Turn logits into the code: soft and noisy in training mode, else 0 or 1.

        Args:
            logits: (N, K, h, w).
            noise: In training mode, standard normal of the same shape, scaled by phi here; by
                default it is drawn. Evaluation mode has no noise.
        """
        return self.binarizer(logits, noise)

    def encode(self, images: Tensor) -> Tensor:
        """Compress images to their code.

        Args:
            images: (N, C, H, W) float in [0, 1].

        Returns:
            (N, K, h, w), 0 or 1 in evaluation mode; h and w are those of `logits`.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not a tensor of the weights' float type.
        """
        return self.binarize(self.logits(images))

    def decode(self, code: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Rebuild images from their code.

        Args:
            code: (N, K, h, w) float in [0, 1].
            size: (H, W) of the images; needed only if ``config.multiple`` does not divide it.

        Returns:
            (N, C, H, W) in [0, 1].

        Raises:
            InputError: The shape of the code does not fit the weights or the size, or its values do
                not lie in [0, 1].
            InputTypeError: Not a tensor of the weights' float type.
        """
        check_dtype("code", code, dtype_of(self))
        if code.ndim != 4 or code.shape[1] != self.config.code_maps:
            raise InputError(
                f"code must have shape (N, {self.config.code_maps}, h, w), not {tuple(code.shape)}"
            )
        check_range("code", code)
        if any(side % self.config.reduction for side in code.shape[-2:]):
            raise InputError(
                f"a code of {tuple(code.shape[-2:])} positions: both numbers must be multiples of "
                f"{self.config.reduction}"
            )
        images = self.decoder(code)
        if size is None:
            return images
        if len(size) != 2:
            raise InputError(f"size must be (height, width), not {tuple(size)}")
        for wanted, coded in zip(size, code.shape[-2:], strict=True):
            if self.config.code_side(wanted) != coded:
                raise InputError(
                    f"size {tuple(size)} does not fit a code of {tuple(code.shape[-2:])} positions "
                    f"with downscale factor {self.config.downscale}"
                )
        if self.config.multiple == 1:
            return images
        # By index, like the padding: an exported program with a slice would only take sizes that
        # need no padding.
        rows, columns = (torch.arange(length, device=images.device) for length in size)
        return images.index_select(-2, rows).index_select(-1, columns)

    def at(self, bpp: float) -> "ComDefend":
        """Return the purifier that uses only the first maps of the code.

        It shares these weights. A map that is left out is one filter less in the encoder and one
        input less in the decoder. Training with nested dropout (Rippel et al. 2014) showed the
        decoder such maps as zeros.

        Args:
            bpp: Bits per pixel, one of ``config.bpps``.

        Raises:
            InputError: The weights were not trained for that rate.
        """
        config = self.config.at(bpp)
        with torch.device("meta"):
            shorter = ComDefend(config, binarizer=self.binarizer)
        state = self.state_dict()
        for name, tensor in shorter.state_dict().items():
            state[name] = state[name][tuple(map(slice, tensor.shape))]
        shorter.load_state_dict(state, assign=True)
        return shorter.train(self.training)

    def forward(self, images: Tensor) -> Tensor:
        """Purify images: (N, C, H, W) float in [0, 1] -> the same.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not a tensor of the weights' float type.
        """
        code = self.encode(images)
        return self.decode(code, size=(images.shape[-2], images.shape[-1]))

    def weights(self) -> PurifierWeights | None:
        """Return configuration and weights; None if they do not describe all that it computes.

        They do not where another encoder, decoder or binarizer was put in.
        """
        binarizer = Threshold if self.config.binary else Unthresholded
        kinds = type(self.encoder), type(self.decoder), type(self.binarizer)
        state = self.state_dict()
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if kinds != (ComCNN, RecCNN, binarizer) or shapes != tensor_shapes(self.config):
            return None
        tensors = {name: tensor.detach().cpu().float().numpy() for name, tensor in state.items()}
        return PurifierWeights(self.config, tensors)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return device_of(self)


class Residual(nn.Module):
    """Adds to its input what layers make of it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape."""
        return values + self.layers(values)


def _convolutions(config: PurifierConfig, part: str) -> nn.Sequential:
    """Return the convolutions of a part, with an activation after all but the last."""
    activation = nn.ELU if config.activation == "elu" else nn.GELU
    modules: list[nn.Module] = []
    for layer in layers(config, part):
        convolution = nn.Conv2d(
            layer.inputs, layer.outputs, layer.kernel, padding=layer.kernel // 2
        )
        if layer.residual:
            modules.append(Residual(convolution, activation()))
        else:
            modules += [convolution, activation()]
    return nn.Sequential(*modules[:-1])


def _rearranging(kind: type[nn.PixelShuffle] | type[nn.PixelUnshuffle], factor: int) -> nn.Module:
    # Left out for a factor of 1, since exported graphs would spend time on it.
    return kind(factor) if factor > 1 else nn.Identity()
