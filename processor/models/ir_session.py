"""An OpenVINO IR loaded with the OpenVINO package, used like an onnxruntime session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openvino
from numpy.typing import NDArray

from processor.models.providers import NAMES


@dataclass(frozen=True)
class IrArgument:
    """An input or output, under onnxruntime's names for its facts."""

    name: str
    shape: tuple[int, ...]
    type: str = "tensor(float)"


class IrSession:
    """One inference at a time, as every pool process does them."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        """Raises RuntimeError where the files are no IR."""
        compiled = openvino.Core().compile_model(path, "CPU", dict(options))
        self._request = compiled.create_infer_request()
        self._inputs = [_argument(port) for port in compiled.inputs]
        self._outputs = [_argument(port) for port in compiled.outputs]

    def get_inputs(self) -> Sequence[IrArgument]:
        """The inputs, in the model's order."""
        return self._inputs

    def get_outputs(self) -> Sequence[IrArgument]:
        """The outputs, in the model's order."""
        return self._outputs

    def get_providers(self) -> Sequence[str]:
        """OpenVINO, under the name that it has as a provider of onnxruntime."""
        return [NAMES["openvino"]]

    def get_modelmeta(self) -> Any:
        """No metadata: the IR has only the graph."""
        return SimpleNamespace(custom_metadata_map={})

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]:
        """The named outputs, or all.

        Raises:
            RuntimeError: the inputs are not of the model's shape.
        """
        results = self._request.infer(dict(input_feed), share_inputs=True)
        names = [one.name for one in self._outputs] if output_names is None else output_names
        return [results[name] for name in names]


def _argument(port: Any) -> IrArgument:
    return IrArgument(port.get_any_name(), tuple(port.shape))
