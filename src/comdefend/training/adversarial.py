"""Adversarial training through a purifier and the classifier behind it."""

import copy
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from comdefend.attacks import hard_code, with_stand_in
from comdefend.defenses.defended import DefendedClassifier
from comdefend.nn.loss import purifier_loss
from comdefend.nn.network import Network
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import augment, step_generator
from comdefend.training.descent import Descent, Figures
from comdefend.training.kinds import DefenseRecipe
from comdefend.training.objective import (
    LEAST_EPS,
    divergences,
    n_fgsm,
    ramped,
    training_attack,
)
from comdefend.zoo import load_classifier

# Steps of the attack that chooses the epoch whose weights are kept. More than in training: a model
# trained on single steps may withstand nothing but single steps.
VALIDATION_STEPS = 10


class AdversarialTraining(Descent):
    """Classifies purified attacked images, and rebuilds the clean image from the attacked one.

    The attacks go through the whole pipeline with the hard threshold (Madry et al. 2018; one step
    from a random start: Wong et al. 2020). The stand-ins for its gradient take turns. The purifier
    then sees the attacked images with the noise of training or without: an attack flips certain
    bits, and noise flips some of them back.

    The weights are averaged over steps. The average that withstands the longer attack through every
    stand-in best, on held-out images, is kept: training against single steps can break down from
    one epoch to the next.

    Args:
        recipe: Attack, loss, optimisers and schedule.
        purifier: To start from; None trains the classifier alone.
        classifier: To start from, or to leave as it is.
        steps: Number of steps.
    """

    network: DefendedClassifier
    recipe: DefenseRecipe
    best: DefendedClassifier
    best_accuracy: Tensor
    shown: ClassVar = ("attacked_accuracy",)

    def __init__(
        self, recipe: DefenseRecipe, purifier: ComDefend | None, classifier: nn.Module, steps: int
    ) -> None:
        network = DefendedClassifier(purifier or nn.Identity().eval(), classifier)
        super().__init__(
            recipe, network.to(memory_format=torch.channels_last), steps,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        network.purifier.requires_grad_(recipe.trained != "classifier")
        network.classifier.requires_grad_(recipe.trained != "purifier")
        average = get_ema_multi_avg_fn(recipe.averaging)
        self.average = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.best = copy.deepcopy(network)
        self.register_buffer("best_accuracy", torch.tensor(-1.0))
        self.withstood: list[Tensor] = []
        teacher = None if recipe.teacher is None else load_classifier(recipe.teacher)
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Figures]:
        """Return the loss of (B, C, H, W) uint8 images and their (B,) labels."""
        (pixels, labels), recipe, network = batch, self.recipe, self.network
        generator = step_generator(recipe.seed, "augmentation", self.step)
        clean = augment(pixels.float() / 255, generator, recipe.translate, recipe.flip)
        clean = clean.contiguous(memory_format=torch.channels_last)
        if self.current_epoch < recipe.clean_epochs:
            return self._clean_loss(clean, generator)
        network.eval()
        turn = recipe.stand_ins[self.step % len(recipe.stand_ins)]
        attacked = self._attacked(_with_stand_in(network, turn), clean, labels, generator)
        # What is not trained stays in evaluation mode, with its batch statistics and its threshold.
        network.purifier.train(recipe.trained != "classifier")
        network.classifier.train(recipe.trained != "purifier")
        stand_in = None if recipe.noisy else turn
        both = bool(recipe.clean_share or recipe.trades)
        images, wanted = (torch.cat([attacked, clean]), clean.repeat(2, 1, 1, 1)) if both else (
            attacked, clean,
        )  # fmt: skip
        purified, rebuilding = self._purified(images, wanted, generator, stand_in)
        on_attacked, *on_clean = network.classifier(purified).split(len(clean))
        classification = self._classification(on_attacked, on_clean, clean, labels)
        return classification + recipe.rebuilding * rebuilding, {
            "loss_classification": classification,
            "loss_rebuilding": rebuilding,
            "attacked_accuracy": (on_attacked.argmax(1) == labels).float().mean(),
        }

    def _clean_loss(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Figures]:
        """Return the loss of the clean epochs, which train the purifier alone."""
        self.network.purifier.train()
        self.network.classifier.eval()
        purified, rebuilding = self._purified(clean, clean, generator, None)
        if self.teacher is None:
            return rebuilding, {"loss_rebuilding": rebuilding}
        answers = self.network.classifier(purified)
        divergence = divergences(answers, self._taught(clean)).mean()
        return divergence + self.recipe.rebuilding * rebuilding, {
            "loss_classification": divergence,
            "loss_rebuilding": rebuilding,
        }

    def _attacked(
        self, target: nn.Module, clean: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        recipe = self.recipe
        before = recipe.clean_epochs / recipe.epochs
        progress = (self.step / self.steps - before) / (1 - before)
        eps = max(LEAST_EPS, ramped(recipe.attack_eps, recipe.attack_ramp, progress))
        if recipe.attack == "n-fgsm":
            return n_fgsm(target, clean, labels, eps, generator)
        return training_attack(target, clean, labels, eps, recipe.attack_steps, generator)

    def _classification(
        self, on_attacked: Tensor, on_clean: list[Tensor], clean: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the loss of answers, to attacked images and, where they count, to clean ones."""
        recipe = self.recipe
        if recipe.trades:
            price = divergences(on_attacked, on_clean[0]).mean()
            return F.cross_entropy(on_clean[0], labels) + recipe.trades * price
        taught = None if self.teacher is None else self._taught(clean)

        def loss(answers: Tensor) -> Tensor:
            if taught is None:
                return F.cross_entropy(answers, labels)
            return divergences(answers, taught).mean()

        if not on_clean:
            return loss(on_attacked)
        return torch.lerp(loss(on_attacked), loss(on_clean[0]), recipe.clean_share)

    def _taught(self, clean: Tensor) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher(clean)

    def networks(self) -> tuple[Network, ...]:
        """Return the networks of the best epoch; a classifier that is not trained is none."""
        kept = [self.best.classifier] * (self.recipe.trained != "purifier")
        return tuple(n for n in (*kept, self.best.purifier) if isinstance(n, Network))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Do one step of both optimisers, and average the weights."""
        super().training_step(batch, batch_idx)
        self.average.update_parameters(self.network)

    def _purified(
        self, images: Tensor, clean: Tensor, generator: torch.Generator, stand_in: str | None
    ) -> tuple[Tensor, Tensor]:
        """Return purified images and their `purifier_loss` per pixel of the clean ones.

        Through the hard code with the gradient of a stand-in; through the noisy one if that is
        None.
        """
        purifier = self.network.purifier
        if not isinstance(purifier, ComDefend):
            return images, torch.zeros(())
        logits = purifier.logits(images)
        if not purifier.config.binary:
            code = purifier.binarize(logits)
        elif stand_in is None:
            noise = torch.randn(logits.shape, generator=generator).to(logits)
            code = purifier.binarize(logits, noise)
        else:
            code = hard_code(logits, stand_in, purifier.config.phi)
        purified = purifier.decode(code, size=(clean.shape[-2], clean.shape[-1]))
        parts = purifier_loss(clean, purified.float(), code.float(), self.recipe.code_weight)
        return purified, parts.total / clean[0, 0].numel()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Attack the averaged weights on training images that were held out."""
        images, labels = batch[0].float() / 255, batch[1]
        defended = self.average.module.eval()
        assert isinstance(defended, DefendedClassifier)
        generator = step_generator(self.recipe.seed, "validation", batch_idx)
        right = defended(images).argmax(1) == labels
        withstood = right.clone()
        for name in self.recipe.stand_ins if self.recipe.purifies else ("identity",):
            target = _with_stand_in(defended, name)
            attack = (self.recipe.attack_eps, VALIDATION_STEPS, generator)
            attacked = training_attack(target, images, labels, *attack)
            withstood &= defended(attacked).argmax(1) == labels
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


def _with_stand_in(network: DefendedClassifier, stand_in: str) -> DefendedClassifier:
    """Return a network, in evaluation mode, with a stand-in for its threshold, if it has one."""
    if not isinstance(network.purifier, ComDefend):
        return network
    return DefendedClassifier(with_stand_in(network.purifier, stand_in), network.classifier)
