"""Training a generative model of images for PixelDefend, on clean images only."""

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from torch.utils.data import DataLoader

from comdefend.data.sources import load_image_set
from comdefend.nn.pixelcnn import PixelCNN
from comdefend.training.card import table_card
from comdefend.training.crops import step_loader
from comdefend.training.descent import Descent, Figures
from comdefend.training.initial import seeded
from comdefend.training.kinds import PixelCNNRecipe
from comdefend.training.measure import measure_bits
from comdefend.training.prepared import (
    Finished,
    Prepared,
    count_parameters,
    held_out_count,
    measured_images,
)


class PixelCNNTraining(Descent):
    """Minimises the bits per dimension of images (Salimans et al. 2017).

    Args:
        recipe: Network and schedule.
    """

    network: PixelCNN
    shown: ClassVar = ("bits",)

    def __init__(self, recipe: PixelCNNRecipe) -> None:
        with seeded(recipe.seed):
            network = PixelCNN(recipe.network)
        super().__init__(recipe, network, recipe.steps)

    def loss(self, batch: Tensor) -> tuple[Tensor, Figures]:
        """Return the loss of (B, C, H, W) uint8 images."""
        bits = self.network.bits_per_dimension(batch.float() / 255).mean()
        return bits, {"bits": bits}

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Measure on (B, C, H, W) uint8 images that were held out."""
        bits = self.network.bits_per_dimension(batch.float() / 255).mean()
        self.log("validation_bits", bits, prog_bar=True, batch_size=len(batch))


def prepare(recipe: PixelCNNRecipe, output: Path) -> Prepared:
    """Load the data and build the network; see `comdefend.training.run.prepare`."""
    channels = recipe.network.channels
    data = load_image_set(recipe.data, "train", channels)
    count = held_out_count(len(data), recipe)
    held_out, training = data.hold_out(count, recipe.seed)
    module = PixelCNNTraining(recipe)

    def finish() -> Finished:
        model = module.network.eval()
        images, split = measured_images(recipe.data, channels, held_out)
        measured = {
            "parameters": count_parameters(model),
            "reach": model.config.reach,
            "measured_on": split,
            "images": len(images),
            "bits": measure_bits(model, images.images),
        }
        return Finished((model,), measured)

    # Whole images: the model would learn the border of a crop as that of an image.
    whole = max(training.images.shape[-2:])
    return Prepared(
        module=module,
        train=step_loader(training.images, whole, recipe, lambda: module.step),
        validation=DataLoader(held_out.images, batch_size=32),  # type: ignore[arg-type]
        epochs=recipe.epochs,
        images=training.images,
        finish=finish,
    )


def card(record: dict[str, Any]) -> str:
    """Return the model card of a record, in Markdown."""
    recipe, (up, left) = record["recipe"], record["reach"]
    network = recipe["network"]
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "architecture": f"PixelCNN, {network['layers']} blocks of width {network['width']}, "
        f"{network['mixtures']} mixtures",
        "receptive field": f"{up} rows up, {left} pixels to the left",
        "parameters": f"{record['parameters']:,}",
        "training": f"{recipe['steps']:,} steps of {recipe['batch']} images, seed {recipe['seed']}",
        "PixelDefend changes values by": f"up to {network['eps']}/255",
        "measured on": f"{record['images']:,} images ({record['measured_on']})",
        "bits per dimension": f"{record['bits']:.3f}",
    }
    return table_card("Generative model of images", rows, record)
