"""What runs on a dask worker when it decodes.

Light on purpose: a worker takes a task in its event loop, where importing torch would keep it from answering for
seconds. The model and its libraries are loaded by the thread that decodes; see `dask_model`.
"""

from iwsltpack.cluster.worker import keep
from iwsltpack.decoding.dask_messages import BatchResult, BatchTask, WorkerSetup

SLOT = "model"
"""What a worker keeps the loaded model under."""


def translate_task(setup: WorkerSetup, task: BatchTask) -> BatchResult:
    """Decode a batch on this worker; an empty one only has the model loaded. Errors are those of one process."""
    from iwsltpack.decoding.dask_model import WorkerModel

    model = keep(SLOT, setup.key, lambda: WorkerModel(setup))
    return model.translate(setup.settings[task.test_set], task)


def device_type(device: str) -> str:
    """Return the type of device this worker would decode on."""
    from iwsltpack.runtime.model import resolve_device

    return resolve_device(device).type
