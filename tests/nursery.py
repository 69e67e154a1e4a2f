"""A process that has imported everything once and forks children that run the command, to be killed at will.

One JSON object a line comes in on stdin, one answer a line goes out on stdout; see ``children.Nursery``.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import io
import json
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


OPTIONAL = ("harness.launch.ray", "harness.trackers.")  # modules of packages that are seldom wanted


def prepare() -> None:
    """Import whatever the command imports later, without starting a thread: forked children have none."""
    import albumentations  # noqa: F401
    import captum.attr  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    import harness
    from harness.data import arrays, digits

    for module in pkgutil.walk_packages(harness.__path__, "harness."):
        if not module.name.startswith(OPTIONAL):
            importlib.import_module(module.name)
    torch.set_num_threads(1)
    for which in ("train", "test"):  # kept from now on
        digits.load(arrays.SourceRequest(Path(), which))


def count_operations(folder: str, until: int | None) -> list[int]:
    """Count what this process does to files below the folder; be killed before number ``until``."""
    counted = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = bool(flags & WRITING)
        else:
            path, changes = (arguments or ("",))[0], event in OPERATIONS
        if changes and isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(folder):
            counted[0] += 1
            if counted[0] == until:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return counted


def heed_permissions() -> None:
    """Root, too, may only do to files what their modes say: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the capabilities of version 3, of this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the higher 32 of each
    assert libc.capget(header, sets) == 0
    sets[0] &= ~0b110
    sets[1] &= ~0b110
    assert libc.capset(header, sets) == 0


def turn_back_the_clock() -> None:
    """Every look at the time of day finds it an hour earlier than the last one."""
    import datetime

    now, usual = [time.time()], datetime.datetime

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    class Backwards(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(earlier(), tz)

    time.time = earlier
    for module in list(sys.modules.values()):
        if module is not datetime and getattr(module, "datetime", None) is usual:
            module.datetime = Backwards  # type: ignore[attr-defined]


class Sleeper(io.TextIOWrapper):
    """A stream whose process goes to sleep as soon as it has said certain words; SIGCONT wakes it."""

    def __init__(self, number: int, words: str) -> None:
        super().__init__(os.fdopen(number, "wb"))
        self.words = words

    def write(self, text: str, /) -> int:
        written = super().write(text)
        if self.words in text:
            self.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
        return written


def be_the_command(request: dict[str, Any], answer: int) -> None:
    """In the child: set the limits, run the command, tell how it ended."""
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]  # as python -m has it
    if "whole_environment" in request:
        os.environ.clear()
        os.environ.update(request["whole_environment"])
    os.environ.update(request.get("environment", {}))
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = Sleeper(2, request["asleep_at"]) if "asleep_at" in request else os.fdopen(2, "w")
    if "file_bytes" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"], resource.RLIM_INFINITY))
        # Killed in the middle of the write, or told that the disk is full.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if request.get("killed_by_limit") else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "more_memory" in request:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + request["more_memory"], resource.RLIM_INFINITY))
    if "clock" in request:
        turn_back_the_clock()
    if "heed_permissions" in request:
        heed_permissions()
    watched = request.get("operations_in")
    counted = count_operations(watched, request.get("kill_before_operation")) if watched else [0]
    sys.argv = ["harness.study", *request["arguments"]]
    status = 0
    try:
        from harness.study import main

        main()
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(answer, json.dumps({"operations": counted[0]}).encode())
    os._exit(status)


def cpu_seconds(pid: int) -> float:
    """Processor time of a child so far; unlike the time of day it does not depend on who else computes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def attend(pid: int, request: dict[str, Any]) -> int:
    """Wait for a child, sending it the signals asked for; its wait status."""
    at, number = request.get("signal_after_cpu"), request.get("signal", signal.SIGKILL)
    limit = time.monotonic() + request.get("timeout", 300)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if at is not None and cpu_seconds(pid) >= at:
            os.kill(pid, number)
            at = None
        if time.monotonic() > limit:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.003)


def begin(request: dict[str, Any], replies: Any) -> tuple[int, int]:
    """Fork a child; return its number and the pipe that reports its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        replies.close()
        be_the_command(request, writing)
    os.close(writing)
    return pid, reading


def main() -> None:
    """Serve requests until stdin ends."""
    prepare()
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=replies, flush=True)
    children: dict[int, int] = {}
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "pid" not in request:
            request["pid"], reading = begin(request, replies)
            children[request["pid"]] = reading
        pid = request["pid"]
        if request.get("background"):
            asleep = "asleep_at" in request and os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
            print(json.dumps({"pid": pid, "asleep": asleep}), file=replies, flush=True)
            continue
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        status = os.waitstatus_to_exitcode(attend(pid, request))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        with os.fdopen(children.pop(pid), "rb") as told:
            report = json.loads(told.read() or b"{}")
        print(json.dumps({"status": status, "cpu": cpu, **report}), file=replies, flush=True)


if __name__ == "__main__":
    main()
