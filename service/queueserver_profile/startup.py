"""Start-up profile for bluesky-queueserver: the session's RunEngine, devices and plans for the worker.

Run by the manager when an environment is opened (``xedm queue`` starts one with this folder, ``--keep-re`` and a safe
address). What the session needs to know stands in two environment variables: ``XEDM_CONFIG``, the TOML file with the
beamline's PV names, and ``XEDM_OUTPUT``, the folder for documents and results.
"""

import os
from pathlib import Path

from bluesky.plan_stubs import mv, mvr  # noqa: F401 - for the queue
from bluesky.plans import count, grid_scan, list_scan, scan  # noqa: F401 - for the queue

from service.queue import queue_session

_config = os.environ.get("XEDM_CONFIG")
globals().update(
    queue_session(Path(os.environ.get("XEDM_OUTPUT", "xedm-output")), None if _config is None else Path(_config))
)
