"""Images a second of remove-background: through the whole system, and in a bare loop.

The bare loop is what one writes with onnxruntime and Pillow alone: the same photos, decode, infer,
put the mask in, encode as PNG; as many processes as the system has. Both in one run, alternating;
the ratio is what counts. CPU provider for the loop, the system's default for the system.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import time
import uuid
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from bench._system import ROOT, System, home, system
from schemas import codec
from schemas.events import JobSubmitted
from schemas.jobs import ItemInput
from schemas.times import now

PHOTOS = Path(os.environ.get("IMAGEMILL_SHARED") or ROOT.parent / "shared") / "photos"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photos(count: int) -> list[bytes]:
    """That many photo files, taking turns."""
    files = [path.read_bytes() for path in sorted(PHOTOS.glob("*.png"))]
    return [files[number % len(files)] for number in range(count)]


def bare(files: list[bytes], barrier: object, begun: object) -> None:
    """One process of the bare loop: rembg's steps with u2netp."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        home() / "models" / "u2netp.onnx", options, providers=["CPUExecutionProvider"]
    )
    session.run(["1959"], {"input.1": np.zeros((1, 3, 320, 320), np.float32)})
    barrier.wait()
    begun.value = time.perf_counter()
    for data in files:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        pixels = np.asarray(image.resize((320, 320), Image.Resampling.LANCZOS)) / 255.0
        pixels = ((pixels / max(pixels.max(), 1e-6) - _MEAN) / _STD).transpose(2, 0, 1)[None]
        (mask,) = session.run(["1959"], {"input.1": pixels.astype(np.float32)})
        mask = mask[0, 0]
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        alpha = Image.fromarray((mask * 255).astype("uint8")).resize(
            image.size, Image.Resampling.LANCZOS
        )
        image.putalpha(alpha)
        image.save(io.BytesIO(), "PNG", compress_level=1)  # as the system does


def bare_rate(files: list[bytes], processes: int) -> float:
    """Images a second of so many processes together."""
    context = multiprocessing.get_context("spawn")
    barrier, begun = context.Barrier(processes), context.Value("d", 0.0)
    shares = [files[number::processes] for number in range(processes)]
    running = [context.Process(target=bare, args=(s, barrier, begun)) for s in shares]
    for process in running:
        process.start()
    for process in running:
        process.join()
    return len(files) / (time.perf_counter() - begun.value)


def system_rate(running: System, files: list[bytes], params: dict) -> float:
    """Images a second from the first submit to the last result event."""
    uploads = Path(running.env["IMAGEMILL_HOME"]) / "objects" / "uploads"
    jobs = {}
    for data in files:
        job_id = str(uuid.uuid4())
        (uploads / job_id).mkdir(parents=True)
        (uploads / job_id / "0").write_bytes(data)
        jobs[job_id] = JobSubmitted(
            job_id=job_id,
            operation="remove-background",
            params=params,
            total=1,
            created_at=now(),
            inputs=(ItemInput(key=f"uploads/{job_id}/0", filename="photo.png"),),
        )
    results, producer = running.results(), running.producer()
    start = time.perf_counter()
    for job_id, job in jobs.items():
        encoded = codec.encode(job)
        topic = running.kafka.topic("jobs.normal")
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
    producer.flush(30)
    ended = results.wait_for(set(jobs), 600)
    took = time.perf_counter() - start
    failed = [event["error"] for event in ended.values() if event["status"] != "succeeded"]
    if failed:
        raise RuntimeError(f"{len(failed)} jobs failed, the first with {failed[0]}")
    return len(files) / took


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precisions", default="exact,balanced,fast")
    arguments = parser.parse_args()
    precisions = arguments.precisions.split(",")
    files = photos(arguments.images)
    processes = len(os.sched_getaffinity(0))
    rates: dict[str, list[float]] = {"bare": []} | {name: [] for name in precisions}
    with system("processor") as running:
        for _ in range(arguments.runs):
            rates["bare"].append(bare_rate(files, processes))
            for name in precisions:
                params = {"precision": name} if name != "exact" else {}
                system_rate(running, files[:processes], params)
                rates[name].append(system_rate(running, files, params))
    bare_median = statistics.median(rates["bare"])
    print(f"{'remove-background':<20} {'images/s':>9} {'to the bare loop':>17}")
    for name, values in rates.items():
        median = statistics.median(values)
        print(f"{name:<20} {median:>9.2f} {median / bare_median:>17.2f}")
    print(f"{processes} processes, {len(files)} images, medians of {arguments.runs} runs")


if __name__ == "__main__":
    main()
