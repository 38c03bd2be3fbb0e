import torch
from scipy.stats import kstest

from comdefend.certification.noise import draws, stream_key


def test_a_draw_depends_on_seed_purpose_image_and_number_alone():
    images = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    keys = [
        stream_key(seed, purpose, image)
        for seed in (0, 1)
        for purpose in ("certify", "predict")
        for image in images
    ]
    assert len(set(keys)) == 8
    which = [(key, number) for key in keys for number in (0, 1, 2**40)]
    together = draws(which, (1, 3, 4))
    assert all(not a.equal(b) for i, a in enumerate(together) for b in together[:i])
    torch.manual_seed(7)
    # Alone, and in another order.
    assert draws(which[10:11], (1, 3, 4))[0].equal(together[10])
    assert draws(which[::-1], (1, 3, 4)).equal(together.flip(0))
    assert draws([], (1, 3, 4)).shape == (0, 1, 3, 4)


def test_the_noise_is_normal():
    key = stream_key(0, "certify", torch.full((1, 20, 20), 0.9))
    values = draws([(key, number) for number in range(200)], (1, 20, 20))
    assert values.dtype == torch.float32
    assert kstest(values.flatten().numpy(), "norm").pvalue > 0.001
    # Draws have nothing to do with each other.
    rows = values.flatten(1)
    assert (rows[1:] * rows[:-1]).mean().abs() < 0.02
