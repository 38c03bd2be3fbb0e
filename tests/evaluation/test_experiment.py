import pytest

from comdefend.errors import DataMissingError, InputError
from comdefend.evaluation.experiment import AttackPlan, DefensePlan
from comdefend.evaluation.loading import build_experiment, load_experiment
from comdefend.evaluation.shipped import experiments, profiles_of

PLAIN = {
    "name": "x", "title": "X", "data": "mnist", "classifier": "fashion-mnist-small",
    "defenses": ["none", "bits:3"],
    "oblivious": [{"attack": "fgsm", "eps": [2, 8]}, {"attack": "deepfool"}],
    "adaptive": [{"attack": "pgd", "eps": [8], "steps": 5}],
}  # fmt: skip

DEFENSE = {"data": "mnist", "purifier": "gray-4bpp", "classifier": "x", "epochs": 1}


@pytest.mark.parametrize("name", experiments())
def test_shipped_experiments_are_sound(name):
    assert "small" in profiles_of(name)
    for profile in profiles_of(name):
        experiment = load_experiment(name, profile)
        assert experiment.name == f"{name}-{profile}"
        # An oblivious figure has an adaptive one beside it at each bound.
        bounds = {eps for plan in experiment.adaptive for eps in plan.eps}
        assert {eps for plan in experiment.oblivious for eps in plan.eps} <= bounds


def test_an_experiment_survives_the_way_through_its_record():
    experiment = build_experiment(PLAIN, "test")
    assert experiment.defenses == (DefensePlan("none", "none"), DefensePlan("bits:3", "bits:3"))
    assert experiment.oblivious[0] == AttackPlan("fgsm", (2, 8))
    assert build_experiment(experiment.to_dict(), "record") == experiment


def test_rows_may_train_what_they_evaluate():
    recipe = {"data": "mnist", "steps": 250, "network": {"phi": 0}}
    row = {"name": "no noise", "train_purifier": recipe}
    built = build_experiment({**PLAIN, "defenses": [row]}, "test")
    assert built.defenses[0].train_purifier.network.phi == 0
    assert build_experiment(built.to_dict(), "record") == built


def test_rows_may_name_a_shipped_recipe():
    row = {"name": "hgd", "train_purifier": "cifar10-hgd"}
    built = build_experiment({**PLAIN, "defenses": [row]}, "test")
    assert built.defenses[0].train_purifier.classifier == "cifar10-small"
    assert build_experiment(built.to_dict(), "record") == built


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adaptive": []}, "no oblivious figure stands alone"),
        ({"defenses": []}, "defenses: name at least one"),
        ({"defenses": ["none", "none"]}, "two rows of the same name"),
        ({"defenses": [{"purifier": "x"}]}, r"defenses\[0\]: needs 'name'"),
        ({"defenses": [{"name": "a", "train_purifier": "magic"}]}, "unknown recipe 'magic'"),
        (
            {"defenses": [{"name": "a", "purifier": "bits:3", "train_defense": DEFENSE}]},
            "makes all",
        ),
        (
            {
                "defenses": [
                    {
                        "name": "a",
                        "train_purifier": {"kind": "classifier", "data": "mnist", "epochs": 1},
                    }
                ]
            },
            "kind must be purifier or denoiser or pixelcnn, not 'classifier'",
        ),
        (
            {"train_classifier": "fashion-mnist-small", "checkpoint": "c.pt"},
            "a classifier that is trained takes no checkpoint",
        ),
        (
            {"defenses": [{"name": "a", "train_purifier": {"data": "mnist"}}]},
            "train_purifier: needs '(network|steps)'",
        ),
        ({"oblivious": [{"attack": "magic", "eps": [8]}]}, "unknown attack 'magic'; known: fgsm"),
        ({"oblivious": [{"attack": "fgsm"}]}, "'fgsm' needs eps"),
        (
            {"oblivious": [{"attack": "fgsm", "eps": [0]}]},
            "eps must be whole numbers of 1/255, from 1 to 255, not 0",
        ),
        ({"oblivious": [{"attack": "fgsm", "eps": [0.5]}]}, "eps must be whole numbers of 1/255"),
        (
            {"oblivious": [{"attack": "fgsm", "eps": [float("nan")]}]},
            "must be a finite number, not nan",
        ),
        (
            {"oblivious": [{"attack": "fgsm", "eps": [float("inf")]}]},
            "must be a finite number, not inf",
        ),
        ({"oblivious": [{"attack": "fgsm", "eps": ["x"]}]}, "eps.0.: must be 'float', not 'str'"),
        ({"oblivious": [{"attack": "fgsm", "eps": 8}]}, "eps: must be a list, not 'int'"),
        ({"query": [{"attack": "pgd", "eps": [8]}]}, "query: attacks must be without gradients"),
        ({"name": "../x"}, "name must be that of a folder"),
        ({"mean": 0.5, "std": 0.5}, "mean: must be"),
        ({"defenses": [{"name": "none", "purifier": "bits:3"}]}, "must be the bare classifier"),
        ({"oblivious": "fgsm"}, "oblivious: must be a list"),
        (
            {"oblivious": [{"attack": "fgsm", "eps": [8], "speed": 1}]},
            "unknown field 'speed'; known: attack, eps",
        ),
        ({"oblivious": [{"attack": "fgsm", "eps": [8], "step_size": 1}]}, "fgsm takes no step"),
        (
            {"adaptive": [{"attack": "pgd", "eps": [8], "made_on": "x"}]},
            "made_on and rounded are for oblivious attacks",
        ),
        ({"stand_ins": ["magic"]}, "unknown stand-ins"),
        (
            {"adaptive": [{"attack": "pgd", "eps": [8], "stand_ins": ["magic"]}]},
            "unknown stand-ins",
        ),
        ({"stand_ins": []}, "stand_ins: name at least one"),
        ({"images": -1}, "images must not be negative"),
        ({"images": "many"}, "images: must be 'int', not 'str'"),
        ({"mean": [0.5]}, "mean and std: give both or neither"),
        ({"speed": 1}, "unknown field 'speed'; known: name, title"),
    ],
)
def test_bad_experiments_are_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        build_experiment({**PLAIN, **change}, "mine.yaml")
    assert "\n" not in str(caught.value)


def test_unknown_experiments_and_profiles(tmp_path):
    with pytest.raises(InputError, match="unknown experiment 'x'; shipped: cifar10"):
        load_experiment("x")
    with pytest.raises(DataMissingError, match="no such file"):
        load_experiment(str(tmp_path / "x.yaml"))
    with pytest.raises(InputError, match="no profile 'huge'; it has: small"):
        load_experiment("cifar10", "huge")
