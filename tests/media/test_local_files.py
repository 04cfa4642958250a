"""The mounted folder of Label Studio's local storage: its files are read, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import (
    GroundingError,
    ImageMissing,
    ImageTooLarge,
    SettingError,
    UrlRefused,
)
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher
from grounding.media.local_files import Folder, parse_local_file
from tests.media.hosts import BODY, Names, host, ok, rules

SECRET = b"not for tasks"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with a picture and links of every kind, and a secret outside of it."""
    root = tmp_path / "pictures"
    (root / "a b").mkdir(parents=True)
    (root / "a b" / "1.jpg").write_bytes(BODY)
    (root / "plus+1.jpg").write_bytes(BODY)
    (root / "inner.jpg").symlink_to(root / "a b" / "1.jpg")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "pictures-too").mkdir()
    (tmp_path / "pictures-too" / "1.jpg").write_bytes(SECRET)
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "out-relative").symlink_to("../secret")
    (root / "up").symlink_to(tmp_path)
    (root / "twice").symlink_to("up/secret")
    (root / "processes").symlink_to("/proc")
    (root / "zero").symlink_to("/dev/zero")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    (root / "long.jpg").write_bytes(b"x" * 1001)
    return root


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/data/local-files/?d=a%20b/1.jpg", "a b/1.jpg"),
        ("/data/local-files/?d=a+b/1.jpg", "a b/1.jpg"),
        ("/data/local-files/?d=plus%2B1.jpg", "plus+1.jpg"),
        ("/data/local-files/?d=%D1%84.jpg", "ф.jpg"),
        ("/data/local-files?d=1.jpg", "1.jpg"),
        ("/sub/path/data/local-files/?x=1&d=1.jpg#part", "1.jpg"),
        ("/data/local-files/?d=..%2f..%2fetc/passwd", "../../etc/passwd"),
        ("/data/local-files/?d=", None),
        ("/data/local-files/", None),
        ("/data/local-files-too/?d=1.jpg", None),
        ("/data/upload/1/cat.jpg?next=/data/local-files/?d=1.jpg", None),
        ("//evil/data/local-files/?d=1.jpg", None),
        ("http://evil/data/local-files/?d=1.jpg", None),
    ],
)
def test_the_name_of_a_local_file_is_read_as_label_studio_reads_it(
    target: str, name: str | None
) -> None:
    assert parse_local_file(target) == name


@pytest.mark.parametrize(
    "name", ["a b/1.jpg", "/a b/1.jpg", "a b//1.jpg", "./a b/../a b/1.jpg", "inner.jpg"]
)
def test_files_below_the_root_are_read(root: Path, name: str) -> None:
    assert Folder(root).read(name, 1000) == BODY


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "a b/../../secret",
        "../pictures-too/1.jpg",
        "../../../../../../../../etc/passwd",
        "out",
        "out-relative",
        "up/secret",
        "twice",
        "processes/self/environ",
        "zero",
        "fifo",
        ".",
        "a b",
        "",
    ],
)
def test_a_path_outside_the_root_or_to_no_regular_file_is_refused(root: Path, name: str) -> None:
    """Opening the named pipe would wait for ever."""
    with pytest.raises(UrlRefused) as refusal:
        Folder(root).read(name, 1000)
    assert str(root.parent) not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["none.jpg", "a b/1.jpg/x", "loop", "a\0b", "x" * 300, "x/" * 3000]
)
def test_a_file_that_cannot_be_opened_is_missing(root: Path, name: str) -> None:
    with pytest.raises(ImageMissing) as failure:
        Folder(root).read(name, 1000)
    assert "GROUNDING_LOCAL_FILES_ROOT" in failure.value.hint
    assert len(failure.value.cause) < 200


def test_reading_stops_at_the_limit(root: Path) -> None:
    assert len(Folder(root).read("long.jpg", 1001)) == 1001
    with pytest.raises(ImageTooLarge):
        Folder(root).read("long.jpg", 1000)


def test_a_root_that_is_a_link_means_its_target(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert Folder(tmp_path / "link").read("a b/1.jpg", 1000) == BODY


@pytest.mark.parametrize(
    "wrong", ["/", "/proc", "/dev", "/proc/self", "/no/such/folder", "/etc/passwd"]
)
def test_a_root_that_cannot_be_a_folder_of_pictures_is_refused(wrong: str) -> None:
    with pytest.raises(SettingError, match="GROUNDING_LOCAL_FILES_ROOT"):
        Folder(Path(wrong))


@given(
    name=st.text(max_size=30)
    | st.lists(st.sampled_from(["..", "up", "out", "a b", "1.jpg"])).map("/".join)
)
def test_no_name_reads_anything_outside_the_root(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    top = tmp_path_factory.getbasetemp() / "law"
    root = top / "in"
    if not root.exists():
        (root / "a b").mkdir(parents=True)
        (root / "a b" / "1.jpg").write_bytes(BODY)
        (top / "1.jpg").write_bytes(SECRET)
        (root / "up").symlink_to(top)
        (root / "out").symlink_to(top / "1.jpg")
    try:
        assert Folder(root).read(name, 1000) == BODY
    except GroundingError:
        return


DEPTH = 200
"""Folders below the one that is exchanged: resolving them takes time, during which it can be."""


def test_a_folder_exchanged_for_a_link_while_a_file_is_opened_leads_nowhere(
    tmp_path: Path,
) -> None:
    root, below = tmp_path / "root", Path(*["d"] * DEPTH)
    for top, body in ((root / "swapped", BODY), (tmp_path / "outside", SECRET)):
        (top / below).mkdir(parents=True)
        (top / below / "1.jpg").write_bytes(body)
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            (root / "swapped").rename(tmp_path / "aside")
            (tmp_path / "link").rename(root / "swapped")
            time.sleep(1e-4)
            (root / "swapped").rename(tmp_path / "link")
            (tmp_path / "aside").rename(root / "swapped")
            time.sleep(1e-4)

    folder, name = Folder(root), str("swapped" / below / "1.jpg")
    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        outcomes = Counter(outcome_of(folder, name) for _ in range(500))
    finally:
        stop.set()
        thread.join()
    assert set(outcomes) <= {BODY, UrlRefused, ImageMissing}
    assert len(outcomes) > 1, "the exchange never came in between"


def outcome_of(folder: Folder, name: str) -> object:
    """Return the bytes of a file, or the kind of error that they end in."""
    try:
        return folder.read(name, 1000)
    except GroundingError as exc:
        return type(exc)


# Within a fetch


def test_local_files_are_read_from_the_mounted_folder(root: Path) -> None:
    with host(ok(b"from label studio")) as server:
        client = LabelStudioClient(server.origin)
        fetcher = Fetcher(rules(), client, folder=Folder(root))
        local = "/data/local-files/?d=a%20b/1.jpg"
        for value in (local, f"{server.origin}{local}", f"http://localhost:8080{local}"):
            assert fetcher.fetch(value) == BODY
        assert server.requests == []
        assert fetcher.fetch("/data/upload/1/cat.jpg") == b"from label studio"
        assert Fetcher(rules(), client).fetch(local) == b"from label studio"


def test_the_mounted_folder_needs_no_label_studio(root: Path) -> None:
    fetcher = Fetcher(rules(), folder=Folder(root))
    assert fetcher.fetch("/data/local-files/?d=a%20b/1.jpg") == BODY


@pytest.mark.parametrize("studio", [None, LabelStudioClient("http://ls:8080")])
def test_an_address_of_another_host_is_not_read_from_the_mounted_folder(
    root: Path, studio: LabelStudioClient | None
) -> None:
    with host(ok(b"elsewhere")) as server:
        foreign = f"http://foreign:{server.port}"
        fetcher = Fetcher(
            rules(foreign), studio, folder=Folder(root), resolve=Names(foreign=[["127.0.0.1"]])
        )
        assert fetcher.fetch(f"{foreign}/data/local-files/?d=inner.jpg") == b"elsewhere"
        with pytest.raises(UrlRefused):
            fetcher.fetch("//foreign/data/local-files/?d=inner.jpg")


@pytest.mark.parametrize(
    "d", ["../secret", "%2e%2e/secret", "..%2fsecret", "out", "a%00b", "fifo", "zero"]
)
def test_no_task_reads_the_disk_outside_the_folder(root: Path, d: str) -> None:
    with pytest.raises((UrlRefused, ImageMissing)):
        Fetcher(rules(), folder=Folder(root)).fetch(f"/data/local-files/?d={d}")
