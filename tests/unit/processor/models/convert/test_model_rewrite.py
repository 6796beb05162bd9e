"""Rewritten graphs compute the same function, whatever constants they are centred by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from imagemill.operations import OperationError
from processor.models import providers, runtime
from processor.models.convert import openvino_ir, rewrite
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from tests.support.models import brightness_entry, brightness_model, install

SIZE = 12


def little_unet() -> onnx.ModelProto:
    """Every operation of u2netp in one small graph, with sizes worked out in the graph."""
    random = np.random.default_rng(7)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.4, shape).astype(np.float32), name)

    def conv(name: str, source: str, weight: str, bias: str, dilation: int) -> onnx.NodeProto:
        facts = {"pads": [dilation] * 4, "dilations": [dilation] * 2, "kernel_shape": [3, 3]}
        return helper.make_node("Conv", [source, weight, bias], [f"{name}_out"], name, **facts)

    nodes = [
        conv("Conv_0", "picture", "w0", "b0", 1),
        helper.make_node("Relu", ["Conv_0_out"], ["relu_0"], "Relu_0"),
        helper.make_node(
            "MaxPool", ["relu_0"], ["pooled"], "Pool", kernel_shape=[2, 2], strides=[2, 2]
        ),
        conv("Conv_1", "pooled", "w1", "b1", 2),
        helper.make_node("Relu", ["Conv_1_out"], ["relu_1"], "Relu_1"),
        helper.make_node("Shape", ["relu_1"], ["shape_of"], "Shape_1"),
        helper.make_node("Shape", ["relu_0"], ["shape_to"], "Shape_0"),
        helper.make_node("Slice", ["shape_of", "zero", "two"], ["head"], "Slice_1"),
        helper.make_node("Slice", ["shape_to", "two", "four"], ["tail"], "Slice_0"),
        helper.make_node("Concat", ["head", "tail"], ["sizes"], "Sizes", axis=0),
        helper.make_node(
            "Resize",
            ["relu_1", "none", "none", "sizes"],
            ["large"],
            "Resize_0",
            mode="linear",
            coordinate_transformation_mode="pytorch_half_pixel",
        ),
        helper.make_node("Concat", ["large", "relu_0"], ["both"], "Both", axis=1),
        conv("Conv_2", "both", "w2", "b2", 1),
        helper.make_node("Add", ["Conv_2_out", "Conv_0_out"], ["sum"], "Sum"),
        helper.make_node("Sigmoid", ["sum"], ["mask"], "Sigmoid_0"),
        helper.make_node("Neg", ["mask"], ["unused"], "Neg_0"),
    ]
    constants = [
        weights("w0", 4, 3, 3, 3),
        weights("b0", 4),
        weights("w1", 5, 4, 3, 3),
        weights("b1", 5),
        weights("w2", 4, 9, 3, 3),
        weights("b2", 4),
        numpy_helper.from_array(np.zeros(0, np.float32), "none"),
        *(
            numpy_helper.from_array(np.array([number], np.int64), name)
            for name, number in (("zero", 0), ("two", 2), ("four", 4))
        ),
    ]
    shape = [1, 4, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "unet",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("mask", "unused")],
        constants,
    )
    opsets = [helper.make_opsetid("", 11)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="test")


ORIGINAL = little_unet()
DATA = ORIGINAL.SerializeToString()
PICTURE = np.random.default_rng(3).normal(0, 1, (1, 3, SIZE, SIZE)).astype(np.float32)


def computed(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["mask"], {"picture": PICTURE})[0]


def fixed() -> onnx.ModelProto:
    return rewrite.fix_shapes(rewrite.only_output(DATA, "mask"))


def test_what_an_output_needs_is_kept_in_whatever_order_it_is_listed() -> None:
    model = little_unet()
    shuffled = onnx.ModelProto.FromString(model.SerializeToString())
    nodes = list(reversed(model.graph.node))
    shuffled.graph.ClearField("node")
    shuffled.graph.node.extend(nodes)
    expected = rewrite.only_output(model.SerializeToString(), "mask").graph
    kept = rewrite.only_output(shuffled.SerializeToString(), "mask").graph
    assert {node.name for node in kept.node} == {node.name for node in expected.node}
    assert {one.name for one in kept.initializer} == {one.name for one in expected.initializer}
    assert len(expected.node) > 10


def test_one_output_is_left_and_what_only_others_needed_is_gone() -> None:
    model = rewrite.only_output(DATA, "mask")
    assert [one.name for one in model.graph.output] == ["mask"]
    assert "Neg" not in {node.op_type for node in model.graph.node}
    np.testing.assert_array_equal(computed(model), computed(ORIGINAL))


def test_the_first_output_is_taken_where_none_is_named() -> None:
    assert rewrite.only_output(DATA, None).graph.output[0].name == "mask"


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(rewrite.RewriteError, match="'depth'"):
        rewrite.only_output(DATA, "depth")


def test_a_file_that_is_no_model_is_an_error() -> None:
    with pytest.raises(rewrite.RewriteError, match="not an ONNX file"):
        rewrite.only_output(b"\x89PNG", None)


def test_fixed_shapes_leave_no_shape_arithmetic() -> None:
    model = fixed()
    assert not {"Shape", "Slice"} & {node.op_type for node in model.graph.node}
    np.testing.assert_array_equal(computed(model), computed(ORIGINAL))


CHANNELS = st.dictionaries(st.integers(0, 3), st.floats(-300, 300, width=32), max_size=4)


@settings(max_examples=30)
@given(first=CHANNELS, second=CHANNELS)
def test_centring_by_any_constants_is_the_same_function(
    first: dict[int, float], second: dict[int, float]
) -> None:
    model = rewrite.centre(fixed(), {"Relu_0": first, "Relu_1": second})
    np.testing.assert_allclose(computed(model), computed(ORIGINAL), atol=2e-3)


def test_centring_makes_the_next_tensor_small() -> None:
    model = rewrite.centre(fixed(), {"Relu_0": {2: 226.0}})
    added = {node.name for node in model.graph.node} - {node.name for node in fixed().graph.node}
    assert added == {"Relu_0_centre", "Conv_1_map", "Conv_2_map"}


@pytest.mark.parametrize(
    ("constants", "reason"),
    [
        ({"Relu_9": {0: 1.0}}, "no ReLU Relu_9"),
        ({"Relu_0": {4: 1.0}}, "no channel 4"),
    ],
)
def test_constants_for_another_graph_are_refused(
    constants: dict[str, dict[int, float]], reason: str
) -> None:
    with pytest.raises(rewrite.RewriteError, match=reason):
        rewrite.centre(fixed(), constants)


def test_a_centred_channel_that_cannot_be_given_back_is_refused() -> None:
    model = fixed()
    model.graph.node.append(helper.make_node("Sigmoid", ["relu_1"], ["second"], "Sigmoid_1"))
    model.graph.output.append(
        helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 5, SIZE // 2, SIZE // 2])
    )
    with pytest.raises(rewrite.RewriteError, match="Sigmoid_1"):
        rewrite.centre(model, {"Relu_1": {0: 1.0}})


def ir_nodes(tmp_path: Path, bfloat16: list[str]) -> list[openvino.Node]:
    """The nodes of the little network as OpenVINO reads them back, constants left out."""
    ir = openvino_ir.write(fixed(), bfloat16)
    (tmp_path / "unet.xml").write_bytes(ir.xml)
    (tmp_path / "unet.bin").write_bytes(ir.weights)
    graph = openvino.Core().read_model(tmp_path / "unet.xml")
    return [node for node in graph.get_ordered_ops() if node.get_type_name() != "Constant"]


def test_an_ir_marks_all_but_the_named_convolutions_as_precise(tmp_path: Path) -> None:
    nodes = ir_nodes(tmp_path, ["Conv_1"])
    # OpenVINO 2026.4 writes the mark as DisablePrecisionConversion, earlier ones as precise.
    free = {
        node.get_friendly_name()
        for node in nodes
        if not any("precis" in key.lower() for key in node.get_rt_info())
    }
    assert free == {"Conv_1/WithoutBiases"}


def test_an_ir_has_the_versions_whose_mark_is_kept(tmp_path: Path) -> None:
    nodes = ir_nodes(tmp_path, [])
    versions = {node.get_type_name(): node.get_type_info().version_id for node in nodes}
    assert versions["MaxPool"] == "opset1"
    assert versions["Interpolate"] == "opset4"


def test_an_ir_is_the_same_bytes_each_time() -> None:
    assert openvino_ir.write(fixed(), ["Conv_1"]) == openvino_ir.write(fixed(), ["Conv_1"])


def test_a_pooling_whose_mark_would_be_lost_is_refused_by_name() -> None:
    model = fixed()
    [pool] = [node for node in model.graph.node if node.op_type == "MaxPool"]
    pool.attribute.append(helper.make_attribute("dilations", [2, 2]))
    with pytest.raises(openvino_ir.UnsupportedGraph, match="Pool is dilated or gives indices"):
        openvino_ir.write(model, [])


def test_an_ir_needs_the_named_convolutions() -> None:
    with pytest.raises(openvino_ir.UnsupportedGraph, match="no convolution Conv_9"):
        openvino_ir.write(fixed(), ["Conv_9"])


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    facts = {"input": None, "centre": {"Relu_0": {1: 5.5}}, "bf16": ("Conv_1",)}
    return install(tmp_path / "models", DATA, brightness_entry(DATA, "unet", **facts))


@pytest.mark.parametrize("precision", ["balanced", "fast"])
def test_a_low_precision_is_the_same_model_to_its_rounding(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(providers, "has_bfloat16", lambda: True)
    session = ModelLoader(store).session("unet", precision=precision)
    assert (session.used.precision, session.used.provider) == (precision, "openvino")
    np.testing.assert_allclose(session.run(PICTURE), computed(ORIGINAL), atol=0.05)


def test_balanced_without_openvinos_package_says_what_to_do(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "has_bfloat16", lambda: True)
    monkeypatch.setattr(runtime, "reads_ir", lambda: False)
    loader = ModelLoader(store)
    with pytest.raises(OperationError, match=r"package openvino.*use precision exact or fast"):
        loader.session("unet", precision="balanced")
    assert loader.session("unet", precision="fast").used.precision == "fast"


def test_a_workers_precision_is_used_where_a_job_names_none(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "has_bfloat16", lambda: True)
    loader = ModelLoader(store, precision="fast")
    assert loader.session("unet").used.precision == "fast"
    assert loader.session("unet", precision="exact").used.precision == "exact"


def test_a_manifest_that_does_not_fit_the_file_is_the_operators_error(tmp_path: Path) -> None:
    data = brightness_model()
    store = install(tmp_path / "models", data, brightness_entry(data, output="depth"))
    with pytest.raises(
        OperationError, match=r"no output 'depth'.*imagemill models add FILE --name brightness"
    ):
        ModelLoader(store).session("brightness")
