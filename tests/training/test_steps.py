"""A training step's gradient, against autograd on the written formula; and that steps descend."""

import copy

import pytest
import torch
import torch.nn.functional as F
from msgspec.structs import replace

import comdefend
from comdefend.attacks import with_stand_in
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.training.adversarial import AdversarialTraining
from comdefend.training.batches import augment, step_generator
from comdefend.training.classifier import ClassifierTraining
from comdefend.training.denoiser import DenoiserTraining
from comdefend.training.initial import new_classifier, new_purifier
from comdefend.training.objective import complement_loss, training_attack
from comdefend.training.pixelcnn import PixelCNNTraining
from comdefend.training.purifier import PurifierTraining
from comdefend.zoo import save_weights


@pytest.fixture
def pixels(images):
    return images.images[:8]


@pytest.fixture
def labelled(images):
    return images.images[:8], images.labels[:8]


def parameters(module):
    return [p for p in module.network.parameters() if p.requires_grad]


def assert_gradient(module, batch, formula):
    """Check a module's loss of a batch, and its gradient, against a formula of the same loss."""
    state = copy.deepcopy(module.network.state_dict())
    loss, _ = module.loss(batch)
    found = torch.autograd.grad(loss, parameters(module))
    # Training mode has updated the batch statistics.
    module.network.load_state_dict(state)
    expected_loss = formula()
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-4)
    for gradient, expected in zip(
        found, torch.autograd.grad(expected_loss, parameters(module)), strict=True
    ):
        assert (gradient - expected).norm() <= 1e-3 * expected.norm() + 1e-7


def noisy_code(purifier, images, phi):
    logits = purifier.encoder(images)
    noise = torch.randn(logits.shape, generator=step_generator(0, "noise", 0))
    return logits, torch.sigmoid(logits - phi * noise)


def test_a_purifiers_gradient(recipes, pixels):
    module = PurifierTraining(recipes["purifier"])
    purifier, images = module.network, pixels / 255

    def formula():
        _, code = noisy_code(purifier, images, 20)
        error = (purifier.decoder(code) - images).square().sum() / (2 * 8)
        return error + 1e-4 * code.square().sum() / 8

    assert_gradient(module, pixels, formula)


def test_a_purifiers_gradient_on_noisy_images(recipes, pixels):
    module = PurifierTraining(replace(recipes["purifier"], image_noise=(0.25, 0.5)))
    purifier, images = module.network, pixels / 255

    def formula():
        generator = step_generator(0, "image noise", 0)
        std = torch.tensor([0.25, 0.5])[torch.randint(2, (8,), generator=generator)]
        noise = torch.randn(images.shape, generator=generator)
        seen = (images + std.view(8, 1, 1, 1) * noise).clamp(0, 1)
        _, code = noisy_code(purifier, seen, 20)
        # What is learnt is the image without the noise.
        error = (purifier.decoder(code) - images).square().sum() / (2 * 8)
        return error + 1e-4 * code.square().sum() / 8

    assert_gradient(module, pixels, formula)


def test_a_purifiers_gradient_at_several_rates(recipes, pixels):
    recipe = recipes["purifier"]
    module = PurifierTraining(replace(recipe, network=replace(recipe.network, rates=(1, 2))))
    purifier, images = module.network, pixels / 255

    def formula():
        _, code = noisy_code(purifier, images, 20)
        rates = torch.randint(3, (8, 1), generator=step_generator(0, "rates", 0))
        maps = torch.tensor([1, 2, 4])[rates].view(8, 1, 1, 1)
        code = code * (torch.arange(4).view(1, 4, 1, 1) < maps)
        errors = (purifier.decoder(code) - images).square().flatten(1).sum(1) / 2
        # Each image counts by its relative error, on the scale of the mean error.
        scale = errors.detach().mean()
        relative = (errors / errors.detach()).mean() * scale
        return relative + 1e-4 * code.square().sum() / 8

    assert_gradient(module, pixels, formula)


def test_a_students_gradient(recipes, pixels, tmp_path):
    teacher = new_purifier(recipes["purifier"].network, seed=9).eval()
    save_weights(tmp_path / "teacher.safetensors", teacher, {})
    recipe = replace(recipes["purifier"], teacher=str(tmp_path / "teacher.safetensors"))
    module = PurifierTraining(recipe)
    purifier, images = module.network, pixels / 255

    def formula():
        logits, code = noisy_code(purifier, images, 20)
        with torch.no_grad():
            taught = teacher.encoder(images)
        right = (taught > 0).float()
        errors = [(purifier.decoder(c) - images).square().sum() / (2 * 8) for c in (code, right)]
        sure = (taught.abs() / 20).clamp(max=1)
        bits = F.binary_cross_entropy_with_logits(logits / 20, right, sure)
        return sum(errors) / 2 + 30 * bits

    assert_gradient(module, pixels, formula)


@pytest.mark.parametrize("complement", [False, True])
def test_a_classifiers_gradient(recipes, images, labelled, complement):
    recipe = replace(recipes["classifier"], complement=complement, cutout=0)
    module = ClassifierTraining(recipe, new_classifier(recipe.network, images, 0), steps=4)

    def formula():
        views = augment(labelled[0] / 255, step_generator(0, "augmentation", 0), 2, True)
        logits, labels = module.network(views), labelled[1]
        likelihood = F.log_softmax(logits, 1)
        right = likelihood[range(8), labels].mean()
        loss = -0.9 * right - 0.1 * likelihood.mean()
        return loss + complement_loss(logits, labels) if complement else loss

    assert_gradient(module, labelled, formula)


@pytest.mark.parametrize("purified", [False, True])
def test_a_classifiers_gradient_under_noise(recipes, images, labelled, purified):
    recipe = replace(recipes["classifier"], cutout=0, image_noise=(0.25, 0.5))
    purifier = new_purifier(recipes["purifier"].network, seed=9).eval() if purified else None
    network = new_classifier(recipe.network, images, 0)
    module = ClassifierTraining(recipe, network, 4, purifier)

    def formula():
        views = augment(labelled[0] / 255, step_generator(0, "augmentation", 0), 2, True)
        generator = step_generator(0, "image noise", 0)
        std = torch.tensor([0.25, 0.5])[torch.randint(2, (8,), generator=generator)]
        noise = torch.randn(views.shape, generator=generator)
        seen = (views + std.view(8, 1, 1, 1) * noise).clamp(0, 1)
        if purifier is not None:
            seen = purifier(seen).detach()
        likelihood = F.log_softmax(network(seen), 1)
        return -0.9 * likelihood[range(8), labelled[1]].mean() - 0.1 * likelihood.mean()

    assert_gradient(module, labelled, formula)


def test_a_denoisers_gradient(recipes, guide, pixels):
    classifier = comdefend.load_classifier(guide)
    module = DenoiserTraining(recipes["denoiser"], classifier)

    def formula():
        generator = step_generator(0, "attacks", 0)
        # The same layout, so that the signs of tiny gradients are the same too.
        clean = (pixels / 255).contiguous(memory_format=torch.channels_last)
        eps = int(torch.randint(1, 17, (), generator=generator))
        steps = int(torch.randint(1, 4, (), generator=generator))
        wanted = classifier(clean)
        attacked = training_attack(classifier, clean, wanted.argmax(1), eps, steps, generator)
        # In one batch: where logits hardly differ, rounding decides about the sign.
        logits = classifier(module.network(torch.cat([clean, attacked])))
        return (logits - torch.cat([wanted, wanted])).abs().sum() / logits.numel()

    assert_gradient(module, pixels, formula)
    assert not any(p.requires_grad for p in classifier.parameters())


def test_a_generative_models_gradient(recipes, pixels):
    module = PixelCNNTraining(recipes["pixelcnn"])
    assert_gradient(
        module, pixels, lambda: module.network.bits_per_dimension(pixels / 255).sum() / 8
    )


def pair(recipe, images, trained="both"):
    purifier = new_purifier(PurifierConfig(1, (8,), (8,), code_maps=4), 0)
    classifier = new_classifier(recipe.classifier, images, 0)
    recipe = replace(recipe, trained=trained, classifier="a name")
    return AdversarialTraining(recipe, purifier, classifier, steps=4)


@pytest.mark.parametrize("noisy", [False, True])
def test_a_pairs_gradient(recipes, images, labelled, noisy):
    recipe = replace(recipes["defense"], noisy=noisy, stand_ins=("sigmoid-10",))
    module = pair(recipe, images)
    purifier, classifier = module.network.purifier, module.network.classifier

    def formula():
        generator = step_generator(0, "augmentation", 0)
        clean = augment(labelled[0] / 255, generator, 2, True)
        clean = clean.contiguous(memory_format=torch.channels_last)
        attacked_pair = DefendedClassifier(
            with_stand_in(purifier.eval(), "sigmoid-10"), classifier.eval()
        )
        attacked = training_attack(attacked_pair, clean, labelled[1], 8, 1, generator)
        logits = purifier.encoder(attacked)
        if noisy:
            code = torch.sigmoid(logits - 20 * torch.randn(logits.shape, generator=generator))
        else:
            slope = torch.sigmoid(logits / 10) * torch.sigmoid(-logits / 10)
            code = (logits > 0).float() + slope.detach() * (logits - logits.detach())
        purified = purifier.decoder(code)
        error = (purified - clean).square().sum() / 2 + 1e-4 * code.square().sum()
        return F.cross_entropy(classifier.train()(purified), labelled[1]) + error / 8 / 16**2

    assert_gradient(module, labelled, formula)


@pytest.mark.parametrize("loss", ["teacher", "teacher and clean", "clean", "trades"])
def test_what_attacked_and_clean_answers_are_compared_with(recipes, images, labelled, guide, loss):
    changes = {
        "teacher": {"teacher": str(guide)},
        "teacher and clean": {"teacher": str(guide), "clean_share": 0.25},
        "clean": {"clean_share": 0.25},
        "trades": {"trades": 3.0},
    }[loss]
    recipe = replace(recipes["defense"], noisy=False, stand_ins=("identity",), **changes)
    module = pair(recipe, images, trained="purifier")
    purifier, classifier = module.network.purifier, module.network.classifier
    labels = labelled[1]

    def formula():
        generator = step_generator(0, "augmentation", 0)
        clean = augment(labelled[0] / 255, generator, 2, True)
        clean = clean.contiguous(memory_format=torch.channels_last)
        defended = DefendedClassifier(purifier.eval(), classifier.eval())
        attacked = training_attack(defended, clean, labels, 8, 1, generator)
        # Clean images count where the loss has a part for them, in the rebuilding too.
        both = torch.cat([attacked, clean]) if loss != "teacher" else attacked
        purified = purifier(both)
        code = purifier.encode(both)
        error = (purified - clean.repeat(len(both) // 8, 1, 1, 1)).square().sum() / 2
        rebuilding = (error + 1e-4 * code.square().sum()) / len(both) / 16**2
        answers = classifier(purified)
        if loss == "trades":
            wanted = answers[8:].softmax(1)
            price = (wanted * (wanted.log() - answers[:8].log_softmax(1))).sum(1).mean()
            return F.cross_entropy(answers[8:], labels) + 3 * price + rebuilding
        if loss == "clean":
            parts = [F.cross_entropy(part, labels) for part in (answers[:8], answers[8:])]
            return 0.75 * parts[0] + 0.25 * parts[1] + rebuilding
        taught = comdefend.load_classifier(guide)(clean).detach().softmax(1)
        far = (taught * (taught.log() - answers.log_softmax(1)[:8])).sum(1).mean()
        if loss == "teacher":
            return far + rebuilding
        near = (taught * (taught.log() - answers.log_softmax(1)[8:])).sum(1).mean()
        return 0.75 * far + 0.25 * near + rebuilding

    assert_gradient(module, labelled, formula)


def test_a_purifier_without_a_threshold_trains_on_the_code_that_it_uses(recipes, images, labelled):
    module = pair(replace(recipes["defense"], noisy=False), images, trained="purifier")
    config = replace(module.network.purifier.config, binary=False)
    purifier = new_purifier(config, 0).eval()
    module.network.purifier = purifier
    seen = labelled[0] / 255
    logits = purifier.encoder(seen)
    assert purifier.encode(seen).equal(torch.sigmoid(logits))
    trained, _ = module._purified(seen, seen, torch.Generator(), None)
    assert trained.equal(purifier(seen))
    with pytest.raises(InputError, match="has only 'identity'"):
        with_stand_in(purifier, "sigmoid-10")


def test_a_classifier_that_is_not_trained_is_used_as_it_is(recipes, images, labelled):
    module = pair(recipes["defense"], images, trained="purifier")
    purifier, classifier = module.network.purifier, module.network.classifier
    before = {n: b.clone() for n, b in classifier.named_buffers()}
    module.loss(labelled)
    assert [id(p) for p in parameters(module)] == [id(p) for p in purifier.parameters()]
    assert (purifier.training, classifier.training) == (True, False)
    after = dict(classifier.named_buffers())
    assert all(after[name].equal(buffer) for name, buffer in before.items())


def test_a_purifier_that_is_not_trained_is_used_as_it_is(recipes, images, labelled):
    recipe = replace(recipes["defense"], network=None, purifier="a name", trained="classifier")
    module = pair(recipe, images, trained="classifier")
    purifier, classifier = module.network.purifier, module.network.classifier
    module.loss(labelled)
    assert [id(p) for p in parameters(module)] == [id(p) for p in classifier.parameters()]
    assert (purifier.training, classifier.training) == (False, True)


def test_the_epoch_that_withstands_most_is_kept(recipes, images):
    module = pair(recipes["defense"], images)
    average = module.average.module.classifier.head.weight
    kept = module.best.classifier.head.weight
    for number, withstood in enumerate([1, 3, 2, 3], start=1):
        average.data.fill_(number)
        module.withstood.append(torch.arange(4) < withstood)
        module.on_validation_epoch_end()
        # The second epoch is the first of the best.
        assert (kept == min(number, 2)).all()
    assert module.best_accuracy == 0.75


@pytest.mark.parametrize("kind", ["purifier", "classifier", "denoiser", "defense"])
def test_every_step_draws_anew_and_the_same_for_the_same_seed(
    kind, recipes, guide, images, pixels, labelled, monkeypatch
):
    def loss(step, seed=0):
        recipe = replace(recipes[kind], seed=seed)
        if kind == "purifier":
            module = PurifierTraining(recipe)
            module.network.load_state_dict(new_purifier(recipe.network, 0).state_dict())
        elif kind == "denoiser":
            module = DenoiserTraining(recipe, comdefend.load_classifier(guide))
        elif kind == "classifier":
            module = ClassifierTraining(recipe, new_classifier(recipe.network, images, 0), 4)
        else:
            module = pair(recipe, images)
        monkeypatch.setattr(type(module), "step", step)
        return module.loss(labelled if kind in ("classifier", "defense") else pixels)[0].item()

    assert loss(3) == loss(3)
    assert loss(3) != loss(6)
    assert loss(3) != loss(3, seed=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["purifier", "classifier", "denoiser", "pixelcnn", "defense"])
def test_the_loss_of_a_batch_falls_when_trained_on_it(
    kind, seed, recipes, guide, images, pixels, labelled, descend
):
    recipe = replace(recipes[kind], seed=seed, learning_rate=0.05, bias_rate=0.01)
    batch = labelled if kind in ("classifier", "defense") else pixels
    if kind == "purifier":
        module = PurifierTraining(replace(recipe, network=replace(recipe.network, phi=1.0)))
    elif kind == "classifier":
        module = ClassifierTraining(recipe, new_classifier(recipe.network, images, seed), 20)
    elif kind == "denoiser":
        module = DenoiserTraining(recipe, comdefend.load_classifier(guide))
    elif kind == "pixelcnn":
        module = PixelCNNTraining(recipe)
    else:
        module = pair(recipe, images)
    losses = descend(module, batch, 20)
    assert losses[-1] < 0.9 * losses[0]


def test_the_schedule_warms_up_and_ends_at_zero(recipes):
    module = PurifierTraining(replace(recipes["purifier"], steps=100, epoch_steps=50))
    rates = [module.schedule(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:30] == [1] * 20
    assert rates[65] == pytest.approx(0.5)
    assert rates[100] == 0


def test_the_logits_filter_has_a_learning_rate_of_its_own(recipes):
    recipe = replace(recipes["purifier"], learning_rate=0.1, logit_rate=0.5, bias_rate=0.2)
    (muon, adam), _ = PurifierTraining(recipe).configure_optimizers()
    rest, logits = muon.param_groups
    assert [p.shape[0] for p in logits["params"]] == [4]
    assert logits["initial_lr"] == pytest.approx(0.05)
    assert len(rest["params"]) == 3
    assert rest["initial_lr"] == pytest.approx(0.1)
    assert all(p.ndim == 1 for group in adam.param_groups for p in group["params"])


def test_new_purifiers_start_on_the_scale_of_the_noise():
    wide, narrow = (
        new_purifier(PurifierConfig(1, (8,), (8,), phi=phi), seed=0) for phi in (20.0, 1.0)
    )
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(wide.logits(images), 10 * narrow.logits(images))
