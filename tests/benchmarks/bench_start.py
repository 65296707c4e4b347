"""How long until `xedm live` is ready, with a cold and a warm compile cache, and what its first frames take.

python tests/benchmarks/bench_start.py
"""

import importlib.util
import json
import os
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

import numpy as np
import zmq
from frames import LEVELS, counts, static_mask

from service.processes import Running, start_live

FRAMES = 12
_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)


def ready_s(cache: str) -> float:
    """Start a service with a compile cache of its own and stop it; return seconds to its ready line."""
    before = os.environ.get("NUMBA_CACHE_DIR")
    os.environ["NUMBA_CACHE_DIR"] = cache
    try:
        with tempfile.TemporaryDirectory() as place:
            begun = time.monotonic()
            live = start_live(Path(place), stream="tcp://127.0.0.1:9")
            seconds = time.monotonic() - begun
            live.stop()
    finally:
        if before is None:
            del os.environ["NUMBA_CACHE_DIR"]
        else:
            os.environ["NUMBA_CACHE_DIR"] = before
    return seconds


def accepted(live: Running) -> int:
    with urllib.request.urlopen(f"{live.ready['http']}/status", timeout=30) as answer:
        return json.load(answer)["counts"]["accepted"]


def first_frames_ms(pixels: np.ndarray) -> list[float]:
    """Send frames to a fresh service one by one; return the milliseconds from sending to being in the books."""
    messages = [wire.image_parts(pixels, 1, number) for number in range(FRAMES)]
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    taken = []
    with tempfile.TemporaryDirectory() as place:
        settings = ["reconstruction.enabled=false", "screening.enabled=false"]
        live = start_live(Path(place), stream=f"tcp://127.0.0.1:{port}", settings=settings)
        socket.send_multipart(wire.header_parts(1, pixels.shape, ntrigger=FRAMES + 1))
        time.sleep(1.0)
        for number, message in enumerate(messages):
            begun = time.perf_counter()
            socket.send_multipart(message, copy=False)
            while accepted(live) <= number:
                pass
            taken.append(1e3 * (time.perf_counter() - begun))
        live.stop()
    socket.close(0)
    context.term()
    return taken


def run(rounds: int) -> dict[str, float]:
    """Measure; medians over `rounds` services."""
    with tempfile.TemporaryDirectory() as cache:
        cold = ready_s(cache)
        warm = median(ready_s(cache) for _ in range(rounds))
    pixels = counts(LEVELS["dense"], static_mask(), 1).astype(np.uint32)
    series = [first_frames_ms(pixels) for _ in range(rounds)]
    row = {
        "cold_s": round(cold, 2),
        "warm_s": round(warm, 2),
        "first_ms": round(median(taken[0] for taken in series), 1),
        "second_ms": round(median(taken[1] for taken in series), 1),
        "tenth_ms": round(median(taken[9] for taken in series), 1),
    }
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


if __name__ == "__main__":
    print(json.dumps(run(5)))
