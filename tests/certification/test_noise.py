import torch
from scipy.stats import kstest

from comdefend.certification.noise import draw, noisy, stream_key


def test_a_draw_depends_on_seed_purpose_image_and_number_alone():
    images = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    keys = [
        stream_key(seed, purpose, image)
        for seed in (0, 1)
        for purpose in ("certify", "predict")
        for image in images
    ]
    assert len(set(keys)) == 8
    draws = [draw(key, number, (1, 3, 4)) for key in keys for number in (0, 1, 2**40)]
    assert all(not a.equal(b) for i, a in enumerate(draws) for b in draws[:i])
    torch.manual_seed(7)
    assert draw(keys[3], 1, (1, 3, 4)).equal(draws[10])
    together = noisy(images[0], 0.5, keys[0], (1, 2))
    assert together[1].equal(noisy(images[0], 0.5, keys[0], (2,))[0])


def test_the_noise_is_normal_and_not_clamped():
    image = torch.full((1, 20, 20), 0.9)
    values = (noisy(image, 0.25, stream_key(0, "certify", image), range(200)) - 0.9) / 0.25
    assert values.dtype == torch.float32
    assert kstest(values.flatten().numpy(), "norm").pvalue > 0.001
    # Draws have nothing to do with each other.
    rows = values.flatten(1)
    assert (rows[1:] * rows[:-1]).mean().abs() < 0.02
