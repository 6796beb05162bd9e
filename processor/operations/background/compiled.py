"""The functions of PyMatting that matting needs, loaded without the rest of the package.

numba compiles them at their first import on a machine, which takes 12 s of CPU, and caches the
result beside them or in NUMBA_CACHE_DIR. `import pymatting` would compile six times as much.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def _function(module: str) -> Any:
    """Return the function that has the name of its module.

    The module is loaded from its file: the packages around it import every module.
    """
    package = find_spec("pymatting")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("PyMatting is not installed", name="pymatting")
    path = Path(package.origin).parent.joinpath(*module.split(".")).with_suffix(".py")
    spec = spec_from_file_location(f"pymatting.{module}", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"PyMatting has no {module}", name=f"pymatting.{module}")
    loaded = module_from_spec(spec)
    # numba looks the module up by its name.
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return getattr(loaded, path.stem)


cf_laplacian = _function("laplacian.cf_laplacian")
cg = _function("solver.cg")
estimate_foreground_ml = _function("foreground.estimate_foreground_ml")
ichol = _function("preconditioner.ichol")
