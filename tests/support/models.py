"""Models of tests: tiny ones that tests build, and real ones, fetched once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from onnx import TensorProto, helper

from processor.models.fetch.fetch import fetch
from processor.models.manifest import ModelEntry, ModelInput, render
from processor.models.store import ModelStore

ROOT = Path(__file__).parents[2]


def brightness_model(size: int = 32) -> bytes:
    """Build a model whose output `mask` [1, 1, size, size] is 1 where pixels are bright.

    It is (mean of the three channels - 0.3) * 2.5, cut to 0 to 1. A second output is `unused`.
    """
    shape = [1, 3, size, size]
    flat = [1, 1, size, size]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["mean", "dark"], ["above"]),
            helper.make_node("Mul", ["above", "slope"], ["steep"]),
            helper.make_node("Clip", ["steep", "zero", "one"], ["mask"]),
            helper.make_node("Neg", ["mask"], ["unused"]),
        ],
        "brightness",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, flat),
            helper.make_tensor_value_info("unused", TensorProto.FLOAT, flat),
        ],
        [
            helper.make_tensor(name, TensorProto.FLOAT, [], [value])
            for name, value in (("dark", 0.3), ("slope", 2.5), ("zero", 0.0), ("one", 1.0))
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="test"
    )
    return model.SerializeToString()


def counting_model(batch: int | str = "n", side: int | str = 4, *, reshaped: bool = False) -> bytes:
    """Build a model whose output `seen` [n, 2] has the batch's size and each picture's mean.

    Inputs are [batch, 3, side, side]. With `batch` 1 it takes one picture, though its graph would
    take more; where it is `reshaped`, its graph fails with another number of them.
    """
    nodes = [
        helper.make_node("Reshape" if reshaped else "Identity", ["pixels"], ["whole"]),
        helper.make_node("ReduceMean", ["whole"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["ones"]),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Add", ["nothing", "sum"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "last"], ["first"]),
        helper.make_node("Unsqueeze", ["mean", "last"], ["second"]),
        helper.make_node("Concat", ["first", "second"], ["seen"], axis=1),
    ]
    if reshaped:
        nodes[0].input.append("one picture")
    graph = helper.make_graph(
        nodes,
        "counting",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("seen", TensorProto.FLOAT, [batch, 2])],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("last", TensorProto.INT64, [1], [1]),
            helper.make_tensor("one picture", TensorProto.INT64, [4], [1, 3, 4, 4]),
        ],
    )
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="test")
    return model.SerializeToString()


def counting_entry(data: bytes, name: str = "counting") -> ModelEntry:
    """Make the manifest entry of a counting model."""
    digest = hashlib.sha256(data).hexdigest()
    return ModelEntry(name=name, task="count", sha256=(digest,), output="seen")


def brightness_entry(data: bytes, name: str = "brightness", **facts: object) -> ModelEntry:
    """Make the manifest entry of a brightness model; `facts` are more of its fields."""
    recipe = ModelInput(scale="255", mean=(0, 0, 0))
    known = {
        "name": name,
        "task": "remove-background",
        "sha256": (hashlib.sha256(data).hexdigest(),),
        "output": "mask",
        "input": recipe,
    }
    return ModelEntry.model_validate({**known, **facts})


def install(home: Path, data: bytes, entry: ModelEntry) -> ModelStore:
    """Put a model and its entry into `home`; return the store of that home."""
    home.mkdir(parents=True, exist_ok=True)
    (home / entry.file_name).write_bytes(data)
    (home / f"{entry.name}.toml").write_text(render(entry), encoding="utf-8")
    return ModelStore(home)


def real_store(*names: str) -> ModelStore:
    """Open the store that `make up` of this checkout uses; fetch the named models if missing."""
    home = Path(os.environ.get("IMAGEMILL_HOME") or ROOT / ".imagemill")
    local = os.environ.get("IMAGEMILL_MODELS")
    store = ModelStore(home / "models", Path(local) if local else None)
    manifest = store.manifest()
    for name in names:
        fetch(manifest.models[name], store, lambda done, total: None, print)
    return store
