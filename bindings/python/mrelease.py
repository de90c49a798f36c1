# SPDX-License-Identifier: MIT
"""Kill a process, a process tree or a cgroup and reclaim its memory.

    import mrelease

    report = mrelease.release(4711)
    if report.verified:
        print(report.released_bytes, "bytes back")

The functions are those of libmrelease(3), and block like them; other threads
of Python run in the meantime.  Times are seconds, sizes are bytes.  A call that
signalled no process raises Error, an OSError whose ``report`` says why.  Everything
except Target is thread-safe; a Target must not be used by two threads at once.
"""

from __future__ import annotations

import ctypes
import enum
import os
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple, Union

__all__ = [
    "Entry", "Error", "Evidence", "Features", "Flag", "Kind", "Note",
    "Options", "Path", "Reason", "Refusal", "Report", "Result", "Stage",
    "Target", "cgroup", "open_process", "prepare", "probe", "process",
    "release", "tree", "version",
]


class Flag(enum.IntFlag):
    """What the caller wants; see MRELEASE_* in mrelease.h."""

    EVICT_CACHE = 1 << 0
    NO_PIN = 1 << 1
    KILL_SHARERS = 1 << 2
    ALLOW_ANCESTOR = 1 << 3
    DRY_RUN = 1 << 4
    NO_WAIT_EXIT = 1 << 5
    STANDBY = 1 << 6


class _Name(enum.IntEnum):
    """A value that a later library may add has no name here, and is kept."""

    @classmethod
    def _missing_(cls, value: object) -> "_Name":
        number = int(str(value))
        unknown = int.__new__(cls, number)
        unknown._name_ = f"UNKNOWN_{number}"
        unknown._value_ = number
        return unknown


class Result(_Name):
    """How a release ended."""

    RELEASED = 0
    EXITED = 1
    GONE = 2
    REFUSED = 3
    UNCONFIRMED = 4
    FAILED = 5
    WOULD_KILL = 6


class Stage(_Name):
    """How far a release got."""

    NONE = 0
    PREPARED = 1
    PINNED = 2
    KILLED = 3
    REAPED = 4
    VERIFIED = 5
    EXITED = 6


class Path(_Name):
    """How the memory came back."""

    NONE = 0
    PINNED = 1
    UNPINNED = 2
    EXIT = 3
    SOFT = 4
    KERNEL = 5


class Evidence(_Name):
    """What shows that the memory is back."""

    NONE = 0
    PAGEMAP = 1
    EXIT = 2
    MEMBERS = 3
    MEMCG = 4
    OBJECT = 5
    FRAMES = 6


class Note(enum.IntFlag):
    """What else is worth knowing."""

    SHARED = 1 << 0
    HUGETLB = 1 << 1
    SHMEM = 1 << 2
    PINNED_ELSEWHERE = 1 << 3
    ROBUST = 1 << 4
    ROBUST_UNKNOWN = 1 << 5
    COMPAT = 1 << 6
    NO_PIN = 1 << 7
    NO_MRELEASE = 1 << 8
    NOT_EXITED = 1 << 9
    DSTATE = 1 << 10
    FROZEN = 1 << 11
    ZOMBIE = 1 << 12
    WAS_DYING = 1 << 13
    COREDUMP = 1 << 14
    CANNOT_VERIFY = 1 << 15
    CACHE_PARTIAL = 1 << 16
    HANDLES = 1 << 17
    FOREIGN_PIDNS = 1 << 18
    NO_PIDFD = 1 << 19
    TRACED = 1 << 20
    NOT_READY = 1 << 21


class Refusal(_Name):
    """Why a target was refused."""

    NONE = 0
    PERMISSION = 1
    INIT = 2
    KTHREAD = 3
    THREAD = 4
    SELF = 5
    ANCESTOR = 6
    REUSED = 7
    FOREIGN = 8
    CGROUP = 9


class Kind(enum.IntEnum):
    """Kinds of memory; every page is of one kind only."""

    ANON = 0
    COW = 1
    SWAP = 2
    SHMEM = 3
    UNMAPPED = 4
    HUGETLB = 5
    PINNED = 6
    TABLES = 7
    SPECIAL = 8
    CACHE = 9


class Reason(_Name):
    """Why memory is outstanding or kept."""

    NONE = 0
    SHARED_MM = 1
    NOT_EXITED = 2
    HELD_MM = 3
    COW = 4
    IN_USE = 5
    LINKED = 6
    PINNED = 7
    CHARGED = 8
    UNKNOWN = 9
    CLAIMED = 10


class _Opts(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("soft_signal", ctypes.c_int32),
        ("grace_ns", ctypes.c_int64),
        ("deadline_ns", ctypes.c_int64),
        ("workers", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class _Entry(ctypes.Structure):
    _fields_ = [
        ("before_bytes", ctypes.c_uint64),
        ("exclusive_bytes", ctypes.c_uint64),
        ("back_bytes", ctypes.c_uint64),
        ("outstanding_bytes", ctypes.c_uint64),
        ("kept_bytes", ctypes.c_uint64),
        ("unsure_bytes", ctypes.c_uint64),
        ("evidence", ctypes.c_int32),
        ("reason", ctypes.c_int32),
        ("holder_pid", ctypes.c_int32),
        ("reserved", ctypes.c_uint32),
    ]


class _Report(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("result", ctypes.c_int32),
        ("stage", ctypes.c_int32),
        ("path", ctypes.c_int32),
        ("evidence", ctypes.c_int32),
        ("refusal", ctypes.c_int32),
        ("verified", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("pid", ctypes.c_int32),
        ("comm", ctypes.c_char * 16),
        ("threads", ctypes.c_uint32),
        ("notes", ctypes.c_uint32),
        ("before_bytes", ctypes.c_uint64),
        ("exclusive_bytes", ctypes.c_uint64),
        ("released_bytes", ctypes.c_uint64),
        ("outstanding_bytes", ctypes.c_uint64),
        ("kept_bytes", ctypes.c_uint64),
        ("unsure_bytes", ctypes.c_uint64),
        ("cache_evicted_bytes", ctypes.c_uint64),
        ("release_ns", ctypes.c_int64),
        ("exit_ns", ctypes.c_int64),
        ("prepare_ns", ctypes.c_int64),
        ("sharers", ctypes.c_uint32),
        ("sharer_pid", ctypes.c_int32),
        ("tracer_pid", ctypes.c_int32),
        ("members", ctypes.c_uint32),
        ("members_verified", ctypes.c_uint32),
        ("refused_pid", ctypes.c_int32),
        ("reserved", ctypes.c_uint32 * 8),
        ("kinds", _Entry * len(Kind)),
    ]


_feature_names = (
    "pidfd_open", "pidfd_send_signal", "process_mrelease", "ptrace_seize",
    "ptrace_any", "get_robust_list", "pagemap_scan", "kcmp", "kill_any",
    "pidfs", "cgroup2", "cgroup_kill", "cgroup1_freezer", "map_files",
    "cachestat", "kernel_release", "kernel_robust",
)


class _Features(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t)] + [
        (name, ctypes.c_int32) for name in _feature_names
    ]


@dataclass(frozen=True)
class Options:
    """What the caller wants.  The defaults are those of the library."""

    flags: Flag = Flag(0)
    #: A signal to send first; SIGKILL follows after ``grace`` seconds.
    soft_signal: int = 0
    grace: float = 0.0
    #: For everything, in seconds; None: 30 s.  float("inf"): no limit.
    timeout: Optional[float] = None
    #: Reaping workers for a group; 0: one for each CPU, at most 16.
    workers: int = 0


@dataclass(frozen=True)
class Entry:
    """One kind of memory, in bytes; see struct mrelease_entry."""

    before_bytes: int
    exclusive_bytes: int
    back_bytes: int
    outstanding_bytes: int
    kept_bytes: int
    unsure_bytes: int
    evidence: Evidence
    reason: Reason
    #: Who has it; None where that is not known.
    holder_pid: Optional[int]


@dataclass(frozen=True)
class Report:
    """What happened; see struct mrelease_report."""

    result: Result
    stage: Stage
    path: Path
    evidence: Evidence
    refusal: Refusal
    verified: bool
    #: 0, or the errno (positive) of the call.
    error: int
    pid: int
    comm: str
    threads: int
    notes: Note
    before_bytes: int
    exclusive_bytes: int
    released_bytes: int
    outstanding_bytes: int
    kept_bytes: int
    unsure_bytes: int
    cache_evicted_bytes: int
    #: Seconds since the first signal; None: never seen.
    release_time: Optional[float]
    exit_time: Optional[float]
    prepare_time: float
    sharers: int
    sharer_pid: Optional[int]
    tracer_pid: Optional[int]
    #: Group: the member for whose sake it was refused.
    refused_pid: Optional[int]
    members: int
    members_verified: int
    kinds: Dict[Kind, Entry]


#: For each feature True, or False where there is none, or the errno (positive)
#: with which the kernel refused it.
Features = Dict[str, Union[bool, int]]


class Error(OSError):
    """A call that failed, with errno; nothing was signalled.

    ``report`` says why as far as the library knows, or is None.
    """

    def __init__(self, err: int, what: str, report: Optional[Report] = None):
        super().__init__(err, f"{what}: {os.strerror(err)}")
        self._what = what
        self.report = report

    def __reduce__(self) -> Tuple[object, ...]:
        # OSError would have __init__() called with the text that it made.
        return type(self), (self.errno, self._what, self.report), self.__dict__


_NO_DEADLINE = 2**63 - 1


def _load() -> ctypes.CDLL:
    # An environment variable for tests: the library of a build directory.
    lib = ctypes.CDLL(os.environ.get("MRELEASE_LIBRARY", "libmrelease.so.0"))
    opts = ctypes.POINTER(_Opts)
    report = ctypes.POINTER(_Report)
    size = ctypes.POINTER(ctypes.c_size_t)
    # The version first: reports of another layout must not be passed.
    lib.mrelease_version.argtypes = []
    lib.mrelease_version.restype = ctypes.c_char_p
    have = tuple(int(n) for n in lib.mrelease_version().split(b".")[:2])
    if have < (0, 2):
        raise ImportError("libmrelease 0.2 or later is needed")
    for name, args in (
        ("open", [ctypes.c_int, ctypes.c_uint64]),
        ("prepare", [ctypes.c_int, opts, report,
                     ctypes.POINTER(ctypes.c_void_p)]),
        ("release", [ctypes.c_void_p, ctypes.c_int64, report]),
        ("process", [ctypes.c_int, opts, report]),
        ("cgroup", [ctypes.c_int, opts, report, report, size]),
        ("tree", [ctypes.c_int, opts, report, report, size]),
        ("probe", [ctypes.POINTER(_Features)]),
    ):
        function = getattr(lib, "mrelease_" + name)
        function.argtypes = args
        function.restype = ctypes.c_int
    lib.mrelease_target_free.argtypes = [ctypes.c_void_p]
    lib.mrelease_target_free.restype = None
    return lib


_lib = _load()


def _deadline(timeout: Optional[float]) -> int:
    if timeout is None:
        return 0
    if timeout != timeout or timeout < 0:
        raise ValueError(f"not a time: {timeout}")
    at = time.monotonic() + timeout
    return _NO_DEADLINE if at * 1e9 >= _NO_DEADLINE else max(1, int(at * 1e9))


def _number(what: str, value: int, bits: int) -> int:
    # ctypes would take the low bits of it.
    if not 0 <= value < 2**bits:
        raise ValueError(f"not {what}: {value}")
    return value


def _fd(fd: int) -> int:
    return _number("a file descriptor", fd, 31)


def _opts(options: Optional[Options]) -> _Opts:
    o = options or Options()
    if not 0 <= o.grace < 2**33:
        raise ValueError(f"not a time: {o.grace}")
    return _Opts(
        size=ctypes.sizeof(_Opts), flags=_number("flags", o.flags, 32),
        soft_signal=_number("a signal", o.soft_signal, 31),
        grace_ns=int(o.grace * 1e9), deadline_ns=_deadline(o.timeout),
        workers=_number("a number of workers", o.workers, 32))


def _new_report() -> _Report:
    return _Report(size=ctypes.sizeof(_Report), release_ns=-1, exit_ns=-1)


def _seconds(ns: int) -> Optional[float]:
    return None if ns < 0 else ns / 1e9


def _entry(e: _Entry) -> Entry:
    return Entry(
        e.before_bytes, e.exclusive_bytes, e.back_bytes, e.outstanding_bytes,
        e.kept_bytes, e.unsure_bytes, Evidence(e.evidence), Reason(e.reason),
        e.holder_pid or None)


def _report(r: _Report) -> Report:
    return Report(
        result=Result(r.result), stage=Stage(r.stage), path=Path(r.path),
        evidence=Evidence(r.evidence), refusal=Refusal(r.refusal),
        verified=bool(r.verified), error=-r.error, pid=r.pid,
        comm=r.comm.decode(errors="backslashreplace"), threads=r.threads,
        notes=Note(r.notes), before_bytes=r.before_bytes,
        exclusive_bytes=r.exclusive_bytes, released_bytes=r.released_bytes,
        outstanding_bytes=r.outstanding_bytes, kept_bytes=r.kept_bytes,
        unsure_bytes=r.unsure_bytes,
        cache_evicted_bytes=r.cache_evicted_bytes,
        release_time=_seconds(r.release_ns), exit_time=_seconds(r.exit_ns),
        prepare_time=r.prepare_ns / 1e9, sharers=r.sharers,
        sharer_pid=r.sharer_pid or None, tracer_pid=r.tracer_pid or None,
        refused_pid=r.refused_pid or None, members=r.members,
        members_verified=r.members_verified,
        kinds={kind: _entry(r.kinds[kind]) for kind in Kind})


def _check(ret: int, what: str, report: Optional[_Report] = None) -> int:
    if ret < 0:
        raise Error(-ret, what, None if report is None else _report(report))
    return ret


def version() -> str:
    """The version of the library, "MAJOR.MINOR"."""
    text: bytes = _lib.mrelease_version()
    return text.decode()


def open_process(pid: int, inode: int = 0) -> int:
    """A checked pidfd for a process ID; the caller closes it with os.close()."""
    if not 0 <= pid < 2**31 or not 0 <= inode < 2**64:
        raise ValueError(f"not a process ID and inode: {pid}, {inode}")
    return _check(_lib.mrelease_open(pid, inode), f"process {pid}")


def process(pidfd: int, options: Optional[Options] = None) -> Report:
    """Kill a process and reclaim its memory; the pidfd stays open."""
    opts, report = _opts(options), _new_report()
    _check(_lib.mrelease_process(_fd(pidfd), opts, report), "mrelease", report)
    return _report(report)


def release(pid: int, options: Optional[Options] = None,
            inode: int = 0) -> Report:
    """open_process(), process() and close() in one call."""
    fd = open_process(pid, inode)
    try:
        return process(fd, options)
    finally:
        os.close(fd)


def _group(function: Callable[..., int], fd: int, options: Optional[Options],
           max_members: int) -> Tuple[Report, List[Report]]:
    opts, report = _opts(options), _new_report()
    if not 1 <= max_members <= 65536:
        raise ValueError(f"not between 1 and 65536: {max_members}")
    members = (_Report * max_members)()
    members[0].size = ctypes.sizeof(_Report)
    nr = ctypes.c_size_t(max_members)
    _check(function(_fd(fd), opts, report, members, ctypes.byref(nr)),
           "mrelease", report)
    return _report(report), [_report(members[i]) for i in range(nr.value)]


def tree(pidfd: int, options: Optional[Options] = None,
         max_members: int = 1024) -> Tuple[Report, List[Report]]:
    """A process and all its descendants: the sums, and one report of each.

    At most max_members reports, the biggest first; the sums cover them all.
    """
    return _group(_lib.mrelease_tree, pidfd, options, max_members)


def cgroup(target: Union[int, str, "os.PathLike[str]"],
           options: Optional[Options] = None,
           max_members: int = 1024) -> Tuple[Report, List[Report]]:
    """Every process below a cgroup: the sums, and one report of each.

    The target is its directory, or a descriptor of it, which stays open.
    """
    if isinstance(target, int):
        return _group(_lib.mrelease_cgroup, target, options, max_members)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _group(_lib.mrelease_cgroup, fd, options, max_members)
    finally:
        os.close(fd)


class Target:
    """A process with everything open that its release needs.

    Made by prepare().  Use it with ``with``, or call close().
    """

    def __init__(self, pointer: ctypes.c_void_p, report: Report):
        self._pointer = pointer
        #: As far as known when it was prepared.
        self.report = report

    def release(self, timeout: Optional[float] = None) -> Report:
        """Kill it and reclaim its memory; only once.  None: 30 s."""
        if not self._pointer:
            raise ValueError("release() of a closed Target")
        report = _new_report()
        _check(_lib.mrelease_release(self._pointer, _deadline(timeout),
                                     report), "mrelease", report)
        return _report(report)

    def close(self) -> None:
        """Close the handles; the process is left alone."""
        pointer, self._pointer = self._pointer, ctypes.c_void_p()
        _lib.mrelease_target_free(pointer)

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __del__(self) -> None:
        if _lib is not None:
            self.close()


def prepare(pidfd: int, options: Optional[Options] = None) -> Target:
    """Open ahead of time what a release needs; the pidfd stays open."""
    opts, report, pointer = _opts(options), _new_report(), ctypes.c_void_p()
    _check(_lib.mrelease_prepare(_fd(pidfd), opts, report,
                                 ctypes.byref(pointer)), "mrelease", report)
    return Target(pointer, _report(report))


def probe() -> Features:
    """What this kernel and these privileges allow."""
    f = _Features(size=ctypes.sizeof(_Features))
    _check(_lib.mrelease_probe(f), "probe")
    return {
        name: value == 1 if value >= 0 else -value
        for name in _feature_names
        for value in (getattr(f, name),)
    }
