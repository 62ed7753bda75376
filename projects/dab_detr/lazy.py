"""Public names of a package that are imported on first use, so that importing the package is fast."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package (PEP 562).

    package: its `__name__`. places: the relative module of each public name, {"Predictor": ".predictor"}. If a name is
        its module's own name, as in {"yacs": ".yacs"}, it stands for the module itself.
    """

    def get(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(places[name], package)
        return module if places[name] == f".{name}" else getattr(module, name)

    return get
