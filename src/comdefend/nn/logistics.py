"""Mixtures of discretised logistics: probabilities of 8-bit values (Salimans et al. 2017).

A value v from 0 to 255 stands at 2 v / 255 - 1 in [-1, 1]. Its probability is the mass of the
interval of width 2 / 255 around it; the intervals of 0 and 255 have no outer bound.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# A scale below a fourteenth of the step between two values already puts all mass on one of them.
MIN_LOG_SCALE = -7.0
# Half the step between two values.
HALF_STEP = 1 / 255


def parameter_count(channels: int, mixtures: int) -> int:
    """Return the number of parameters of the distribution of a pixel.

    Per mixture: the logarithm of its weight, a mean and the logarithm of a scale for each channel,
    and a coefficient for each pair of channels.
    """
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


class PixelMixture:
    """Distributions of pixels, channel by channel, each given the values of those before it.

    All channels share the weights of the mixture, and the mean of a channel depends linearly on
    the values of the channels before it (in the order red, green, blue).

    Args:
        parameters: (..., P), P the `parameter_count`.
        channels: C, 1 or 3.
    """

    def __init__(self, parameters: Tensor, channels: int) -> None:
        # (..., parameter, M)
        parts = parameters.unflatten(-1, (parameter_count(channels, 1), -1))
        # Given the known channels; normalised only where they are summed over mixtures.
        self._log_weights = F.log_softmax(parts[..., 0, :], -1)
        self._means = parts[..., 1 : 1 + channels, :]
        self._log_scales = parts[..., 1 + channels : 1 + 2 * channels, :].clamp(min=MIN_LOG_SCALE)
        self._coefficients = parts[..., 1 + 2 * channels :, :].tanh()
        self._known: list[Tensor] = []

    def log_probabilities(self, values: Tensor) -> Tensor:
        """Return the log-probabilities of values of the next channel, given the known channels.

        Args:
            values: (..., V), from 0 to 255, V candidates per pixel.

        Returns:
            (..., V) natural logarithms.
        """
        joint = self._log_weights.unsqueeze(-2) + self._log_bins(values)
        return joint.logsumexp(-1) - self._log_weights.logsumexp(-1, keepdim=True)

    def know(self, values: Tensor) -> None:
        """Take the values of the next channel as known: (...,), from 0 to 255."""
        self._log_weights = self._log_weights + self._log_bins(values.unsqueeze(-1)).squeeze(-2)
        self._known.append(2 * values / 255 - 1)

    def _log_bins(self, values: Tensor) -> Tensor:
        """Return the log-mass of values (..., V) of the next channel per mixture, (..., V, M)."""
        channel = len(self._known)
        mean = self._means[..., channel, :]
        first = channel * (channel - 1) // 2
        for index, known in enumerate(self._known):
            mean = mean + self._coefficients[..., first + index, :] * known.unsqueeze(-1)
        sharpness = torch.exp(-self._log_scales[..., channel, :]).unsqueeze(-2)
        distance = (2 * values / 255 - 1).unsqueeze(-1) - mean.unsqueeze(-2)
        # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for the sigmoid s, without cancellation.
        below_upper = F.logsigmoid(sharpness * (distance + HALF_STEP))
        above_lower = F.logsigmoid(-sharpness * (distance - HALF_STEP))
        inside = torch.log(-torch.expm1(-2 * HALF_STEP * sharpness))
        values = values.unsqueeze(-1)
        upper_or_inner = torch.where(
            values > 254.5, above_lower, below_upper + above_lower + inside
        )
        return torch.where(values < 0.5, below_upper, upper_or_inner)


def log_likelihood(parameters: Tensor, values: Tensor) -> Tensor:
    """Return the logarithms of the probabilities of pixels.

    Args:
        parameters: (..., P), P the `parameter_count`.
        values: (..., C), from 0 to 255.

    Returns:
        (...,) natural logarithms.
    """
    mixture = PixelMixture(parameters, values.shape[-1])
    total = torch.zeros_like(values[..., 0])
    for channel in values.unbind(-1):
        total = total + mixture.log_probabilities(channel.unsqueeze(-1)).squeeze(-1)
        mixture.know(channel)
    return total
