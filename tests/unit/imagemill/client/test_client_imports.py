"""The client starts without the packages of the services."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "aiohttp", "aiokafka", "boto3", "confluent_kafka", "cv2", "faust", "numpy", "onnxruntime",
    "PIL", "pydantic_settings", "rocksdict", "scipy", "standardwebhooks",
}  # fmt: skip


def test_the_client_imports_none_of_the_services_packages() -> None:
    code = "import imagemill, sys; imagemill.Client; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(found.stdout.split()) == set()


def test_the_version_needs_no_http_client() -> None:
    code = "import imagemill, sys; print(imagemill.__version__, 'httpx' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[1] == "False"
