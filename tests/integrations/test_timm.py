import timm
import torch
from torch import nn

import comdefend
from comdefend.classifiers import known_preprocessing
from comdefend.integrations.timm import defended, image_transform

NAME = "resnet10t.c3_in1k"


def test_a_model_is_normalised_and_its_images_are_prepared_as_timm_says(chelsea):
    torch.manual_seed(0)
    model = timm.create_model(NAME, pretrained=False).eval()
    shield = defended(model, nn.Identity().eval())
    assert isinstance(shield, comdefend.DefendedClassifier)
    assert not shield.training
    known = timm.data.resolve_model_data_config(model)
    images = image_transform(model)(chelsea).unsqueeze(0)
    assert images.shape[1:] == known["input_size"]
    assert 0 <= images.min() < 0.2 < 0.6 < images.max() <= 1
    theirs = timm.data.create_transform(**known)(chelsea).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(shield(images), model(theirs), rtol=1e-3, atol=1e-3)
    assert list(shield.classifier.mean.flatten()) == list(torch.tensor(known["mean"]))


def test_it_agrees_with_what_a_name_says():
    model = timm.create_model(NAME, pretrained=False)
    known = known_preprocessing(f"timm:{NAME}")
    shield = defended(model.eval(), "jpeg:50")
    assert shield.classifier.mean.flatten().tolist() == list(torch.tensor(known.mean))
    assert "JPEG" in repr(shield.purifier)
