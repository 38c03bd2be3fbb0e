"""ComDefend: a learned compression shield for image classifiers.

The names below are all that most users need; each is imported when first asked for, so that
``import comdefend`` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

from comdefend._version import __version__

if TYPE_CHECKING:
    from comdefend.api import Evaluation, evaluate
    from comdefend.certificate import Certificate, certify
    from comdefend.codec import compress, decompress
    from comdefend.defenses import DefendedClassifier
    from comdefend.engines import open_engine
    from comdefend.errors import ComdefendError
    from comdefend.nn.config import PurifierConfig
    from comdefend.nn.purifier import ComDefend
    from comdefend.purify.files import purify_files
    from comdefend.zoo import classifier_weights, load, load_classifier, load_record, weights

_HOMES = {
    "Certificate": "comdefend.certificate",
    "ComDefend": "comdefend.nn.purifier",
    "ComdefendError": "comdefend.errors",
    "DefendedClassifier": "comdefend.defenses",
    "Evaluation": "comdefend.api",
    "PurifierConfig": "comdefend.nn.config",
    "certify": "comdefend.certificate",
    "classifier_weights": "comdefend.zoo",
    "compress": "comdefend.codec",
    "decompress": "comdefend.codec",
    "evaluate": "comdefend.api",
    "load": "comdefend.zoo",
    "load_classifier": "comdefend.zoo",
    "load_record": "comdefend.zoo",
    "open_engine": "comdefend.engines",
    "purify_files": "comdefend.purify.files",
    "weights": "comdefend.zoo",
}

__all__ = [
    "Certificate",
    "ComDefend",
    "ComdefendError",
    "DefendedClassifier",
    "Evaluation",
    "PurifierConfig",
    "__version__",
    "certify",
    "classifier_weights",
    "compress",
    "decompress",
    "evaluate",
    "load",
    "load_classifier",
    "load_record",
    "open_engine",
    "purify_files",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'comdefend' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
