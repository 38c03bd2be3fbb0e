"""Weight files by name or path, checked before they are trusted, and the files that ship.

``comdefend.weights()`` lists the names of the shipped purifiers. Importing this package makes it
the attribute ``comdefend.weights``, so it can be called in place of that function.
"""

import sys
from types import ModuleType

RECOMMENDED = "rgb-variable@2"
"""The purifier to take unless something speaks for another: the default of every command."""


class _CallablePackage(ModuleType):
    def __call__(self) -> list[str]:
        """Return the names of the shipped purifiers, for `comdefend.load`."""
        from comdefend.weights.zoo import weights

        return weights()


sys.modules[__name__].__class__ = _CallablePackage
