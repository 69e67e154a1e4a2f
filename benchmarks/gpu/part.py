"""One part of the GPU benchmark, a process of its own: ``python -m benchmarks.gpu.part MODULE ROWS OPTIONS``.

Each row is a line of JSON in the file ROWS as soon as it is known, so that a part that is stopped or that
crashes keeps its results.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.shared import Options, Row, failed


def follow_parent() -> None:
    """End this process and its child processes when its parent is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Write the rows of a module's ``rows(options)``."""
    module, file, text = sys.argv[1:]
    if os.getpgrp() == os.getpid():  # its own process group: no other process is ended with it
        threading.Thread(target=follow_parent, daemon=True).start()
    options = Options(**json.loads(text))
    # empty at first: what compiling costs is measured
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(options.folder) / "inductor")
    with Path(file).open("a", encoding="utf-8") as out:

        def write(row: Row) -> None:
            out.write(json.dumps(asdict(row)) + "\n")
            out.flush()

        try:
            for row in importlib.import_module(module).rows(options):
                write(row)
        except Exception as error:
            traceback.print_exc()
            write(failed("the rest of this part", error))


if __name__ == "__main__":
    main()
