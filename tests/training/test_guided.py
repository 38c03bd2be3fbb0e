"""Training a purifier by a classifier's answers."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from msgspec.structs import replace
from safetensors.torch import load_file

import comdefend
from comdefend.attacks import with_stand_in
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError
from comdefend.nn.batches import apply
from comdefend.nn.config import PurifierConfig
from comdefend.training.batches import step_generator
from comdefend.training.fit import fit
from comdefend.training.guided import GuidedTraining
from comdefend.training.initial import new_purifier
from comdefend.training.measure import measure_fidelity
from comdefend.training.objective import divergences, training_attack
from comdefend.training.recipe import GuidedRecipe, build_recipe, load_recipe, recipe_to_dict
from comdefend.training.run import model_card, prepare, train
from comdefend.zoo import save_weights

NETWORK = PurifierConfig(1, (8,), (8,), code_maps=4, phi=1.0, rates=(1, 2))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "purifier.safetensors"
    save_weights(path, new_purifier(NETWORK, 0), {"recipe": {"data": "none"}})
    return str(path)


@pytest.fixture(scope="module")
def recipe(data, guide, start):
    return GuidedRecipe(
        data=data, classifiers=(guide,), start=start, rates=(2,), steps=6, epoch_steps=3, batch=4,
        crop=16, validation=16,
    )  # fmt: skip


def module(recipe):
    guides = [comdefend.load_classifier(name) for name in recipe.classifiers]
    return GuidedTraining(recipe, comdefend.load(recipe.start), guides)


@pytest.mark.parametrize("attack", ["classifier", "pipeline", "none"])
def test_the_gradient_is_that_of_the_formula(attack, recipe, images):
    trained = module(replace(recipe, attack=attack, rates=(1, 2), clean_share=0.25, rebuilding=3.0))
    purifier, (guide,), pixels = trained.network, trained.guides, images.images[:4]
    loss, figures = trained.loss(pixels)
    found = torch.autograd.grad(loss, list(purifier.parameters()))

    clean = (pixels / 255).contiguous(memory_format=torch.channels_last)
    generator = step_generator(0, "attacks", 0)
    maps = (1, 2, 4)[int(torch.randint(3, (), generator=generator))]
    with torch.no_grad():
        wanted = F.softmax(guide(clean), 1)
    inputs = [clean]
    if attack != "none":
        eps = 0.5 + float(torch.rand((), generator=generator)) * 7.5
        target = guide
        if attack == "pipeline":
            rate = with_stand_in(purifier.at(maps).eval(), "identity")
            target = DefendedClassifier(rate, guide)
        inputs.append(training_attack(target, clean, wanted.argmax(1), eps, 1, generator))
        assert (inputs[1] - clean).abs().max() <= eps / 255 + 1e-6
    logits = purifier.encoder(torch.cat(inputs))
    code = (logits > 0).float()
    if attack == "pipeline":
        code = code + logits - logits.detach()
    else:
        noise = torch.randn(logits.shape, generator=generator)
        soft = torch.sigmoid(logits - noise)
        code = (logits > noise).float() + soft - soft.detach()
    code = torch.cat([code[:, :maps], torch.zeros_like(code[:, maps:])], 1)
    purified = purifier.decoder(code)
    answers = F.log_softmax(guide(purified), 1)
    terms = [(wanted * (wanted.log() - part)).sum(1).mean() for part in answers.split(4)]
    weights = [0.25, 0.75] if attack != "none" else [1.0]
    error = torch.cat([part - clean for part in purified.split(4)]).square().mean()
    expected = sum(w * t for w, t in zip(weights, terms, strict=True)) + 3 * error
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert figures["divergence_clean"].item() == pytest.approx(terms[0].item(), rel=1e-3)
    for one, other in zip(
        found, torch.autograd.grad(expected, list(purifier.parameters())), strict=True
    ):
        assert (one - other).norm() <= 1e-3 * other.norm() + 1e-7


def test_the_gradient_under_noise(recipe, images):
    own = replace(recipe, attack="none", image_noise=(0.25, 0.5), rates=(1, 2), rebuilding=3.0)
    trained = module(own)
    purifier, (guide,), clean = trained.network, trained.guides, images.images[:4] / 255
    loss, _ = trained.loss(images.images[:4])
    found = torch.autograd.grad(loss, list(purifier.parameters()))

    generator = step_generator(0, "image noise", 0)
    std = torch.tensor([0.25, 0.5])[torch.randint(2, (4,), generator=generator)].view(4, 1, 1, 1)
    seen = (clean + std * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    logits = purifier.encoder(seen)
    attacks = step_generator(0, "attacks", 0)
    maps = (1, 2, 4)[int(torch.randint(3, (), generator=attacks))]
    noise = torch.randn(logits.shape, generator=attacks)
    soft = torch.sigmoid(logits - noise)
    code = (logits > noise).float() + soft - soft.detach()
    purified = purifier.decoder(code * (torch.arange(4) < maps).view(1, 4, 1, 1))
    # What is wanted is the answer to the image without the noise.
    wanted, answers = F.softmax(guide(clean), 1), F.log_softmax(guide(purified), 1)
    divergence = (wanted * (wanted.log() - answers)).sum(1).mean()
    expected = divergence + 3 * (purified - clean).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for one, other in zip(
        found, torch.autograd.grad(expected, list(purifier.parameters())), strict=True
    ):
        assert (one - other).norm() <= 1e-3 * other.norm() + 1e-7


def test_a_ramp_raises_the_bound_step_by_step(recipe, images, monkeypatch):
    trained = module(replace(recipe, steps=100, attack_eps=8.0, attack_ramp=0.5))
    clean = images.images[:2] / 255
    labels = torch.zeros(2, dtype=torch.long)
    found = []
    for step in (0, 24, 49, 99):
        monkeypatch.setattr(GuidedTraining, "step", step)
        changes = [
            (trained._attacked(trained.guides[0], clean, labels, step_generator(seed, "a", 0)))
            for seed in range(20)
        ]
        found.append(255 * max(float((moved - clean).abs().max()) for moved in changes))
    # The bound of a step is drawn from half a grey level up to the largest.
    assert found[0] <= 0.5 + 1e-3
    assert 2 < found[1] <= 4 + 1e-3
    assert 5 < found[2] <= 8 + 1e-3
    assert found[3] == pytest.approx(found[2])


def test_a_divergence_is_that_of_kullback_and_leibler():
    wanted, answers = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    assert divergences(answers.log(), wanted.log()).item() == pytest.approx(expected.item())
    assert divergences(wanted.log(), wanted.log()).item() == pytest.approx(0)


@pytest.mark.parametrize("attack", ["classifier", "pipeline"])
def test_the_loss_falls_and_guides_stay_as_they_are(attack, recipe, images, descend):
    trained = module(replace(recipe, attack=attack, learning_rate=0.05, bias_rate=0.01))
    before = {k: v.clone() for k, v in trained.guides.state_dict().items()}
    losses = descend(trained, images.images[:8], 30)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert all(v.equal(before[k]) for k, v in trained.guides.state_dict().items())


def test_a_run_resumes_and_its_figures_are_those_of_its_weights(recipe, guide, tmp_path):
    path = train(recipe, tmp_path / "whole", "float32")
    fit(
        dataclasses.replace(prepare(recipe, tmp_path / "halves"), epochs=1),
        tmp_path / "halves", "float32",
    )  # fmt: skip
    resumed = train(recipe, tmp_path / "halves", "float32")
    one, other = load_file(path), load_file(resumed)
    assert all(tensor.equal(other[name]) for name, tensor in one.items())

    record, purifier = comdefend.load_record(path), comdefend.load(path)
    assert purifier.config.bpps == (2, 4)
    assert build_recipe(record["recipe"], "record") == recipe
    assert list(record["same"]) == ["2", "4"]
    pixels = (
        (prepare(recipe, tmp_path / "again").validation.dataset.tensors[0] * 255).round().byte()
    )
    assert record["fidelity_at"]["2"]["psnr"] == pytest.approx(
        measure_fidelity(purifier.at(2), pixels).psnr
    )
    assert path.with_suffix(".md").read_text() == model_card(record)
    validation = prepare(recipe, tmp_path / "again").validation.dataset
    clean, _, wanted = validation.tensors
    pair = DefendedClassifier(purifier, comdefend.load_classifier(guide))
    same = (apply(pair, clean).argmax(1) == wanted.argmax(1)).float().mean().item()
    assert record["same"]["4"]["clean"] == pytest.approx(same)
    assert record["images"] == 16


def test_weights_lie_between_the_start_and_what_was_learned(recipe, tmp_path):
    learned = load_file(train(recipe, tmp_path / "learned", "float32"))
    path = train(replace(recipe, start_share=0.25), tmp_path / "mixed", "float32")
    start = load_file(recipe.start)
    for name, mixed in load_file(path).items():
        torch.testing.assert_close(mixed, 0.25 * start[name] + 0.75 * learned[name])
    assert "| share of the start in the weights | 0.25 |" in path.with_suffix(".md").read_text()


def test_a_purifier_of_noisy_images_is_measured_on_them(recipe, guide, tmp_path):
    own = replace(recipe, attack="none", image_noise=(0.25,))
    path = train(own, tmp_path / "run", "float32")
    record = comdefend.load_record(path)
    clean, _, wanted = prepare(own, tmp_path / "again").validation.dataset.tensors
    generator = step_generator(0, "measured noise 0.25", 0)
    torch.randint(1, (len(clean),), generator=generator)
    noisy = (clean + 0.25 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    pair = DefendedClassifier(comdefend.load(path), comdefend.load_classifier(guide))
    same = (apply(pair, noisy).argmax(1) == wanted.argmax(1)).float().mean().item()
    assert record["same"]["4"]["noise_0.25"] == pytest.approx(same)
    assert f", {same:.0%} under noise 0.25; PSNR" in model_card(record)


def test_photographs_of_any_size_need_no_labels(recipe, tmp_path):
    from PIL import Image

    for number, size in enumerate([(40, 30), (25, 60), (16, 16)] * 4):
        Image.effect_noise(size, 50).save(tmp_path / f"{number}.png")
    own = replace(recipe, data=f"folder:{tmp_path}", validation=2)
    path = train(own, tmp_path / "run", "float32")
    assert comdefend.load_record(path)["run"]["training_images"] == 10
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoints", "logs", "panels", "purifier.md", "purifier.safetensors", "recipe.json",
    ]  # fmt: skip


def test_rates_must_be_those_of_the_start(recipe, tmp_path):
    with pytest.raises(InputError, match=r"not trained at \[3\] maps, only at \[1, 2, 4\]"):
        prepare(replace(recipe, rates=(3,)), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": "both"}, "attack must be classifier, pipeline or none"),
        ({"classifiers": ()}, "name at least one"),
        ({"clean_share": 1.5}, "clean_share must be from 0 to 1"),
        ({"start_share": 1.0}, "start_share must be at least 0 and below 1"),
        ({"zoom": 0.5}, "zoom must be from 1"),
        ({"attack_ramp": 1.5}, "attack_ramp must be from 0 to 1"),
        ({"image_noise": (64.0,)}, "image_noise must be above 0 and at most 1"),
        ({"stand_ins": ("none",)}, "unknown stand-ins"),
    ],
)
def test_bad_fields(change, message, recipe):
    with pytest.raises(InputError, match=message):
        replace(recipe, **change)


def test_one_classifier_takes_the_place_of_the_guides(recipe, tmp_path):
    import json

    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe_to_dict(recipe)))
    assert load_recipe(str(file), classifier="my.models:net").classifiers == ("my.models:net",)
