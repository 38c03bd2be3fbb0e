"""Purifiers in ART, and ART's attacks and defences beside ours: on real weights and images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from art.attacks.evasion import (
    AutoAttack,
    AutoProjectedGradientDescent,
    HopSkipJump,
    ProjectedGradientDescent,
)
from art.defences.preprocessor import (
    FeatureSqueezing,
    JpegCompression,
)
from art.estimators.classification import PyTorchClassifier

import comdefend
from comdefend.data.shipped import fashion_images, image_crops
from comdefend.errors import InputError, InputTypeError
from comdefend.integrations.art import ArtDefense, ArtPurifier, art_attack


class Scene:
    """A purifier and a classifier, in ART and as a `DefendedClassifier`, with a few images."""

    def __init__(self, purifier, classifier, pixels, labels=None):
        self.images = pixels.float() / 255
        self.purifier = comdefend.load(purifier)
        self.classifier = comdefend.load_classifier(classifier)
        self.defended = comdefend.DefendedClassifier(self.purifier, self.classifier)
        with torch.no_grad():
            self.labels = self.defended(self.images).argmax(1) if labels is None else labels
        self.art = self.estimator(ArtPurifier(self.purifier))

    def estimator(self, *defences):
        return PyTorchClassifier(
            model=self.classifier, loss=torch.nn.CrossEntropyLoss(),
            input_shape=tuple(self.images.shape[1:]), nb_classes=10, clip_values=(0, 1),
            preprocessing_defences=list(defences), device_type="cpu",
        )  # fmt: skip

    @property
    def arrays(self):
        return self.images.numpy(), np.eye(10, dtype=np.float32)[self.labels]

    def gradient(self, model):
        images = self.images.clone().requires_grad_()
        F.cross_entropy(model(images), self.labels).backward()
        return images.grad.numpy()


@pytest.fixture(scope="module", params=["grey", "rgb"])
def scene(request):
    if request.param == "grey":
        pixels, _ = fashion_images()
        return Scene("gray-2bpp-adversarial", "fashion-mnist-small", pixels[:4])
    return Scene("rgb-12bpp-lite", "cifar10-small", image_crops(3, 4, 32, 32))


def test_arts_predictions_and_gradients_are_those_of_the_defended_classifier(scene):
    images, labels = scene.arrays
    with torch.no_grad():
        expected = scene.defended(scene.images).numpy()
    np.testing.assert_allclose(scene.art.predict(images), expected, atol=1e-4)
    gradient = scene.art.loss_gradient(images, labels)
    expected = scene.gradient(scene.defended)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_arts_attacks_go_through_the_purifier(scene):
    images, labels = scene.arrays
    steps = {"eps": 8 / 255, "eps_step": 2 / 255, "batch_size": len(images)}
    apgd = AutoProjectedGradientDescent(
        scene.art, **steps, max_iter=3, nb_random_init=1, verbose=False,
        loss_type="difference_logits_ratio",
    )  # fmt: skip
    attacks = {
        "pgd": ProjectedGradientDescent(scene.art, **steps, max_iter=3, verbose=False),
        "autoattack": AutoAttack(scene.art, **steps, attacks=[apgd]),
        "hopskipjump": HopSkipJump(
            scene.art, norm=np.inf, max_iter=1, max_eval=20, init_eval=5, init_size=20,
            batch_size=len(images), verbose=False,
        ),
    }  # fmt: skip
    for name, attack in attacks.items():
        attacked = attack.generate(images, labels)
        assert attacked.shape == images.shape, name
        # AutoAttack returns the images that it does not break.
        assert name == "autoattack" or not np.array_equal(attacked, images), name
        with torch.no_grad():
            ours = scene.defended(torch.from_numpy(attacked).clamp(0, 1))
            loss = F.cross_entropy(ours, scene.labels)
            assert loss >= F.cross_entropy(scene.defended(scene.images), scene.labels), name
        if name != "hopskipjump":
            assert np.abs(attacked - images).max() <= 8 / 255 + 1e-5, name


def test_it_keeps_what_art_asks_of_a_preprocessor(scene):
    """The properties that ART's own tests of its preprocessors check."""
    preprocessor = ArtPurifier(scene.purifier, apply_fit=True, apply_predict=False)
    assert (preprocessor.apply_fit, preprocessor.apply_predict) == (True, False)
    preprocessor = ArtPurifier(scene.purifier)
    assert (preprocessor.apply_fit, preprocessor.apply_predict) == (False, True)
    assert preprocessor.is_fitted
    images, labels = scene.arrays
    preprocessor.fit(images, labels)
    purified, same = preprocessor(images, labels)
    assert (purified.dtype, purified.shape) == (images.dtype, images.shape)
    assert np.array_equal(same, labels)
    assert preprocessor(images)[1] is None
    with torch.no_grad():
        np.testing.assert_allclose(purified, scene.purifier(scene.images).numpy(), atol=1e-5)
    upstream = np.ones_like(images)
    gradient = preprocessor.estimate_gradient(images, upstream)
    assert gradient.shape == images.shape
    assert np.abs(gradient).max() > 0


class Centred(torch.nn.Module):
    """A classifier of images in [-1, 1]."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images):
        return self.classifier(images / 2 + 0.5)


def test_arts_own_normalisation_comes_after_it(scene):
    images, labels = scene.arrays
    chained = PyTorchClassifier(
        model=Centred(scene.classifier), loss=torch.nn.CrossEntropyLoss(),
        input_shape=images.shape[1:], nb_classes=10, clip_values=(0, 1), device_type="cpu",
        preprocessing_defences=ArtPurifier(scene.purifier), preprocessing=(0.5, 0.5),
    )  # fmt: skip
    np.testing.assert_allclose(chained.predict(images), scene.art.predict(images), atol=1e-3)
    gradient = chained.loss_gradient(images, labels)
    np.testing.assert_allclose(
        gradient, scene.art.loss_gradient(images, labels), atol=1e-3 * np.abs(gradient).max()
    )


def test_arts_defences_and_attacks_are_evaluated_beside_ours(fashion):
    jpeg = ArtDefense(JpegCompression(clip_values=(0, 1), quality=50, channels_first=True))
    squeezing = ArtDefense(FeatureSqueezing(clip_values=(0, 1), bit_depth=3))
    walk = art_attack(
        "ART HopSkipJump",
        lambda estimator, eps: HopSkipJump(
            estimator, norm=np.inf, max_iter=1, max_eval=20, init_eval=5, verbose=False
        ),
    )
    evaluation = comdefend.evaluate(
        fashion.classifier, fashion.images[:4], fashion.labels[:4],
        defenses={"none": None, "art-jpeg": jpeg, "art-squeezing": squeezing, "jpeg:50": None,
                  "bits:3": None},
        attacks=["art-bim:2", walk], eps=8, adaptive_steps=2,
    )  # fmt: skip
    assert evaluation.record.defense_names == [
        "none", "art-jpeg", "art-squeezing", "jpeg:50", "bits:3",
    ]  # fmt: skip
    assert {row.attack for row in evaluation.rows(defense="none")} == {
        None, "art-bim", "ART HopSkipJump", "pgd",
    }  # fmt: skip
    # The same coding by two libraries: grey JPEG of the same quality, rounding to 8 values.
    images = fashion.images[:4]
    torch.testing.assert_close(
        squeezing(images), comdefend.defenses.BitDepth(3)(images), atol=1e-5, rtol=0
    )
    ours = comdefend.defenses.JPEG(50)(images)
    assert (jpeg(images) - ours).abs().mean() < 0.01


def test_gradients_pass_arts_defences_as_the_identity(fashion):
    squeezing = ArtDefense(FeatureSqueezing(clip_values=(0, 1), bit_depth=2))
    images = fashion.images[:1].clone().requires_grad_()
    squeezing(images).sum().backward()
    assert images.grad.eq(1).all()
    assert "FeatureSqueezing" in repr(squeezing)


def test_an_attack_of_art_counts_only_within_eps(fashion):
    class Far:
        def __init__(self, estimator):
            self.estimator = estimator

        def generate(self, x, y):
            x = x.copy()
            x[0] = 1 - x[0]
            return x

    images, labels = fashion.images[:2], fashion.labels[:2]
    attack = art_attack("far", lambda estimator, eps: Far(estimator))
    from comdefend.attacks import run_attack

    attacked = run_attack(fashion.classifier, images, labels, attack, 8, rounded=False)
    assert attacked.equal(images)


def test_a_purifier_must_be_ready_for_use():
    with pytest.raises(InputError, match="training mode"):
        ArtPurifier(comdefend.load("gray-2bpp-adversarial").train())
    with pytest.raises(InputTypeError, match=r"purifier must be an nn\.Module or a name, not int"):
        ArtPurifier(3)
    with pytest.raises(InputError, match="unknown defence 'nothing'"):
        ArtPurifier("nothing")
