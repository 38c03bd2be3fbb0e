"""A purifier exported to ONNX, and computed by ONNX Runtime alone, as on a machine without torch.

Needs: pip install 'comdefend[demo,runtime]', for the engines and for the photographs
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime

import comdefend
from comdefend.data.shipped import image_crops
from comdefend.engines.export import export


def main() -> None:
    """Print how far the results lie apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("purifier.onnx"))
    asked = parser.parse_args()
    # Compared with PyTorch on photographs of two sizes before it takes its name.
    export(asked.output, image_crops(3, 6, 160, 160), weights="photo")
    session = onnxruntime.InferenceSession(str(asked.output))
    images = image_crops(3, asked.images, 96, 128).float() / 255
    (purified,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    apart = np.abs(purified - comdefend.load("photo")(images).detach().numpy()).max()
    print(f"{asked.output}: within {apart:.4f} of PyTorch on {len(images)} images")


if __name__ == "__main__":
    main()
