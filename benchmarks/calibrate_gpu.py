"""A whole model calibrated, rounded and packed on one device, the time of each stage; JSON.

    python -m benchmarks.decode_gpu --work DIR --prepare
    python -m benchmarks.calibrate_gpu --work DIR [--segments 32] [--bits 3] --json FILE
    python -m benchmarks.decode_gpu --work DIR --artifact DIR/calibrated --ways plain,load,int8

Calibrates the checkpoint DIR/standin on a test set of noise (2 to 12 s a segment, the demo's references) that it makes
there, at the step at which Gaussian weights would take so many bits, and builds DIR/calibrated. The work takes about
three times the artifact's space besides.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from itertools import cycle, islice
from pathlib import Path

import soundfile
import torch

from benchmarks.decode_gpu import RATE, make_audio
from iwsltpack.artifact.location import folder_bytes
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.calibration.calibrated_build import build_on
from iwsltpack.calibration.data import CalibrationData, CalibrationRequest
from iwsltpack.calibration.walk import gather
from iwsltpack.runtime.environment import device_name, peak_device_bytes
from iwsltpack.runtime.model import resolve_device
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter

DEMO = Path(__file__).resolve().parents[1] / "iwsltpack" / "demo" / "testset" / "manifest.csv"


class Stages(Reporter):
    """Notes the seconds of each stage, and tells of it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._start = "", time.perf_counter()

    def start(self, description: str, *_: object, **__: object) -> None:
        """Begin a stage."""
        self.end(description)

    def finish(self) -> None:
        """End a stage."""
        self.end("between")

    def say(self, message: str, *_: object) -> None:
        """Tell a person something."""
        print(message, flush=True)

    def end(self, following: str) -> None:
        """Note what the stage took that ends now."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0) + now - self._start
            print(f"{now - self._start:8.1f} s  {self._stage}", flush=True)
        self._stage, self._start = following, now


def make_test_set(folder: Path, count: int) -> tuple[Path, Path]:
    """Write recordings of noise and their manifest, and the references; return where both are."""
    data = folder / "noise"
    (data / "wavs").mkdir(parents=True, exist_ok=True)
    head, *rows = DEMO.read_text("utf-8").splitlines()
    lines, references = [head], []
    for number, (clip, row) in enumerate(
        zip(make_audio(count, 30.0), islice(cycle(rows), count), strict=True)
    ):
        soundfile.write(data / "wavs" / f"{number}.flac", clip, RATE)
        english, chinese = row.split(",wavs/")[1].partition(",")[2].rsplit(",", 1)
        lines.append(f"noise_{number},noise,wavs/{number}.flac,{english},{chinese}")
        references.append(chinese)
    (data / "manifest.csv").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "references.txt").write_text("\n".join(references) + "\n", "utf-8")
    return data, folder / "references.txt"


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="Has `standin`; gets `calibrated`.")
    parser.add_argument("--json", type=Path, required=True, help="Where the figures go.")
    parser.add_argument("--segments", type=int, default=32)
    parser.add_argument("--bits", type=float, default=3.0, help="That Gaussian weights would take.")
    parser.add_argument("--coding", default="pcodec")
    options = parser.parse_args()
    stages, source, begun = Stages(), options.work / "standin", time.perf_counter()
    data, references = make_test_set(options.work, options.segments)
    request = BuildRequest(source, options.work / "calibrated", load_recipe("calibrated"), options.coding)
    calibration = CalibrationData(CalibrationRequest(data=data, references=references), source, stages)
    folder, checkpoint = options.work / "calibration", open_checkpoint(source)
    folder.mkdir(exist_ok=True)
    weights = calibration.weights()
    identity = f"{checkpoint.state()} {weights.dtype}"
    batches, _ = calibration.batches(weights.dtype, folder, identity)
    moments = gather(
        weights,
        batches,
        folder,
        calibration.settings,
        selected=weights.shapes.__contains__,
        identity=identity,
        reporter=stages,
    )
    stages.end("finding a step")
    step = moments.guess(options.bits)
    del moments, weights
    stages.end("beginning to build")
    manifest = build_on(request, calibration, step, work=folder, progress=stages)
    stages.end("")
    device = resolve_device("auto")
    figures = {
        "device": device_name(device),
        "torch": torch.__version__,
        "tokens": sum(batch.inputs["input_ids"].numel() for batch in batches),
        "matrices": sum(tensor.classes is not None for tensor in manifest.tensors),
        "step": step,
        "bytes": folder_bytes(request.output),
        "damage": None if manifest.damage is None else manifest.damage.to_json(),
        "seconds": time.perf_counter() - begun,
        "stages": stages.seconds,
        "peak_device_bytes": peak_device_bytes(device),
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    fileio.write_json(options.json, figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
