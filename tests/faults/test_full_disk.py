"""If these fail, a full disk costs more than the one memory that did not fit: it breaks what was there, stops searches, or goes
unnoticed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILL = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from memos_core import MOS
from memos_core.errors import StoreError
from memos_core.stores.index import cube_index
cube_index.SMALL_ROWS = 0
folder = Path({folder!r})
report = {{"errors": [], "kept": [], "found": [], "verify": []}}

def words(number):
    return f"memory tok{{number}}x " + "of many words " * 200

def add_until_full(ann, first):
    for number in range(first, first + 5000):
        try:
            ann.add(words(number))
        except StoreError as error:
            report["errors"].append([type(error).__name__, str(error)])
            return number
        report["kept"].append(number)
    raise AssertionError("it never became full")
"""

TMPFS = (
    FILL
    + """
ballast = folder / "ballast"
ballast.write_bytes(bytes(300_000))
with MOS.open(folder / "store", embedder="hashing") as mos:
    mos._indexes._flush_rows = 10
    ann = mos.session("ann")
    failed = add_until_full(ann, 0)
    for _ in range(3):  # still full: still the same error, and reading goes on
        try:
            ann.add(words(failed))
            report["errors"].append(["none", ""])
        except StoreError as error:
            report["errors"].append([type(error).__name__, str(error)])
    report["found"].append([ann.search(f"tok{{n}}x", top_k=1)[0].text == words(n) for n in report["kept"][::9]])
    report["verify"].append([finding.what for finding in mos.verify()])
    ballast.unlink()
    ann.add(words(failed))
    report["kept"].append(failed)
with MOS.open(folder / "store") as mos:
    ann = mos.session("ann")
    report["items"] = sorted(item.text == words(int(item.text.split("tok")[1].split("x")[0])) for item in ann.list(limit=9999))
    report["found"].append([ann.search(f"tok{{n}}x", top_k=1)[0].text == words(n) for n in report["kept"][::9]])
    report["verify"].append([finding.what for finding in mos.verify()])
print(json.dumps(report))
"""
)

LIMITED = (
    FILL
    + """
import resource
with MOS.open(folder / "store", embedder="hashing") as mos:
    mos._indexes._flush_rows = 10
    ann = mos.session("ann")
    ann.add(words(0))
    report["kept"].append(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    failed = add_until_full(ann, 1)
    report["found"].append([ann.search(f"tok{{n}}x", top_k=1)[0].text == words(n) for n in report["kept"][::9]])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ann.add(words(failed))
    report["kept"].append(failed)
    report["verify"].append([finding.what for finding in mos.verify()])
with MOS.open(folder / "store") as mos:
    ann = mos.session("ann")
    report["items"] = sorted(item.text == words(int(item.text.split("tok")[1].split("x")[0])) for item in ann.list(limit=9999))
    report["found"].append([ann.search(f"tok{{n}}x", top_k=1)[0].text == words(n) for n in report["kept"][::9]])
    report["verify"].append([finding.what for finding in mos.verify()])
print(json.dumps(report))
"""
)

FULL_INDEX = (
    FILL
    + """
os.makedirs(folder / "store")
os.symlink({outside!r} + "/memos.db", folder / "store" / "memos.db")
Path({outside!r}, "memos.db").touch(0o600)
with MOS.open(folder / "store", embedder="hashing") as mos:
    mos._indexes._flush_rows = 10
    ann = mos.session("ann")
    for number in range(120):
        ann.add(words(number))
        report["kept"].append(number)
        if number % 20 == 0:
            report["found"].append([ann.search(f"tok{{number}}x", top_k=1)[0].text == words(number)])
    report["verify"].append([finding.what for finding in mos.verify()])
    report["reindex"] = mos.reindex()
    report["found"].append([ann.search(f"tok{{n}}x", top_k=1)[0].text == words(n) for n in report["kept"][::9]])
report["free"] = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
print(json.dumps(report))
"""
)


def run(
    code: str, folder: Path, *, command: tuple[str, ...] = (), outside: str = "", path: Path | None = None
) -> dict[str, Any]:
    code = code.format(folder=str(folder), here=str(Path(__file__).parent), outside=outside)
    python_path = os.pathsep.join(filter(None, [str(path or ""), *sys.path]))
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": python_path},
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def on_small_disk(code: str, folder: Path, size: str, outside: str = "", path: Path | None = None) -> dict[str, Any]:
    """Run it where a folder is a disk of its own, which nobody else sees and which goes with the process."""
    own = ("unshare", "-m") if os.getuid() == 0 else ("unshare", "-rm")
    mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    command = (*own, "sh", "-c", mount, str(folder))
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine does not let us mount a small disk (unshare -rm, mount -t tmpfs)")
    return run(code, folder, command=command, outside=outside, path=path)


def test_a_full_disk_costs_only_what_did_not_fit(tmp_path: Path) -> None:
    report = on_small_disk(TMPFS, tmp_path, "3m")
    assert [name for name, _ in report["errors"]] == ["StoreFull"] * 4
    assert all("no space left" in said and "nothing of this change was kept" in said for _, said in report["errors"])
    check(report)


def test_a_limit_on_the_size_of_files_is_met_in_words(tmp_path: Path) -> None:
    report = run(LIMITED, tmp_path)
    assert report["errors"][0][0] in ("StoreError", "StoreFull")
    assert "memos.db" in report["errors"][0][1]
    check(report)


def check(report: dict[str, Any]) -> None:
    assert len(report["kept"]) > 15
    assert report["items"] == [True] * len(report["kept"])
    assert len(report["found"]) == 2
    assert all(all(each) for each in report["found"])
    assert report["verify"] == [[], []]


def test_an_index_that_does_not_fit_on_its_disk_stays_in_memory(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "big").mkdir()
    report = on_small_disk(FULL_INDEX, tmp_path / "small", "80k", outside=str(tmp_path / "big"))
    assert report["free"] < 60_000
    assert all(all(each) for each in report["found"])
    assert report["verify"] == [[]]
    assert report["reindex"] == {"ann": 120}


@pytest.mark.parametrize("who", ["threads", "process"])
def test_jobs_wait_for_space_and_are_done_once_when_there_is_some(tmp_path: Path, who: str) -> None:
    here = Path(__file__).parent
    code = f"import full_disk_jobs as it; it.main(it.Path({{folder!r}}), {who!r})"
    told = on_small_disk(code, tmp_path, "24m", path=here)
    assert set(told["errors"]) == {"StoreFull"}
    assert (told["refused"], told["items"], told["jobs_of_adds"]) == (0, told["added"], told["added"])
    assert told["all_done"] == [True] * len(told["all_done"]), "without anything being started again"
    assert (told["written"], told["marks"]) == (told["effects"], told["outside"]), "each once: none lost, none twice"
    assert all(busy < 0.4 for busy in told["busy"]), "it waits for space, it does not spin"
    assert set(told["jobs"]) == {"done 1"}, "that there was no room does not count against a job"
    assert any("jobs cannot be" in line and "no space left" in line for line in told["said"])
    assert any("jobs can be run again" in line for line in told["said"])
    assert (told["threads"], told.get("code", 0)) == (2 if who == "threads" else 0, 0)
    assert told["verify"] == []
