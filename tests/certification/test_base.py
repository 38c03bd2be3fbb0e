import pytest
import torch
from torch import nn

from comdefend.certification.base import BaseClassifier, check_repeats
from comdefend.common.processor import filter_bits, native_bf16
from comdefend.defenses import DefendedClassifier, load_defense
from comdefend.errors import InputError


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_every_engine_computes_the_pipeline(fashion, engine):
    pytest.importorskip(engine)
    purifier = load_defense("gray-2bpp-robust")
    base = BaseClassifier(purifier, fashion.classifier, engine, "float32")
    assert (base.engine, base.precision) == (engine, "float32")
    images = fashion.images[:24]
    with torch.no_grad():
        answers = DefendedClassifier(purifier, fashion.classifier)(images).argmax(1)
    # Rounding turns bits over whose logits are near 0.
    assert (base(images) == answers).sum() >= 23


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_computes_the_classifier_too(fashion, engine):
    pytest.importorskip(engine)
    purifier, images = load_defense("gray-2bpp-robust"), fashion.images[:50]
    alone = BaseClassifier(purifier, fashion.classifier, engine)
    whole = BaseClassifier(purifier, fashion.classifier, engine, images=images[:3])
    assert (alone.classifier_engine, whole.classifier_engine) == ("torch", engine)
    # Batches of every size, one larger than what it computes at once.
    for count in (1, 7, 50):
        assert whole(images[:count]).equal(alone(images[:count]))
    many = images.repeat(20, 1, 1, 1)
    assert len(many) > whole.images_at_once(images)
    assert whole(many).equal(alone(many))


def test_a_classifier_that_no_engine_can_compute_stays_in_torch(fashion):
    class Branching(nn.Module):
        def forward(self, images):
            logits = fashion.classifier(images)
            return logits if images.mean() > 0 else -logits

    purifier, images = load_defense("gray-2bpp-robust"), fashion.images[:4]
    base = BaseClassifier(purifier, Branching().eval(), "openvino", images=images)
    assert base.classifier_engine == "torch"
    assert base(images).equal(BaseClassifier(purifier, fashion.classifier, "openvino")(images))


@pytest.mark.parametrize(
    ("precision", "native"),
    [("bfloat16", lambda: native_bf16("cpu")), ("int8", lambda: filter_bits() is not None)],
)
def test_lower_precisions_are_other_base_classifiers(fashion, precision, native):
    purifier = load_defense("gray-2bpp-robust")
    if not native():
        with pytest.raises(InputError, match="this processor lacks it"):
            BaseClassifier(purifier, fashion.classifier, "openvino", precision)
        return
    base = BaseClassifier(purifier, fashion.classifier, "openvino", precision)
    assert base.precision == precision
    whole = BaseClassifier(purifier, fashion.classifier, "torch")
    assert (base(fashion.images[:24]) == whole(fashion.images[:24])).sum() >= 20


def test_what_follows_the_noise_is_clamped(fashion):
    base = BaseClassifier(None, fashion.classifier)
    wild = 3 * (fashion.images[:8] - 0.5)
    with torch.no_grad():
        logits = fashion.classifier(wild.clamp(0, 1))
    assert base(wild).equal(logits.argmax(1))
    assert base.pipeline(wild).equal(logits)


@pytest.mark.parametrize("defense", ["noise:0.05", "resize-pad", "dither:5:gray-4bpp"])
def test_what_draws_at_random_is_refused(fashion, defense):
    with pytest.raises(InputError, match="the defence draws at random; a certificate needs"):
        BaseClassifier(load_defense(defense), fashion.classifier)
    with pytest.raises(InputError, match="the classifier draws at random"):
        BaseClassifier(None, nn.Sequential(load_defense(defense), fashion.classifier).eval())


def test_so_is_what_draws_without_saying_so(fashion):
    class Secretive(nn.Module):
        def forward(self, images):
            return fashion.classifier((images + 0.1 * torch.rand_like(images)).clamp(0, 1))

    check_repeats(BaseClassifier(None, fashion.classifier), fashion.images[:2])
    with pytest.raises(InputError, match="draw at random"):
        check_repeats(BaseClassifier(None, Secretive().eval()), fashion.images[:2])


@pytest.mark.parametrize(("engine", "precision"), [("openvino", "float32"), ("auto", "bfloat16")])
def test_only_a_comdefend_has_a_choice_of_engines(fashion, engine, precision):
    with pytest.raises(InputError, match="only a ComDefend has a choice"):
        BaseClassifier(load_defense("jpeg:50"), fashion.classifier, engine, precision)
