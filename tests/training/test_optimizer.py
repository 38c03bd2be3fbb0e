import math

import pytest
import torch

from comdefend.training.optimizer import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (9, 9)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    # A random square matrix may have singular values too small for five steps.
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    matrix = u @ torch.diag(values.clamp(min=0.2 * values.max())) @ v
    near = orthogonalize(matrix)
    values = torch.linalg.svdvals(near)
    assert values.min() > 0.6
    assert values.max() < 1.3
    # In the same directions.
    assert (torch.diag(u.T @ near @ v.T) > 0.6).all()


def test_a_step_is_the_written_formula():
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(8, 2, 3, 1, generator=generator))
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    expected, average = weight.detach().clone(), torch.zeros(8, 6)
    for _ in range(3):
        gradient = torch.randn(weight.shape, generator=generator)
        weight.grad = gradient.clone()
        optimizer.step()
        average = 0.9 * average + 0.1 * gradient.flatten(1)
        nesterov = 0.9 * average + 0.1 * gradient.flatten(1)
        update = orthogonalize(nesterov) * math.sqrt(8 / 6)
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * update.view_as(weight)
        torch.testing.assert_close(weight.detach(), expected, atol=1e-5, rtol=1e-4)
