import pytest
import torch
from PIL import Image

from comdefend.common.schema import build
from comdefend.data.image_set import ImageSet
from comdefend.data.shipped import fashion_images
from comdefend.errors import InputError
from comdefend.evaluation.given import Given
from comdefend.evaluation.loading import build_experiment
from comdefend.evaluation.run import Run
from comdefend.evaluation.subjects import Subjects
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import load_record, save_weights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shipped images as a folder: eight of each class to train on, two to test on."""
    place = tmp_path_factory.mktemp("images")
    images, labels = fashion_images()
    for label in range(10):
        for number, index in enumerate((labels == label).nonzero().flatten()[:10].tolist()):
            folder = place / ("test" if number < 2 else "train") / f"{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[index, 0].numpy()).save(folder / f"{index}.png")
    return f"folder:{place}"


def test_a_recipe_is_trained_once_however_many_rows_use_it(data, tmp_path):
    network = {"channels": 1, "widths": [4, 4, 4, 4], "mean": [0.5], "std": [0.25]}
    classifier = {"data": data, "epochs": 1, "batch": 16, "validation": 8, "network": network}
    layers = {
        "channels": 1,
        "encoder_widths": [4],
        "decoder_widths": [4],
        "code_maps": 2,
        "rates": [1],
    }
    purifier = {
        "data": data, "steps": 2, "epoch_steps": 2, "validation": 8, "batch": 2, "network": layers,
    }  # fmt: skip
    start = tmp_path / "start.safetensors"
    save_weights(start, ComDefend(build(PurifierConfig, layers, "layers")), {})
    defense = {
        "data": data, "purifier": str(start), "classifier": "fashion-mnist-small", "epochs": 1,
        "batch": 16, "validation": 8,
    }  # fmt: skip
    experiment = build_experiment(
        {
            "name": "x", "title": "X", "data": data, "oblivious": [],
            "adaptive": [{"attack": "pgd", "eps": [8]}],
            "classifier": "small", "train_classifier": classifier,
            "defenses": [
                "none",
                {"name": "shielded", "train_purifier": purifier},
                {"name": "coarse", "train_purifier": purifier, "bpp": 1},
                {"name": "again", "train_purifier": purifier, "train_classifier": classifier},
                {
                    "name": "used to it", "train_purifier": purifier, "bpp": 1, "purified": True,
                    "train_classifier": classifier,
                },
                {"name": "seed 1", "train_classifier": {**classifier, "seed": 1}},
                {"name": "pair", "train_defense": defense},
                {"name": "guard", "train_defense": {**defense, "trained": "purifier"}},
            ],
        },
        "test",
    )  # fmt: skip
    pixels = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    data = ImageSet(pixels, torch.tensor([0, 1, 2, 9]))
    images = pixels.float() / 255
    told: list[str] = []

    def opened():
        subjects = Subjects(experiment, tmp_path, "cpu", data, told.append, Given())
        main = subjects.main()
        return [subjects.open(plan, main) for plan in experiment.defenses]

    none, shielded, coarse, again, used, other, pair, guard = opened()
    assert [message.split(" in ")[0] for message in told] == [
        "training the classifier of 'small'",
        "training the purifier of 'shielded'",
        "training the classifier of 'used to it'",
        "training the classifier of 'seed 1'",
        "training the defense of 'pair'",
        "training the defense of 'guard'",
    ]
    assert none.alone.key == shielded.alone.key == again.alone.key
    assert shielded.key == again.key != none.key
    assert (shielded.purifier.config.bpp, coarse.purifier.config.bpp) == (2, 1)
    assert used.alone.key != again.alone.key
    assert used.purifier.config.bpp == 1
    trained = [load_record(path)["recipe"] for path in tmp_path.rglob("classifier.safetensors")]
    (seen,) = {r["purifier"] for r in trained if r["kind"] == "classifier" and r["purifier"]}
    assert seen.endswith("purifier.safetensors@1")
    assert other.alone.key != none.alone.key
    assert shielded.pipeline()(images).shape == none.pipeline()(images).shape == (4, 10)
    # And not again in a later run.
    keys = [subject.key for subject in (none, shielded, coarse, again, used, other, pair, guard)]
    assert [subject.key for subject in opened()] == keys
    assert len(told) == 6
    assert pair.origins("x") == {"purifier": "trained here", "classifier": "trained here"}
    assert guard.origins("x") == {
        "purifier": "trained here", "classifier": "fashion-mnist-small",
    }  # fmt: skip
    assert none.origins("x") == {"purifier": "none", "classifier": "x"}


def test_folders_with_some_of_the_classes_find_theirs(tmp_path):
    images, labels = fashion_images()
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    for label in (8, 3):
        folder = tmp_path / "images" / "abcdefghij"[label]
        folder.mkdir(parents=True)
        Image.fromarray(images[labels == label][0, 0].numpy()).save(folder / "0.png")

    def run(**changes):
        plain = {
            "name": "some", "title": "Some", "data": f"folder:{tmp_path / 'images'}",
            "classifier": "fashion-mnist-small", "defenses": ["none"],
            "adaptive": [{"attack": "pgd", "eps": [2]}], **changes,
        }  # fmt: skip
        return Run(build_experiment(plain, "test"), tmp_path / "run")

    assert set(run(classes=str(tmp_path / "names.txt")).data.labels.tolist()) == {3, 8}
    assert set(run(classes=list("abcdefghij")).data.labels.tolist()) == {3, 8}
    with pytest.raises(InputError, match=r"has 2 classes \(d, i\), the classifier has 10"):
        run()
