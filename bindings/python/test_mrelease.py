# SPDX-License-Identifier: MIT
"""pytest: the module says what mrelease.h says, and does what it says."""

import copy
import ctypes
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mrelease

# Beside the module in the tree; elsewhere where -dev packages put it.
HEADER = Path(__file__).resolve().parents[2] / "include" / "mrelease.h"
TEXT = "".join(h.read_text()
               for h in (HEADER, HEADER.parent / "mrelease" / "report.h"))
MIB = 1 << 20


@pytest.fixture
def victim():
    """A child with 32 MiB of anonymous memory."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys, signal\n"
         f"m = bytearray(b'x') * {32 * MIB}\n"
         "print('ready', flush=True)\nsignal.pause()"],
        stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


@pytest.fixture
def pidfd(victim):
    fd = mrelease.open_process(victim.pid)
    yield fd
    os.close(fd)


def header_enum(name):
    text = re.sub(r"/\*.*?\*/", "", TEXT, flags=re.S)
    body = re.search(r"enum %s \{(.*?)\}" % name, text, re.S).group(1)
    names = [n.split("=")[0].strip() for n in body.split(",") if n.strip()]
    return {n: i for i, n in enumerate(names)}


@pytest.mark.parametrize("cls, enum, prefix", [
    (mrelease.Result, "mrelease_result", "MRELEASE_"),
    (mrelease.Stage, "mrelease_stage", "MRELEASE_STAGE_"),
    (mrelease.Path, "mrelease_path", "MRELEASE_PATH_"),
    (mrelease.Evidence, "mrelease_evidence", "MRELEASE_EVIDENCE_"),
    (mrelease.Refusal, "mrelease_refusal", "MRELEASE_REFUSE_"),
    (mrelease.Reason, "mrelease_reason", "MRELEASE_REASON_"),
    (mrelease.Kind, "mrelease_kind", "MRELEASE_"),
])
def test_enums_are_those_of_the_header(cls, enum, prefix):
    header = header_enum(enum)
    header.pop("MRELEASE_NR_KINDS", None)
    assert {prefix + m.name: m.value for m in cls} == header


def test_flags_are_those_of_the_header():
    bits = dict(re.findall(r"#define (MRELEASE_\w+)\s+\(1u << (\d+)\)",
                           TEXT))
    bits = {name: 1 << int(bit) for name, bit in bits.items()}
    notes = {"MRELEASE_NOTE_" + n.name: n.value for n in mrelease.Note}
    flags = {"MRELEASE_" + f.name: f.value for f in mrelease.Flag}
    assert {**notes, **flags} == bits


def test_structs_are_those_of_the_header(tmp_path):
    structs = {
        "mrelease_opts": mrelease._Opts,
        "mrelease_entry": mrelease._Entry,
        "mrelease_report": mrelease._Report,
        "mrelease_features": mrelease._Features,
    }
    lines = ["#include <mrelease.h>", "#include <stdio.h>", "int main(void)",
             "{"]
    want = []
    for name, cls in structs.items():
        lines.append(f'printf("%zu\\n", sizeof(struct {name}));')
        want.append(ctypes.sizeof(cls))
        for field, _ in cls._fields_:
            lines.append(
                f'printf("%zu\\n", offsetof(struct {name}, {field}));')
            want.append(getattr(cls, field).offset)
    source = tmp_path / "layout.c"
    source.write_text("\n".join(lines + ["return 0;", "}"]))
    cc = os.environ.get("CC", "cc").split()
    try:
        subprocess.run(
            cc + ["-I", str(HEADER.parent), "-o", str(tmp_path / "layout"),
                  str(source)], check=True)
    except FileNotFoundError:
        pytest.skip("no C compiler [cc]")
    have = subprocess.run([str(tmp_path / "layout")], check=True,
                          stdout=subprocess.PIPE).stdout.split()
    assert [int(n) for n in have] == want


def test_version():
    header = re.search(r'MRELEASE_VERSION\s+"(.*)"', HEADER.read_text())
    assert mrelease.version() == header.group(1)


def test_release(victim):
    report = mrelease.release(victim.pid)
    assert victim.wait(20) == -signal.SIGKILL
    assert report.result == mrelease.Result.RELEASED
    assert report.pid == victim.pid
    assert report.verified
    assert report.error == 0
    assert report.released_bytes >= 32 * MIB
    anon = report.kinds[mrelease.Kind.ANON]
    assert anon.before_bytes >= 32 * MIB
    assert anon.before_bytes == (
        anon.back_bytes + anon.outstanding_bytes + anon.kept_bytes)
    assert report.exit_time is not None


def test_dry_run(victim, pidfd):
    report = mrelease.process(
        pidfd, mrelease.Options(flags=mrelease.Flag.DRY_RUN))
    assert report.result == mrelease.Result.WOULD_KILL
    assert report.exclusive_bytes >= 32 * MIB
    assert victim.poll() is None


def test_soft_signal(victim, pidfd):
    report = mrelease.process(
        pidfd, mrelease.Options(soft_signal=signal.SIGTERM, grace=20))
    assert report.path == mrelease.Path.SOFT
    assert victim.wait(20) == -signal.SIGTERM


def test_prepared_target(victim, pidfd):
    with mrelease.prepare(pidfd) as target:
        assert target.report.pid == victim.pid
        assert victim.poll() is None
        assert target.release(timeout=20).verified
        with pytest.raises(mrelease.Error) as error:
            target.release()
        assert error.value.errno == 114  # EALREADY
    assert victim.wait(20) == -signal.SIGKILL
    with pytest.raises(ValueError):
        target.release()


def test_tree():
    child = subprocess.Popen(
        ["sh", "-c", "sleep 300 & sleep 300 & echo ready; wait"],
        stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    fd = mrelease.open_process(child.pid)
    report, members = mrelease.tree(fd)
    os.close(fd)
    assert child.wait(20) == -signal.SIGKILL
    child.stdout.close()
    assert report.members == 3 and len(members) == 3
    assert child.pid in [m.pid for m in members]
    sizes = [m.before_bytes for m in members]
    assert sizes == sorted(sizes, reverse=True)


def test_fewer_reports_than_members():
    child = subprocess.Popen(["sh", "-c", "sleep 300 & echo ready; wait"],
                             stdout=subprocess.PIPE)
    child.stdout.readline()
    fd = mrelease.open_process(child.pid)
    report, members = mrelease.tree(fd, max_members=1)
    os.close(fd)
    child.wait(20)
    child.stdout.close()
    assert report.members == 2 and len(members) == 1


def test_cgroup_that_is_none(tmp_path):
    with pytest.raises(OSError):
        mrelease.cgroup(tmp_path)
    with pytest.raises(FileNotFoundError):
        mrelease.cgroup(tmp_path / "no-such")


def test_refused():
    with pytest.raises(mrelease.Error) as error:
        mrelease.release(os.getpid())
    assert isinstance(error.value, OSError)
    assert error.value.report.result == mrelease.Result.REFUSED
    assert error.value.report.refusal == mrelease.Refusal.SELF


def test_gone():
    with pytest.raises(mrelease.Error) as error:
        mrelease.open_process(2**31 - 1)
    assert error.value.errno == 3  # ESRCH


@pytest.mark.parametrize("pid", [-1, 2**31, 2**40])
def test_numbers_that_are_none(pid):
    with pytest.raises(ValueError):
        mrelease.open_process(pid)


@pytest.mark.parametrize("call", [
    mrelease.process, mrelease.tree, mrelease.cgroup, mrelease.prepare,
])
def test_descriptors_that_are_none(victim, pidfd, call):
    # Of a descriptor that is one, only the low bits are left.
    for fd in (pidfd + 2**32, pidfd - 2**32, 2**31, -1):
        with pytest.raises(ValueError):
            call(fd)
    assert victim.poll() is None


@pytest.mark.parametrize("options", [
    dict(soft_signal=2**32), dict(soft_signal=2**32 + signal.SIGTERM),
    dict(soft_signal=-1), dict(workers=-1), dict(workers=2**32),
    dict(flags=2**32), dict(flags=-1),
])
def test_options_that_are_none(victim, pidfd, options):
    with pytest.raises(ValueError):
        mrelease.process(pidfd, mrelease.Options(**options))
    assert victim.poll() is None


@pytest.mark.parametrize("again", [
    copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e)),
])
def test_an_error_goes_to_another_process(again):
    with pytest.raises(mrelease.Error) as error:
        mrelease.release(os.getpid())
    same = again(error.value)
    assert type(same) is mrelease.Error
    assert str(same) == str(error.value)
    assert (same.errno, same.report) == (error.value.errno,
                                         error.value.report)


@pytest.mark.parametrize("options", [
    dict(timeout=-1), dict(timeout=float("nan")), dict(grace=-1),
    dict(grace=float("inf")), dict(grace=float("nan")),
])
def test_times_that_are_none(victim, pidfd, options):
    with pytest.raises(ValueError):
        mrelease.process(pidfd, mrelease.Options(**options))
    assert victim.poll() is None


def test_no_time_limit(victim, pidfd):
    assert mrelease.process(
        pidfd, mrelease.Options(timeout=float("inf"))).verified


def test_other_threads_run_meanwhile():
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal\n"
         "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
         "print('ready', flush=True)\nsignal.pause()"],
        stdout=subprocess.PIPE)
    child.stdout.readline()
    counted = [0]
    done = threading.Event()

    def count():
        while not done.wait(0.01):
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    mrelease.release(child.pid, mrelease.Options(
        soft_signal=signal.SIGTERM, grace=1))
    done.set()
    thread.join()
    child.wait(20)
    child.stdout.close()
    assert counted[0] >= 5


def test_probe():
    features = mrelease.probe()
    assert features["pidfd_open"] is True
    assert all(value is True or value is False or value > 0
               for value in features.values())


def test_a_later_value_is_kept():
    assert int(mrelease.Result(77)) == 77
    assert "77" in mrelease.Result(77).name
