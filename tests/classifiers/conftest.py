import sys

import pytest
import torch

OWN = """
import torch
from torch import nn
def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
constant = 3
instance = net()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module in the current directory, and the state of its network."""
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    generator = torch.Generator().manual_seed(0)
    return {
        "1.weight": torch.randn(4, 12, generator=generator),
        "1.bias": torch.randn(4, generator=generator),
    }


@pytest.fixture
def images():
    return torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))
