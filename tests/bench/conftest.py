import pytest
import torch

from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import save_weights

TINY = PurifierConfig(encoder_widths=(8,), decoder_widths=(8,), code_maps=6, downscale=2)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A file of small random weights."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    save_weights(path, ComDefend(TINY), {})
    return str(path)
