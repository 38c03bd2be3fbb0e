import dataclasses

import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import load_file

import comdefend
from comdefend.data.image_set import ImageSet
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError, WeightsError
from comdefend.nn.batches import apply
from comdefend.nn.metrics import peak_signal_noise_ratio, pooled_psnr, round_to_8_bits
from comdefend.training.batches import step_generator
from comdefend.training.fit import _is_whole, fit
from comdefend.training.recipe import build_recipe
from comdefend.training.run import model_card, prepare, train
from comdefend.zoo import load_purifying, save_weights

KINDS = ["purifier", "classifier", "denoiser", "pixelcnn", "defense"]


def assert_same_weights(folder, other):
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == sorted(path.name for path in other.glob("*.safetensors")) != []
    for name in files:
        one, two = load_file(folder / name), load_file(other / name)
        for key, tensor in one.items():
            assert tensor.equal(two[key]), (name, key)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_as_an_uninterrupted_one(kind, recipes, trained, tmp_path):
    recipe, folder = recipes[kind], tmp_path / "run"
    first_epoch = dataclasses.replace(prepare(recipe, folder), epochs=1)
    fit(first_epoch, folder, "float32")
    assert train(recipe, folder, "float32") == folder / recipe.weights_file
    assert_same_weights(folder, trained(kind).parent)
    # The log of the first part is still there.
    assert len(list((folder / "logs" / "csv").glob("version_*/metrics.csv"))) == 2


@pytest.mark.parametrize("kind", ["classifier", "defense"])
def test_classifiers_are_measured_as_they_are_stored(kind, recipes, tmp_path):
    (classifier,) = (
        network
        for network in prepare(recipes[kind], tmp_path).finish().networks
        if network.kind == "classifier"
    )
    assert all(
        tensor.equal(tensor.half().to(tensor.dtype)) for tensor in classifier.state_dict().values()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_record_and_card_say_what_was_trained(kind, recipes, trained):
    path = trained(kind)
    record = comdefend.load_record(path)
    assert build_recipe(record["recipe"], "record") == recipes[kind]
    assert record["measured_on"] == "test"
    assert record["run"]["training_images"] == 80
    assert record["run"]["precision"] == "32-true"
    assert path.with_suffix(".md").read_text() == model_card(record)
    assert list((path.parent / "logs" / "tensorboard").glob("events.*"))
    assert list((path.parent / "logs" / "csv").glob("version_0/metrics.csv"))


def test_a_purifier_of_noisy_images_is_measured_on_them(recipes, test_images, tmp_path):
    recipe = replace(recipes["purifier"], image_noise=(0.25,))
    path = train(recipe, tmp_path / "run", "float32")
    record, purifier = comdefend.load_record(path), comdefend.load(path)
    clean = test_images.images.float() / 255
    torch.manual_seed(0)
    noisy = (clean + 0.25 * torch.randn_like(clean)).clamp(0, 1)
    psnr = peak_signal_noise_ratio(round_to_8_bits(apply(purifier, noisy)), clean).item()
    # Other noise of the same size.
    assert record["psnr_under_noise"]["0.25"] == pytest.approx(psnr, abs=0.5)
    assert "| PSNR under noise 0.25 |" in model_card(record)
    (log,) = (path.parent / "logs" / "csv").glob("version_*/metrics.csv")
    assert "validation_psnr_noise_0.25" in log.read_text().partition("\n")[0]


def accuracy(model, test_images):
    answers = apply(model, test_images.images.float() / 255).argmax(1)
    return pytest.approx((answers == test_images.labels).float().mean().item())


def test_a_purifiers_figures_are_those_of_its_weights(trained, test_images):
    path = trained("purifier")
    record, clean = comdefend.load_record(path), test_images.images.float() / 255
    purified = round_to_8_bits(apply(comdefend.load(path), clean))
    psnr = peak_signal_noise_ratio(purified, clean).item()
    assert record["fidelity"]["images"] == 40
    assert record["fidelity"]["psnr"] == pytest.approx(psnr, abs=0.01)
    pooled = record["fidelity"]["pooled_psnr"]
    assert pooled == pytest.approx(pooled_psnr(purified, clean), abs=0.01)
    assert sum(record["fidelity"]["z_shares"]) == pytest.approx(1)
    assert f"{record['fidelity']['psnr']:.2f} dB" in path.with_suffix(".md").read_text()
    panels = sorted((path.parent / "panels").glob("*.png"))
    assert [panel.name for panel in panels] == ["epoch-0001.png", "epoch-0002.png"]
    with Image.open(panels[0]) as panel:
        assert panel.width > panel.height


def test_a_classifiers_figures_are_those_of_its_weights(trained, images, test_images):
    path = trained("classifier")
    classifier, record = comdefend.load_classifier(path), comdefend.load_record(path)
    assert record["accuracy"] == accuracy(classifier, test_images)
    assert f"{record['accuracy']:.2%}" in path.with_suffix(".md").read_text()
    mean = images.images.float().mean().item() / 255
    assert classifier.config.mean[0] == pytest.approx(mean, abs=0.05)
    assert load_file(path)["head.weight"].dtype == torch.float16


def test_a_denoisers_figures_are_those_of_its_weights(trained, guide, test_images):
    path = trained("denoiser")
    denoiser, record = load_purifying(path), comdefend.load_record(path)
    clean = test_images.images.float() / 255
    psnr = peak_signal_noise_ratio(round_to_8_bits(apply(denoiser, clean)), clean).item()
    assert record["psnr"] == pytest.approx(psnr, abs=0.01)
    defended = DefendedClassifier(denoiser, comdefend.load_classifier(guide))
    assert record["accuracy"] == accuracy(defended.eval(), test_images)
    assert record["guide"] == comdefend.load_record(guide)


def test_a_generative_models_figures_are_those_of_its_weights(trained, test_images):
    path = trained("pixelcnn")
    model, record = load_purifying(path), comdefend.load_record(path)
    with torch.no_grad():
        bits = model.bits_per_dimension(test_images.images.float() / 255).mean().item()
    assert record["bits"] == pytest.approx(bits, rel=1e-4)
    assert f"{bits:.3f}" in path.with_suffix(".md").read_text()


def test_a_pairs_figures_are_those_of_its_weights(trained, test_images):
    path = trained("defense")
    record = comdefend.load_record(path)
    purifier = comdefend.load(path.with_stem("purifier"))
    pair = DefendedClassifier(purifier, comdefend.load_classifier(path)).eval()
    assert record["accuracy"] == accuracy(pair, test_images)
    assert comdefend.load_record(path.with_stem("purifier")) == record
    assert 0 <= record["held_out_robust_accuracy"] <= 1
    assert record["start"] == {}
    assert "a new purifier, a new classifier" in path.with_suffix(".md").read_text()


def test_what_is_not_trained_stays_as_it_is(recipes, trained, guide, tmp_path):
    purifier = trained("purifier")
    pair = replace(recipes["defense"], network=None, purifier=str(purifier), classifier=guide)
    pair = replace(pair, epochs=1)

    classifier_only = train(replace(pair, trained="classifier"), tmp_path / "a", "float32")
    kept = load_file(classifier_only.with_stem("purifier"))
    assert all(tensor.equal(kept[name]) for name, tensor in load_file(purifier).items())
    moved, start = load_file(classifier_only), load_file(guide)
    assert not moved["head.weight"].float().equal(start["head.weight"])

    purifier_only = train(replace(pair, trained="purifier"), tmp_path / "b", "float32")
    assert [p.name for p in purifier_only.parent.glob("*.safetensors")] == ["purifier.safetensors"]
    record = comdefend.load_record(purifier_only)
    assert record["start"]["classifier"] == comdefend.load_record(guide)
    assert "which stays as it is" in purifier_only.with_suffix(".md").read_text()


def test_a_purifier_in_front_of_a_users_classifier(recipes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear_head.py").write_text(
        "import torch\n\ndef network():\n"
        "    torch.manual_seed(0)\n"
        "    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 10))\n"
        "    return head.eval()\n"
    )
    recipe = replace(
        recipes["defense"], classifier="linear_head:network", trained="purifier", epochs=1
    )
    path = train(recipe, tmp_path / "run", "float32")
    assert path.name == "purifier.safetensors"
    assert comdefend.load_record(path)["start"] == {}
    assert "`linear_head:network`" in path.with_suffix(".md").read_text()


def test_the_first_epochs_of_a_new_purifier_leave_the_classifier_alone(recipes, guide, tmp_path):
    recipe = replace(recipes["defense"], classifier=guide, clean_epochs=1)
    first_epoch = dataclasses.replace(prepare(recipe, tmp_path), epochs=1)
    fit(first_epoch, tmp_path, "float32")
    start = comdefend.load_classifier(guide).state_dict()
    network = first_epoch.module.network
    assert all(t.equal(start[n]) for n, t in network.classifier.state_dict().items())


def test_training_on_purified_images(recipes, trained, test_images, tmp_path):
    purifier = trained("purifier")
    recipe = replace(recipes["classifier"], purifier=str(purifier), epochs=1)
    path = train(recipe, tmp_path / "run", "float32")
    pixels = apply(comdefend.load(purifier), test_images.images.float() / 255) * 255
    purified = ImageSet(pixels.round().byte(), test_images.labels)
    record = comdefend.load_record(path)
    assert record["purified_accuracy"] == accuracy(comdefend.load_classifier(path), purified)
    assert "accuracy on purified images" in path.with_suffix(".md").read_text()
    # The purified images of training and test were kept.
    assert len(list((tmp_path / "run" / "purified").glob("*.safetensors"))) == 2


def test_a_classifier_of_noisy_images_is_measured_on_them(recipes, trained, test_images, tmp_path):
    purifier = trained("purifier")
    recipe = replace(recipes["classifier"], purifier=str(purifier), epochs=1, image_noise=(0.1,))
    path = train(recipe, tmp_path / "run", "float32")
    record, classifier = comdefend.load_record(path), comdefend.load_classifier(path)
    clean = test_images.images.float() / 255
    generator = step_generator(0, "measured noise 0.1", 0)
    torch.randint(1, (len(clean),), generator=generator)
    noisy = (clean + 0.1 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    answers = apply(classifier, apply(comdefend.load(purifier), noisy)).argmax(1)
    right = (answers == test_images.labels).float().mean().item()
    assert record["accuracy_under_noise"]["0.1"] == pytest.approx(right)
    assert f"| accuracy under noise 0.1 | {right:.2%} |" in path.with_suffix(".md").read_text()
    # Every epoch draws new noise, so nothing is purified ahead of the training images.
    assert len(list((tmp_path / "run" / "purified").glob("*.safetensors"))) == 1


def test_training_goes_on_from_given_weights(recipes, trained, tmp_path):
    still = {"learning_rate": 1e-9, "bias_rate": 1e-9}
    recipe = replace(recipes["purifier"], start=str(trained("purifier")), steps=5, **still)
    path = train(recipe, tmp_path / "purifier", "float32")
    expected = load_file(trained("purifier"))
    for name, tensor in load_file(path).items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4)
    start = comdefend.load_record(path)["start"]
    assert start == comdefend.load_record(trained("purifier"))
    assert "10 steps on" in path.with_suffix(".md").read_text()

    recipe = replace(recipes["classifier"], start=str(trained("classifier")), epochs=1, **still)
    path = train(recipe, tmp_path / "classifier", "float32")
    expected = load_file(trained("classifier"))["head.weight"].float()
    moved = load_file(path)["head.weight"].float()
    torch.testing.assert_close(moved, expected, atol=1e-3, rtol=1e-3)


def test_training_on_a_folder_of_photographs(recipes, photo_folder, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("chelsea.png", "coffee.png", "camera.png"):
        (folder / name).symlink_to(photo_folder / name)
    Image.new("RGB", (5, 9), "red").save(folder / "smaller-than-a-crop.png")
    recipe = replace(recipes["purifier"], data=f"folder:{folder}", steps=5, validation=2)
    record = comdefend.load_record(train(recipe, tmp_path / "run", "float32"))
    assert record["measured_on"] == "held out of training"
    assert record["run"]["training_sha256"] is None


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("purifier", {"validation": 96}, "96 images are too few, 96 are held out"),
        ("purifier", {"teacher": "rgb-12bpp"}, "rgb-12bpp has channels 3, .* has 1"),
        ("purifier", {"start": "gray-4bpp"}, "gray-4bpp has other layers"),
        ("classifier", {"validation": 95}, "too few"),
        ("classifier", {"purifier": "nothere"}, "unknown weights 'nothere'"),
        ("classifier", {"purifier": "rgb-12bpp"}, "takes 3 channels, the classifier 1"),
        ("classifier", {"start": "fashion-mnist-small"}, "fashion-mnist-small has other layers"),
        ("denoiser", {"classifier": "cifar10-small"}, "takes 3 channels, the recipe's network 1"),
        ("denoiser", {"validation": 96}, "too few"),
        ("pixelcnn", {"validation": 96}, "too few"),
        ("defense", {"classifier": "cifar10-small"}, "purifier takes 1 channels, the classifier 3"),
        ("defense", {"network": None, "purifier": "magic"}, "unknown weights 'magic'"),
        ("defense", {"validation": 95}, "too few"),
    ],
)
def test_what_cannot_start_leaves_no_folder(recipes, tmp_path, kind, change, message):
    with pytest.raises(InputError, match=message):
        train(replace(recipes[kind], **change), tmp_path / "run", "float32")
    assert not (tmp_path / "run").exists()


def test_a_start_with_other_classes_is_refused(recipes, trained, tmp_path):
    classifier = comdefend.load_classifier(trained("classifier"))
    classifier.config = replace(classifier.config, classes=3)
    classifier.head = torch.nn.Linear(classifier.head.in_features, 3, bias=False)
    save_weights(tmp_path / "three.safetensors", classifier, {})
    start = str(tmp_path / "three.safetensors")
    for kind, field in (("classifier", "start"), ("denoiser", "classifier")):
        with pytest.raises(InputError, match=r"has 3 classes, .* has 10"):
            train(replace(recipes[kind], **{field: start}), tmp_path / "run")


def test_folders_with_some_of_a_classifiers_classes_are_refused(recipes, guide, tmp_path):
    for name in ("ant", "bee"):
        path = tmp_path / "images" / "train" / name / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (16, 16)).save(path)
    recipe = replace(recipes["defense"], data=f"folder:{tmp_path / 'images'}", classifier=guide)
    with pytest.raises(InputError, match=r"has 2 classes .* nothing says which is which"):
        prepare(recipe, tmp_path)


def test_bad_use(recipes, trained, tmp_path):
    recipe = recipes["purifier"]
    with pytest.raises(InputError, match="must be a multiple of devices"):
        train(recipe, tmp_path / "run", devices=3)
    with pytest.raises(InputError, match="a classifier is trained by one process, not 2"):
        train(recipes["classifier"], tmp_path / "run", devices=2)
    with pytest.raises(InputError, match="precision must be one of auto, float32, bfloat16"):
        train(recipe, tmp_path / "run", precision="32")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02nonsense"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path, content):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"last\.ckpt: damaged .*; delete it to begin again"):
        _is_whole(tmp_path / "last.ckpt")
    assert not _is_whole(tmp_path / "none.ckpt")
