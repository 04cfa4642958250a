"""Threats T1 to T10: what a task's picture may reach and take; one test for each, named by it.

Each is the shortest proof with real sockets and files. The rooms' own tests have the tables.
"""

from __future__ import annotations

import base64
import io
import os
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grounding.errors import ImageError, ImageMissing, ImageTooLarge, ImageUnreachable, UrlRefused
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.labelstudio.plan import ViewSpec
from grounding.media.addresses import read_url
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.local_files import Folder
from grounding.pipeline import Task, _cache_key
from tests.labelstudio.client.tokens import LEGACY, authorization
from tests.media.hosts import BODY, PUBLIC_IP, Names, Spy, dripping, host, moved, ok, rules
from tests.media.pictures import upright
from tests.media.test_fetch_inward import INWARD, names


def test_t1_no_spelling_of_an_inner_address_is_connected_to() -> None:
    spy = Spy()
    for value in INWARD:
        with pytest.raises(UrlRefused):
            Fetcher(rules(), resolve=names(), network=spy).fetch(value)
    assert spy.connections == []


def test_t2_a_redirect_leads_to_no_host_that_is_not_allowed() -> None:
    with host(ok(), address="127.0.0.2") as inner, host(moved(f"{inner.origin}/x")) as outer:
        with pytest.raises(UrlRefused):
            Fetcher(rules(outer)).fetch(f"{outer.origin}/a.png")
        assert inner.requests == []


def test_t3_a_name_that_changes_its_mind_is_asked_once_and_connected_to_as_checked() -> None:
    with host(ok()) as server:
        changing = Names(pictures_example=[[PUBLIC_IP], ["127.0.0.1"]])
        spy = Spy(instead=(server.address, server.port))
        fetcher = Fetcher(rules(), resolve=changing, network=spy)
        assert fetcher.fetch("http://pictures.example/a.png") == BODY
    assert changing.asked == ["pictures.example"]
    assert [ip for ip, _ in spy.connections] == [PUBLIC_IP]


@given(st.text(st.sampled_from("abAB0:/\\@#?%.[]-\t\n é①。")))
def test_t4_an_accepted_address_reads_the_same_in_its_written_form(tail: str) -> None:
    try:
        url = read_url(f"http://{tail}")
    except UrlRefused:
        return
    assert read_url(str(url)) == url
    assert "@" not in url.origin.host
    assert "\\" not in str(url)


def test_t5_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with host(ok()) as proxy, host(ok()) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
        assert Fetcher(rules(server)).fetch(f"{server.origin}/a.png") == BODY
        assert proxy.requests == []


@pytest.mark.parametrize("way", ["address", "redirect"])
def test_t6_the_token_goes_to_label_studio_alone(way: str) -> None:
    with host(ok()) as other, host(moved(f"{other.origin}/data/upload/1/a.png")) as home:
        client = LabelStudioClient(home.origin, LEGACY)
        fetcher = Fetcher(rules(other), client)
        there, here = f"{other.origin}/a.png", f"{home.origin}/data/upload/1/a.png"
        first = there if way == "address" else here
        assert fetcher.fetch(first, 1) == BODY
        assert [authorization(request) for request in other.requests] == [None]
        sent = [authorization(request) for request in home.requests]
        assert sent == ([] if way == "address" else [f"Token {LEGACY}"])


def test_t7_no_file_outside_the_mounted_folder_is_read(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.png"
    root.mkdir()
    secret.write_bytes(b"secret")
    (root / "link.png").symlink_to(secret)
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.png")
    folder = Folder(root)
    begun = time.monotonic()
    for name in (
        "link.png",
        "up/secret.png",
        "../secret.png",
        "pipe.png",
        "a\0.png",
        "/etc/passwd",
    ):
        with pytest.raises(ImageError):
            folder.read(name, 10**6)
    for value in ("/etc/passwd", "file:///etc/passwd", "/proc/self/environ"):
        with pytest.raises(UrlRefused):
            Fetcher(FetchRules(), folder=folder).fetch(value)
    assert time.monotonic() - begun < 5


def test_t8_no_view_is_shared_between_projects_or_tasks() -> None:
    spec = ViewSpec("image")
    tasks = [
        Task(number, {"image": address}, "<View/>", None, "v", project)
        for number in (1, 2)
        for address in ("a.png", "b.png")
        for project in ("1", "2")
    ]
    assert len({_cache_key(task, spec) for task in tasks}) == len(tasks)


def png(width: int, height: int) -> bytes:
    """Return a PNG of one black bit a pixel: few bytes, many pixels."""
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return out.getvalue()


def test_t9_a_picture_that_is_small_on_disk_and_huge_in_memory_is_refused_undecoded() -> None:
    begun = time.monotonic()
    for size in ((20_000, 4_000), (65_500, 1_000), (30_000, 30_000)):
        with pytest.raises(ImageTooLarge):
            upright(png(*size), 50_000_000)
    packed = zlib.compress(bytes(10**8), 9)
    with host(ok(packed, "Content-Encoding: deflate")) as server, pytest.raises(ImageError):
        Fetcher(rules(server)).fetch(f"{server.origin}/a.png")
    uri = f"data:image/png;base64,{base64.b64encode(bytes(2000)).decode()}"
    with pytest.raises(ImageTooLarge):
        Fetcher(rules(max_bytes=1000)).fetch(uri)
    assert time.monotonic() - begun < 30


def test_t10_a_host_that_drips_costs_its_own_time_alone() -> None:
    slow = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", 0.1)
    with host(slow) as server:
        begun = time.monotonic()
        with pytest.raises((ImageUnreachable, ImageMissing)) as failure:
            Fetcher(rules(server, total_s=1, retries=1)).fetch(f"{server.origin}/a.png")
        assert time.monotonic() - begun < 5
    assert failure.value.code == "fetch_timeout"
