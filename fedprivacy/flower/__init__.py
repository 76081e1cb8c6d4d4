"""Any Flower strategy with a private sum in the place of its clients' models.

`PrivateStrategy` wraps the strategy of a ServerApp, `privacy_mod` is the mod of its ClientApp. Both
are imported when they are first asked for; without Flower that raises `MissingExtra`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fedprivacy.errors import MissingExtra

if TYPE_CHECKING:
    from fedprivacy.flower.mod import privacy_mod
    from fedprivacy.flower.strategy import PrivateStrategy

__all__ = ["PrivateStrategy", "privacy_mod"]

_HOME = {
    "PrivateStrategy": "fedprivacy.flower.strategy",
    "privacy_mod": "fedprivacy.flower.mod",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module, once (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("flwr") is None:
        raise MissingExtra("flower", f"fedprivacy.flower.{name}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
