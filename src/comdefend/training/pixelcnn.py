"""Training a model of images, for PixelDefend: on clean images only."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from comdefend.common.atomic import atomic_write
from comdefend.data.sources import load_image_set
from comdefend.errors import InputError
from comdefend.nn.pixelcnn import PixelCNN
from comdefend.training.batches import StepSampler, crop_loader
from comdefend.training.card import measured_images, pixelcnn_card, pixelcnn_record, run_facts
from comdefend.training.descent import Descent
from comdefend.training.recipe import PixelCNNRecipe
from comdefend.training.run import Precision, fit, lightning_precision, open_run
from comdefend.weights.zoo import save_weights


class PixelCNNTraining(Descent):
    """Minimises the bits a dimension that images cost (Salimans et al. 2017).

    Args:
        recipe: Network and schedule.
    """

    network: PixelCNN

    def __init__(self, recipe: PixelCNNRecipe) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            network = PixelCNN(recipe.network)
        super().__init__(network, recipe.steps, recipe.learning_rate, recipe.bias_rate)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Do one step on (B, C, H, W) uint8 images."""
        loss = self.network.bits_per_dimension(batch.float() / 255).mean()
        self.descend(loss)
        self.log("bits", loss, prog_bar=True)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Measure on (B, C, H, W) uint8 images that were held out."""
        bits = self.network.bits_per_dimension(batch.float() / 255).mean()
        self.log("validation_bits", bits, prog_bar=True, batch_size=len(batch))


def train_pixelcnn(recipe: PixelCNNRecipe, output: Path, precision: Precision = "auto") -> Path:
    """Train a model of images and write ``pixelcnn.safetensors`` and ``pixelcnn.md`` (its card).

    A run that was stopped, however, goes on from its last checkpoint when called again with the
    same recipe and output, and ends with the weights that an uninterrupted run would have had.

    Args:
        recipe: What to train, on which data.
        output: The run's folder; logs and checkpoints go there too.
        precision: ``auto``, ``32`` or ``bf16``.

    Returns:
        The weight file.

    Raises:
        InputError: The folder holds a run of another recipe, or the data is too small.
        DataMissingError: The data is not there.
    """
    lightning_precision(precision)
    channels = recipe.network.channels
    data = load_image_set(recipe.data, "train", channels)
    if len(data) <= recipe.validation:
        raise InputError(
            f"{recipe.data}: {len(data)} images do not leave any to train on beside "
            f"{recipe.validation} for validation"
        )
    # Only now: a start that fails must not leave a folder that refuses the corrected one.
    open_run(output, recipe)
    held_out, rest = data.hold_out(recipe.validation, recipe.seed)
    training = rest.images
    module = PixelCNNTraining(recipe)
    sampler = StepSampler(
        len(training), recipe.batch, recipe.epoch_steps, recipe.seed, lambda: module.step
    )
    trainer = fit(
        module,
        # Whole images: a border in the midst of one would be learnt as if it were its own.
        crop_loader(training, max(training.shape[-2:]), channels, sampler),
        DataLoader(held_out.images, batch_size=32),  # type: ignore[arg-type]
        output,
        recipe.epochs,
        [],
        precision,
    )
    test, split = measured_images(recipe.data, channels, held_out)
    model, weights = module.network.eval(), output / "pixelcnn.safetensors"
    record = pixelcnn_record(model, recipe, test.images, split, run_facts(training, trainer))
    save_weights(weights, model, record)
    atomic_write(output / "pixelcnn.md", pixelcnn_card(record).encode())
    return weights
