"""Loading: once per process, from verified files only, errors that say what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from imagemill.operations import OperationError
from processor.models import providers
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from schemas.errors import ErrorCode
from tests.support.models import brightness_entry, brightness_model, install

DATA = brightness_model()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return install(tmp_path / "models", DATA, brightness_entry(DATA))


def code_of(error: pytest.ExceptionInfo[OperationError]) -> ErrorCode:
    return error.value.error.code


def offered(loader: ModelLoader) -> tuple[str, ...]:
    """The precisions that `brightness` is told to have."""
    return next(one.precisions for one in loader.known() if one.name == "brightness")


def test_a_loaded_model_gives_the_named_output(store: ModelStore) -> None:
    session = ModelLoader(store).session("brightness")
    pixels = np.full((1, 3, 32, 32), 0.4, np.float32)
    assert session.output == "mask"
    np.testing.assert_allclose(session.run(pixels), 0.25, rtol=1e-5)


def test_it_reports_name_sum_provider_and_precision(store: ModelStore) -> None:
    session = ModelLoader(store, providers="cpu").session("brightness")
    assert session.used.name == "brightness"
    assert session.used.sha256 == brightness_entry(DATA).sha256[0]
    assert session.used.provider == "cpu"
    assert session.used.precision == "exact"


def test_only_the_asked_for_output_is_computed(store: ModelStore) -> None:
    session = ModelLoader(store).session("brightness")
    assert [one.name for one in session.inference.get_outputs()] == ["mask"]


def test_a_second_call_gives_the_same_session(store: ModelStore) -> None:
    loader = ModelLoader(store)
    assert loader.session("brightness") is loader.session("brightness", task="remove-background")


def test_a_model_that_is_added_reaches_a_loader_that_runs(tmp_path: Path) -> None:
    loader = ModelLoader(ModelStore(tmp_path))
    install(tmp_path, DATA, brightness_entry(DATA))
    assert loader.session("brightness").used.sha256 == brightness_entry(DATA).sha256[0]


def test_a_model_that_is_replaced_is_loaded_anew(store: ModelStore) -> None:
    loader = ModelLoader(store)
    before = loader.session("brightness")
    other = brightness_model(16)
    install(store.home, other, brightness_entry(other))
    after = loader.session("brightness")
    assert after.used.sha256 == brightness_entry(other).sha256[0] != before.used.sha256
    assert loader.session("brightness") is after


def test_a_manifest_file_that_breaks_leaves_the_models_that_were_known(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    loader = ModelLoader(store)
    (store.home / "other.toml").write_text("[models.a\n")
    for _ in range(2):
        assert loader.session("brightness").used.name == "brightness"
    [said] = [one.message for one in caplog.records]
    assert "other.toml is not TOML" in said


def test_a_missing_model_names_the_fetch_command(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="imagemill models fetch u2netp") as caught:
        ModelLoader(ModelStore(tmp_path)).session("u2netp")
    assert code_of(caught) is ErrorCode.MODEL_UNAVAILABLE


def test_a_file_with_another_sum_is_never_loaded(store: ModelStore) -> None:
    (store.home / "brightness.onnx").write_bytes(brightness_model(16))
    with pytest.raises(OperationError, match="models add FILE --name brightness") as caught:
        ModelLoader(store).session("brightness")
    assert code_of(caught) is ErrorCode.MODEL_UNAVAILABLE
    assert "sha256" in str(caught.value)


def test_a_model_that_came_after_the_error_is_loaded(store: ModelStore, tmp_path: Path) -> None:
    path = store.home / "brightness.onnx"
    path.rename(tmp_path / "away")
    loader = ModelLoader(store)
    with pytest.raises(OperationError):
        loader.session("brightness")
    (tmp_path / "away").rename(path)
    assert loader.session("brightness").used.name == "brightness"


def test_a_damaged_rewrite_is_made_anew(store: ModelStore) -> None:
    ModelLoader(store).session("brightness")
    [kept] = (store.home / "prepared").glob("*.onnx")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + b"?")
    session = ModelLoader(store).session("brightness")
    assert session.output == "mask"
    assert kept.read_bytes() == whole


def test_an_unknown_model_is_the_senders_error(store: ModelStore) -> None:
    with pytest.raises(OperationError, match=r"known are .*brightness") as caught:
        ModelLoader(store).session("sharpness")
    assert code_of(caught) is ErrorCode.PARAMS_INVALID


def test_a_model_of_another_task_is_the_senders_error(store: ModelStore) -> None:
    with pytest.raises(OperationError, match="no detect-objects model") as caught:
        ModelLoader(store).session("brightness", task="detect-objects")
    assert code_of(caught) is ErrorCode.PARAMS_INVALID


def test_a_precision_the_model_has_not_is_the_senders_error(store: ModelStore) -> None:
    with pytest.raises(OperationError, match="only exact") as caught:
        ModelLoader(store).session("brightness", precision="fast")
    assert code_of(caught) is ErrorCode.PARAMS_INVALID


def test_a_workers_precision_leaves_models_without_it_exact(store: ModelStore) -> None:
    session = ModelLoader(store, precision="fast").session("brightness")
    assert session.used.precision == "exact"


def test_a_low_precision_is_refused_without_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "has_bfloat16", lambda: False)
    entry = brightness_entry(DATA, centre={"Relu": {0: 5.0}})
    store = install(tmp_path / "models", DATA, entry)
    loader = ModelLoader(store, providers="cpu")
    with pytest.raises(OperationError, match=r"bfloat16 .*use precision exact") as caught:
        loader.session("brightness", precision="fast")
    assert offered(loader) == ("exact",)
    assert code_of(caught) is ErrorCode.MODEL_UNAVAILABLE


def test_a_low_precision_is_refused_off_openvino(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "has_bfloat16", lambda: True)
    entry = brightness_entry(DATA, centre={"Relu": {0: 5.0}})
    store = install(tmp_path / "models", DATA, entry)
    loader = ModelLoader(store, providers="cpu")
    with pytest.raises(OperationError, match="openvino execution provider") as caught:
        loader.session("brightness", precision="fast")
    assert offered(loader) == ("exact",)
    assert code_of(caught) is ErrorCode.MODEL_UNAVAILABLE


def test_the_precisions_that_a_worker_computes_in_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "has_bfloat16", lambda: True)
    listed = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    entry = brightness_entry(DATA, centre={"Relu": {0: 5.0}})
    assert offered(ModelLoader(install(tmp_path, DATA, entry))) == ("exact", "fast")


def test_a_wrong_provider_setting_is_the_operators_error(store: ModelStore) -> None:
    with pytest.raises(OperationError, match="unknown execution provider 'gpu'") as caught:
        ModelLoader(store, providers="gpu").session("brightness")
    assert code_of(caught) is ErrorCode.MODEL_UNAVAILABLE


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_leaves_the_model_to_the_next(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As where onnxruntime-gpu is installed without TensorRT's libraries: it lists what it cannot
    # start, and this machine's own provider is the next.
    there = onnxruntime.get_available_providers()
    listed = ["TensorrtExecutionProvider", *there]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    following = providers.short_name(there[0])
    loader = ModelLoader(store, providers=f"tensorrt,{following}", batch_size=1)
    assert loader.session("brightness").used.provider == following
    assert f"brightness runs on {following}: tensorrt did not start" in caplog.text
    [engines] = (store.home / "prepared").glob("brightness-*-tensorrt")
    assert engines.is_dir()


def test_a_failing_run_is_a_model_failure(store: ModelStore) -> None:
    session = ModelLoader(store).session("brightness")
    with pytest.raises(OperationError, match="brightness failed on") as caught:
        session.run(np.zeros((1, 3, 5, 5), np.float32))
    assert code_of(caught) is ErrorCode.MODEL_FAILED


def test_the_default_is_the_one_added_last_of_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "u2netp.onnx").write_bytes(b"the built-in default, installed")
    store = ModelStore(tmp_path)
    loader = ModelLoader(store)
    assert loader.default("remove-background") == "u2netp"
    for written_s, name in enumerate(("zeta", "alpha")):
        install(tmp_path, DATA, brightness_entry(DATA, name, default=True))
        os.utime(tmp_path / f"{name}.toml", (written_s, written_s))
        assert loader.default("remove-background") == name
    assert [one.name for one in store.known() if one.default and one.here] == ["alpha"]
    (tmp_path / "alpha.onnx").unlink()
    assert loader.default("remove-background") == "zeta"


def test_the_default_is_the_built_in_one_when_none_is_there(tmp_path: Path) -> None:
    assert ModelLoader(ModelStore(tmp_path)).default("remove-background") == "u2netp"


def test_a_task_without_default_says_to_name_a_model(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="name one in `model`"):
        ModelLoader(ModelStore(tmp_path)).default("colorize")
