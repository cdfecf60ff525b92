"""Stand-ins for COMET: packages that install and answer like it in no time, and can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

TORCH_STUB = """
__version__ = "9.9.9+cpu"
class cuda:
    @staticmethod
    def device_count():
        return 0
"""

COMET_STUB = '''
import os, signal, time
from pathlib import Path
print("noise on standard output")
if os.environ.get("STUB_WAIT"):
    Path(os.environ["STUB_WAIT"]).touch()
    time.sleep(60)
class Model:
    """Scores 1 for a hypothesis equal to its reference, otherwise 0; does what its checkpoint says first."""
    def __init__(self, behaviour):
        self.behaviour = behaviour
    def predict_step(self, batch):
        return {"scores": [float(sample["mt"] == sample["ref"]) for sample in batch]}
    def predict(self, samples, batch_size, gpus, progress_bar):
        scores = []
        for start in range(0, len(samples), batch_size):
            scores += self.predict_step(samples[start : start + batch_size])["scores"]
            if self.behaviour == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.behaviour == "hang":
                time.sleep(60)
            if self.behaviour == "fail":
                raise ValueError("shapes do not fit")
        if self.behaviour == "nan":
            scores[0] = float("nan")
        if self.behaviour == "short":
            scores.pop()
        return {"scores": scores, "system_score": sum(scores) / max(len(scores), 1)}
def load_from_checkpoint(path, reload_hparams, local_files_only):
    behaviour = Path(path).read_text().strip()
    if behaviour == "encoder" and local_files_only:
        raise OSError("couldn't connect: xlm-roberta-large is not on this machine")
    return Model(behaviour)
'''


def write_stub_site(folder: Path) -> Path:
    """Write importable stand-ins with the metadata of installed packages."""
    folder.mkdir(parents=True)
    (folder / "torch.py").write_text(TORCH_STUB)
    (folder / "comet.py").write_text(COMET_STUB)
    for name, version in (("unbabel_comet", "2.2.7"), ("torch", "9.9.9+cpu")):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        )
    return folder


def write_stub_python(folder: Path) -> Path:
    """Write a program that is this Python with the stand-ins in front."""
    site = write_stub_site(folder / "site")
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    return program


def write_checkpoint(folder: Path, behaviour: str) -> Path:
    """Write a checkpoint folder whose content is what the stand-in shall do."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "model.ckpt").write_text(behaviour)
    (folder / "hparams.yaml").write_text("class_identifier: regression_metric\n")
    return folder


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write a wheel by hand, so that an installer has something to install without any index."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_record_hash(text)},{len(text.encode())}\n" for path, text in files.items())
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(inner, text)
    return path


def _record_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def write_wheels(folder: Path) -> Path:
    """Write wheels of the stand-ins and of everything else the environment is made from."""
    write_wheel(folder, "unbabel_comet", "2.2.7", {"comet.py": COMET_STUB})
    write_wheel(folder, "torch", "9.9.9+cpu", {"torch.py": TORCH_STUB})
    write_wheel(folder, "setuptools", "80.0", {"setuptools/__init__.py": ""})
    return folder
