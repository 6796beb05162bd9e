"""The parts of PyMatting that edges need, loaded without the rest of it.

numba compiles them at their first import on a machine and keeps that beside them, or in
NUMBA_CACHE_DIR: twelve seconds of CPU. `import pymatting` would compile six times as much.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def _function(module: str) -> Any:
    """The function of that module of PyMatting which is called like it.

    Its packages are passed by: they import every module there is.
    """
    package = find_spec("pymatting")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("PyMatting is not installed", name="pymatting")
    path = Path(package.origin).parent.joinpath(*module.split(".")).with_suffix(".py")
    spec = spec_from_file_location(f"pymatting.{module}", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"PyMatting has no {module}", name=f"pymatting.{module}")
    loaded = module_from_spec(spec)
    # numba looks for the module under its name.
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return getattr(loaded, path.stem)


cf_laplacian = _function("laplacian.cf_laplacian")
cg = _function("solver.cg")
estimate_foreground_ml = _function("foreground.estimate_foreground_ml")
ichol = _function("preconditioner.ichol")
