"""The cards beside the shipped weights: written from their records."""

import pytest

import comdefend
from comdefend import zoo
from comdefend.training.run import model_card
from tools.ship_weights import SHIPPED


@pytest.mark.parametrize("name", [*zoo.weights(), *zoo.classifier_weights()])
def test_cards_are_those_of_their_records(name):
    text, expected = (SHIPPED / f"{name}.md").read_text(), model_card(comdefend.load_record(name))
    assert text == expected, "run: python -m tools.ship_weights --cards"
