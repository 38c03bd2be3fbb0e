"""Training a purifier and the classifier behind it against an attacker who knows them both."""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from comdefend.attacks import hard_code, with_stand_in
from comdefend.classifiers import check_classifier, open_classifier
from comdefend.common.atomic import atomic_write
from comdefend.data.sources import load_image_set
from comdefend.defenses.defended import DefendedClassifier
from comdefend.errors import InputError
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.loss import purifier_loss
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import EpochSampler, augment, step_generator
from comdefend.training.card import defense_card, defense_record, measured_images, run_facts
from comdefend.training.descent import Descent
from comdefend.training.objective import perturbed
from comdefend.training.purifier import initialize
from comdefend.training.recipe import DefenseRecipe
from comdefend.training.run import Precision, fit, lightning_precision, open_run
from comdefend.weights.zoo import load, load_classifier, save_weights

# Steps of the attack that decides which epoch's weights are kept: more than training takes, since
# training on single steps may learn to withstand nothing but single steps.
VALIDATION_STEPS = 10


class DefenseTraining(Descent):
    """Classifies purified attacked images, and rebuilds the clean image from the attacked one.

    Attacks go through the whole pipeline with the hard threshold (Madry et al. 2018; one step from
    a random start: Wong et al. 2020), the stand-ins for its gradient taking turns: against one
    alone a pair learns to mislead that one, and withstands nothing else. Only then the purifier
    sees the attacked images, with the noise of training or without: an attack puts certain bits
    on the other side of the threshold, and noise throws the same bits back. Weights are averaged
    over steps, and the average that withstands the longer attack through every stand-in on
    held-out images best is kept: training against single steps can break down from one epoch to
    the next.

    Args:
        recipe: Attack, loss and schedule.
        purifier: To start from; None trains the classifier alone.
        classifier: To start from, or to leave as it is.
        steps: Steps in all.
    """

    network: DefendedClassifier
    best: DefendedClassifier
    best_accuracy: Tensor

    def __init__(
        self,
        recipe: DefenseRecipe,
        purifier: ComDefend | None,
        classifier: nn.Module,
        steps: int,
    ) -> None:
        network = DefendedClassifier(purifier or nn.Identity().eval(), classifier)
        network = network.to(memory_format=torch.channels_last)
        super().__init__(network, steps, recipe.learning_rate, recipe.bias_rate)
        self.recipe = recipe
        network.purifier.requires_grad_(recipe.trained != "classifier")
        network.classifier.requires_grad_(recipe.trained != "purifier")
        average = get_ema_multi_avg_fn(recipe.averaging)
        self.average = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.best = copy.deepcopy(network)
        self.register_buffer("best_accuracy", torch.tensor(-1.0))
        self.withstood: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Do one step on (B, C, H, W) uint8 images and their (B,) labels."""
        pixels, labels = batch
        recipe, network = self.recipe, self.network
        generator = step_generator(recipe.seed, "augmentation", self.step)
        clean = augment(pixels.float() / 255, generator, recipe.translate, recipe.flip)
        clean = clean.contiguous(memory_format=torch.channels_last)
        if self.current_epoch < recipe.clean_epochs:
            network.purifier.train()
            _, rebuilding = self._purified(clean, clean, generator, None)
            self.log("loss_rebuilding", rebuilding)
            self.descend(rebuilding)
            self.average.update_parameters(network)
            return
        network.eval()
        turn = recipe.stand_ins[self.step % len(recipe.stand_ins)]
        attack = (recipe.attack_eps, recipe.attack_steps, generator)
        attacked = perturbed(_attackable(network, turn), clean, labels, *attack)
        # What is not trained stays as it is in use, its batch statistics and its threshold too.
        network.purifier.train(recipe.trained != "classifier")
        network.classifier.train(recipe.trained != "purifier")

        stand_in = None if recipe.noisy else turn
        purified, rebuilding = self._purified(attacked, clean, generator, stand_in)
        answers = network.classifier(purified)
        classification = F.cross_entropy(answers, labels)
        self.descend(classification + recipe.rebuilding * rebuilding)
        self.average.update_parameters(network)

        accuracy = (answers.argmax(1) == labels).float().mean()
        self.log("loss_classification", classification)
        self.log("loss_rebuilding", rebuilding)
        self.log("attacked_accuracy", accuracy, prog_bar=True)

    def _purified(
        self, images: Tensor, clean: Tensor, generator: torch.Generator, stand_in: str | None
    ) -> tuple[Tensor, Tensor]:
        """Return purified images, and how far from the clean ones they are: `purifier_loss`.

        Through the hard code with the gradient of a stand-in; where that is None, through the
        noisy one.
        """
        purifier = self.network.purifier
        if not isinstance(purifier, ComDefend):
            return images, torch.zeros(())
        logits = purifier.logits(images)
        if stand_in is None:
            noise = torch.randn(logits.shape, generator=generator).to(logits)
            code = purifier.binarize(logits, noise)
        else:
            code = hard_code(logits, stand_in, purifier.config.phi)
        purified = purifier.decode(code, size=(clean.shape[-2], clean.shape[-1]))
        parts = purifier_loss(clean, purified.float(), code.float(), self.recipe.code_weight)
        # Of a pixel, not of an image: its size must not weigh.
        return purified, parts.total / clean[0, 0].numel()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Attack the averaged weights on training images that were held out."""
        images, labels = batch
        defended = self.average.module.eval()
        assert isinstance(defended, DefendedClassifier)
        generator = step_generator(self.recipe.seed, "validation", batch_idx)
        # Lightning validates in inference mode, in which nothing can be attacked.
        with torch.inference_mode(False):
            images, labels = images.clone().float() / 255, labels.clone()
        right = defended(images).argmax(1) == labels
        withstood = right.clone()
        purifies = isinstance(defended.purifier, ComDefend)
        for name in self.recipe.stand_ins if purifies else ("identity",):
            with torch.inference_mode(False), torch.enable_grad():
                target = _attackable(defended, name)
                attack = (self.recipe.attack_eps, VALIDATION_STEPS, generator)
                found = perturbed(target, images, labels, *attack)
            withstood &= defended(found).argmax(1) == labels
        self.withstood.append(withstood)
        self.log("validation_accuracy", right.float().mean(), prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Keep the averaged weights if they are the best so far."""
        accuracy = torch.cat(self.withstood).float().mean()
        self.withstood.clear()
        self.log("validation_robust_accuracy", accuracy, prog_bar=True)
        if accuracy > self.best_accuracy:
            self.best.load_state_dict(self.average.module.state_dict())
            self.best_accuracy.copy_(accuracy)


def train_defense(recipe: DefenseRecipe, output: Path, precision: Precision = "auto") -> Path:
    """Train purifier, classifier or both, and write what was trained, each file with its card.

    A run that was stopped, however, goes on from its last checkpoint when called again with the
    same recipe and output, and ends with the weights that an uninterrupted run would have had.

    Args:
        recipe: What to train, from which weights.
        output: The run's folder; logs and checkpoints go there too.
        precision: ``auto``, ``32`` or ``bf16``.

    Returns:
        ``classifier.safetensors``, with floats stored in 16 bits, and beside it
        ``purifier.safetensors`` where there is one; the latter alone where the classifier is left
        as it is.

    Raises:
        InputError: The folder holds a run of another recipe, the data is too small, or purifier,
            classifier and data do not fit together.
        DataMissingError: The data or the weights are not there.
    """
    lightning_precision(precision)
    purifier, classifier = _purifier(recipe), _classifier(recipe)
    if purifier is not None:
        channels = purifier.config.channels
    else:
        assert isinstance(classifier, SmallClassifier)
        channels = classifier.config.channels
    data = load_image_set(recipe.data, "train", channels)
    if len(data) < recipe.validation + recipe.batch:
        raise InputError(
            f"{recipe.data}: {len(data)} images are too few for {recipe.validation} to validate "
            f"on and batches of {recipe.batch}"
        )
    classes = check_classifier(classifier, data.images[:2].float() / 255, data.labels[:2])
    if data.class_count > classes:
        raise InputError(
            f"{recipe.classifier} has {classes} classes, {recipe.data} {data.class_count}"
        )
    # Only now: a start that fails must not leave a folder that refuses the corrected one.
    open_run(output, recipe)
    held_out, training = data.hold_out(recipe.validation, recipe.seed)
    steps = len(training) // recipe.batch * recipe.epochs
    module = DefenseTraining(recipe, purifier, classifier, steps)
    sampler = EpochSampler(
        len(training), recipe.batch, recipe.seed, epoch=lambda: module.current_epoch
    )
    trainer = fit(
        module,
        DataLoader(TensorDataset(training.images, training.labels), batch_sampler=sampler),
        DataLoader(
            TensorDataset(held_out.images, held_out.labels), batch_size=min(100, recipe.batch)
        ),
        output,
        recipe.epochs,
        [],
        precision,
    )
    test, split = measured_images(recipe.data, channels, held_out)
    # The networks in hand take the place of the module's own, which are those of the last step.
    if purifier is not None:
        purifier.load_state_dict(module.best.purifier.state_dict())
        purifier.eval()
    weights = output / "purifier.safetensors"
    written = classifier if recipe.trained != "purifier" else None
    if written is not None:
        assert isinstance(written, SmallClassifier)
        weights = output / "classifier.safetensors"
        written.load_state_dict(module.best.classifier.state_dict())
        # The record tells of what is stored, which for classifiers is rounded to 16 bits.
        save_weights(weights, written, {}, half=True)
        classifier = written = load_classifier(weights)
    record = defense_record(
        purifier, classifier, module.best_accuracy.item(), recipe, test, split,
        run_facts(training.images, trainer),
    )  # fmt: skip
    if purifier is not None:
        save_weights(output / "purifier.safetensors", purifier, record)
        atomic_write(output / "purifier.md", defense_card(record).encode())
    if written is not None:
        save_weights(weights, written, record, half=True)
        atomic_write(weights.with_suffix(".md"), defense_card(record).encode())
    return weights


def _attackable(network: DefendedClassifier, stand_in: str) -> DefendedClassifier:
    """Return the same with another gradient of the threshold, where there is one."""
    if not isinstance(network.purifier, ComDefend):
        return network
    return DefendedClassifier(with_stand_in(network.purifier, stand_in), network.classifier)


def _classifier(recipe: DefenseRecipe) -> nn.Module:
    # Whatever is left as it is need not be ours.
    opened = open_classifier if recipe.trained == "purifier" else load_classifier
    return opened(recipe.classifier)


def _purifier(recipe: DefenseRecipe) -> ComDefend | None:
    if recipe.network is None:
        return None if recipe.purifier == "none" else load(recipe.purifier)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        purifier = ComDefend(recipe.network)
        initialize(purifier)
    return purifier
