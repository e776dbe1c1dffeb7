"""Stores of captions, and clips, in an object store: S3 as moto serves it, and stores that promise less."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from store_tools import CLIPS, counts, run
from typer.testing import CliRunner

from _stub_engine import StubEngine
from vidapt.captioning.objects import Objects
from vidapt.captioning.places import place_of, scratch
from vidapt.captioning.store import leases, shard
from vidapt.captioning.store.leases import Lease, free_lease
from vidapt.captioning.store.remote import RemoteStore
from vidapt.captioning.store.worker import WINDOW
from vidapt.cli import app
from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.locks import Owner, TakenError, this_process

pytest.importorskip("moto")
pytest.importorskip("s3fs")

MADE = ("seconds", "created", "stamp", "file", "folder")
"""Columns that tell when a row was made, and where its clip lies."""


@pytest.fixture(autouse=True)
def _hearts_rest() -> Iterator[None]:
    """Leases that a test holds on to beat no longer than it: they would ask a server that is gone."""
    made: list[Lease] = []
    init = Lease.__init__

    def noted(self: Lease, *rest: Any) -> None:
        init(self, *rest)
        made.append(self)

    with pytest.MonkeyPatch.context() as patched:  # a test may undo its own
        patched.setattr(Lease, "__init__", noted)
        yield
    for lease in made:
        lease.rest()
    assert not [one for one in threading.enumerate() if one.name == "vidapt-lease"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a bucket of its own."""
    told = {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TMPDIR": str(tmp_path),
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    url = f"s3://bucket-{os.getpid()}-{time.monotonic_ns()}"
    Objects(url)._fs.mkdir(url)
    return url


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    for number in range(CLIPS):
        file = folder / ("inside" if number % 2 else "") / f"{number}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"clip {number}".encode())
    (folder / "10 empty.mp4").touch()
    return folder


def rows_of(out: Path | str) -> list[dict[str, Any]]:
    held = (out / "captions.parquet") if isinstance(out, Path) else io.BytesIO(read(out, "captions.parquet"))
    found: list[dict[str, Any]] = pq.read_table(held).drop_columns(list(MADE)).to_pylist()
    return found


def read(url: str, name: str) -> bytes:
    held = Objects(url).read(name)
    assert held is not None
    return held


def send(folder: Path, url: str) -> None:
    objects = Objects(url)
    for file in folder.rglob("*"):
        if file.is_file():
            objects.write(file.relative_to(folder).as_posix(), file.read_bytes())


def test_a_store_in_s3_has_the_rows_of_one_on_disk(bucket: str, clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "whole")
    out = f"{bucket}/captions"
    to = [f"{bucket}/all.jsonl", tmp_path / "all.jsonl"]
    done = run(clips, out, outputs=to)
    assert counts(done) == (CLIPS, 0, 1, 0)
    assert done.outputs == [f"{out}/captions.parquet", *to]
    assert rows_of(out) == rows_of(tmp_path / "whole")
    assert read(bucket, "all.jsonl") == (tmp_path / "all.jsonl").read_bytes()
    engine = StubEngine()
    again = run(clips, out, engine)
    assert (counts(again), engine.asked) == ((0, CLIPS, 1, 0), 0), "unchanged work is not done again"
    assert len(RemoteStore(out).jobs()) == 1
    assert not list(scratch().iterdir()), "nothing of a finished job is left on this machine"
    assert Objects(out).names("") == ["captions.parquet", "jobs"]


def test_clips_in_s3_are_fetched_while_they_are_captioned(
    bucket: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(clips, f"{bucket}/clips")
    Objects(bucket).write("clips/notes.md", b"none")
    run(clips, tmp_path / "whole")
    done = run(f"{bucket}/clips", tmp_path / "store")
    assert counts(done) == (CLIPS, 0, 1, 0)
    assert done.ignored == {".md": 1}
    assert rows_of(tmp_path / "store") == rows_of(tmp_path / "whole")
    (first, *_) = pq.read_table(tmp_path / "store" / "captions.parquet")["file"].to_pylist()
    assert first == f"{bucket}/clips/0.mp4"
    assert not [path for path in (tmp_path / "store").rglob("*.mp4")], "no clip is left"
    to = [tmp_path / "all.json", tmp_path / "all.tar"]
    assert run(f"{bucket}/clips", tmp_path / "store", outputs=to).left_out == {str(to[1]): CLIPS}
    assert json.loads(to[0].read_text())[0]["video"] == first
    fetched: list[str] = []
    monkeypatch.setattr(
        "vidapt.captioning.fetched.Source.fetch", lambda self, url, *rest: fetched.append(url)
    )
    run(f"{bucket}/clips", tmp_path / "store")
    assert all("empty" in url for url in fetched), "what has a row is not fetched"


def test_patterns_lists_and_tars_in_s3(bucket: str, clips: Path, tmp_path: Path) -> None:
    send(clips, f"{bucket}/clips")
    assert counts(run(f"{bucket}/clips/inside/*.mp4", tmp_path / "pattern"))[0] == CLIPS // 2
    rows = [
        {"path": "clips/0.mp4"},
        {"path": "clips/0.mp4", "start_s": 1, "end_s": 2, "id": "a stretch"},
        {"path": f"{bucket}/clips/2.mp4"},
        {"path": "http://169.254.169.254/latest"},
        {"path": "clips/absent.mp4"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    Objects(bucket).write("list.jsonl", text)
    run(f"{bucket}/list.jsonl", tmp_path / "list")
    found = rows_of(tmp_path / "list")
    assert [row["status"] for row in found] == ["done", "done", "done", "failed", "failed"]
    assert [row["clip"] for row in found][1:3] == ["a stretch", f"{bucket}/clips/2.mp4"]
    assert "not a path" in found[3]["reason"]
    assert found[4]["error"] == "FileNotFoundError"
    (tmp_path / "here.jsonl").write_bytes(text.splitlines(keepends=True)[2])
    assert counts(run(tmp_path / "here.jsonl", tmp_path / "here"))[0] == 1
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(clips / "0.mp4", "a.mp4")
        tar.add(clips / "2.mp4", "b/c.mp4")
        tar.add(clips / "2.mp4", "b/c.txt")
    Objects(bucket).write("x.tar", packed.getvalue())
    run(f"{bucket}/x.tar", tmp_path / "tar")
    assert [row["clip"] for row in rows_of(tmp_path / "tar")] == ["x.tar/a.mp4", "x.tar/b/c.mp4"]
    assert [row["captions"] for row in rows_of(tmp_path / "tar")] == [
        found[0]["captions"],
        found[2]["captions"],
    ]
    Objects(bucket).write("cut.tar", packed.getvalue()[:1600])
    with pytest.raises(FormatError, match="cut off"):
        run(f"{bucket}/cut.tar", tmp_path / "cut")


def test_a_clip_that_is_too_large_is_not_fetched(
    bucket: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(clips, f"{bucket}/clips")
    monkeypatch.setattr(shard, "MOST_BYTES", 5)
    run(f"{bucket}/clips", tmp_path / "store")
    large = [row for row in rows_of(tmp_path / "store") if "empty" not in row["clip"]]
    assert {(row["status"], row["error"]) for row in large} == {("failed", "BudgetError")}


NOTED = {"shard": 2 * WINDOW, "batch": 1}
"""So that half of a shard is noted before the other half is."""


def test_two_workers_of_which_one_is_killed_lose_and_double_nothing(
    bucket: str, clips: Path, tmp_path: Path
) -> None:
    run(clips, tmp_path / "whole", **NOTED)
    out = f"{bucket}/captions"
    script = Path(__file__).with_name("remote_killed.py")
    command = [sys.executable, str(script), str(clips), out, *map(str, NOTED.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) in (0, 1), "one was killed in the middle of a shard"
    assert run(clips, out).left == 0
    assert rows_of(out) == rows_of(tmp_path / "whole")


def test_what_a_lost_machine_noted_is_gone_on_with(bucket: str, clips: Path, tmp_path: Path) -> None:
    class Lost(StubEngine):
        def answer(self, *asked: Any) -> Any:
            if self.asked >= WINDOW:
                raise KeyboardInterrupt
            return super().answer(*asked)

    with pytest.raises(KeyboardInterrupt):
        run(clips, f"{bucket}/captions", Lost(), **NOTED)
    for left in scratch().iterdir():
        left.rename(tmp_path / "elsewhere")
    engine = StubEngine()
    assert run(clips, f"{bucket}/captions", engine).left == 0
    assert engine.asked == CLIPS - WINDOW, "what was noted is not asked about again"
    run(clips, tmp_path / "whole")
    assert rows_of(f"{bucket}/captions") == rows_of(tmp_path / "whole")


# ------------------------------------------------------------------ leases


def elsewhere(**changed: Any) -> Owner:
    told = vars(this_process()) | {"machine": "another", "host": "far"} | changed
    return Owner(**told)


def test_a_lease_is_that_of_one_until_he_is_silent(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects(bucket)
    assert objects.conditional
    mine = Lease(objects, "jobs/x")
    with pytest.raises(TakenError, match="written by another process"):
        Lease(objects, "jobs/x")
    mine.leave()
    monkeypatch.setattr(leases, "this_process", elsewhere)
    far = Lease(objects, "jobs/x")
    assert far.number == mine.number + 1
    monkeypatch.undo()
    with pytest.raises(TakenError, match="on far"):
        Lease(objects, "jobs/x")
    monkeypatch.setattr(leases, "SILENT_S", -1e9)
    assert Lease(objects, "jobs/x").number == far.number + 1


def test_a_lease_of_who_is_known_to_be_gone_is_free_at_once(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Objects(bucket)
    with monkeypatch.context() as patched:
        patched.setattr(leases, "this_process", elsewhere)
        Lease(objects, "jobs/x")._stop.set()
    assert not free_lease(objects, "jobs/x", lambda owner: owner.host == "other")
    with pytest.raises(TakenError):
        Lease(objects, "jobs/x")
    assert free_lease(objects, "jobs/x", lambda owner: owner.host == "far")
    Lease(objects, "jobs/x").leave(over=True)
    assert not objects.names("jobs")


def test_a_damaged_lease_is_nobodys(bucket: str) -> None:
    objects = Objects(bucket)
    objects.write("jobs/x/lease-0004", b'{"pid": ')
    assert Lease(objects, "jobs/x").number == 5


def test_where_a_store_cannot_refuse_who_wrote_last_has_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidapt.captioning.objects._SETTLE_S", 0.01)
    objects = Objects("memory://weak/place")
    assert not objects.conditional
    assert objects.create("a", b"mine")
    assert not objects.create("a", b"yours")
    assert objects.read("a") == b"mine"
    assert objects.names("") == ["a"]
    lease = Lease(objects, "jobs/x")
    with pytest.raises(TakenError):
        Lease(objects, "jobs/x")
    lease.leave(over=True)


def test_a_store_that_cannot_refuse_has_the_same_rows(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidapt.captioning.objects._SETTLE_S", 0.01)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    run(clips, tmp_path / "whole")
    assert run(clips, "memory://weak/captions").left == 0
    assert rows_of("memory://weak/captions") == rows_of(tmp_path / "whole")


# ------------------------------------------------------------------ refusals


def test_addresses_that_cannot_be_are_refused(bucket: str, clips: Path, tmp_path: Path) -> None:
    Objects(bucket).write("mine/thesis.txt", b"text")
    for out, match in (
        (f"{bucket}/mine", "other things"),
        ("nosuch://bucket/place", "no stores of kind"),
        ("s3://absent-bucket/x", "no such bucket"),
    ):
        with pytest.raises(VidaptError, match=match):
            run(clips, out)
    with pytest.raises(ConfigError, match="no such object"):
        run(f"{bucket}/absent", tmp_path / "store")
    with pytest.raises(ConfigError, match="--albums"):
        run(f"{bucket}/mine", tmp_path / "store", albums=True)
    with pytest.raises(ConfigError, match="lance"):
        run(clips, tmp_path / "store", outputs=[f"{bucket}/all.lance"])


@pytest.mark.parametrize("text", ["s3://key:hidden@bucket/x", "simplecache::s3://b/x", "zip://a::s3://b/x"])
def test_an_address_holds_no_password_and_leads_through_no_other(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place_of(text)
    assert "hidden" not in str(caught.value)


def test_a_file_by_its_address_is_a_path(tmp_path: Path) -> None:
    assert place_of(f"file://{tmp_path}/store") == tmp_path / "store"


def test_credentials_are_never_told(bucket: str, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setattr(S3FileSystem, "cachable", False)
    with pytest.raises(VidaptError) as caught:
        run(clips, f"{bucket}/captions")
    assert "hidden" not in str(caught.value)


def test_scratch_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert scratch().stat().st_mode & 0o777 == 0o700
    scratch().chmod(0o755)
    with pytest.raises(ConfigError, match="alone"):
        scratch()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["clips", "--out", "s3://key:hidden@bucket/x"], "holds a password"),
        (["simplecache::s3://bucket/clips", "--out", "x"], "leads through another"),
        (["clips", "--out", "nosuch://bucket/x"], "no stores of kind"),
        (["clips", "--out", "x", "--to", "s3://bucket/all.csv"], "cannot write .csv"),
    ],
)
def test_the_command_refuses_addresses_before_a_model_is_opened(
    options: list[str], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["caption", *options, "--model", "no model"])
    assert shown.exit_code == 2
    assert match in " ".join(shown.output.split())
    assert "hidden" not in shown.output
    assert not any(tmp_path.iterdir())
