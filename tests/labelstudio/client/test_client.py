"""A task's value leads to one address on Label Studio; a refusal there names the cure."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import DataError, ImageMissing, ImageUnreadable, SettingError, UrlRefused
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.labelstudio.interactive.status import explain_failure
from grounding.media.fetch import Fetcher, FetchRules
from tests.labelstudio.client.tokens import FILE, LEGACY, authorization, fetch
from tests.media.hosts import BODY, answer, host, moved, ok

LOCAL = "/data/local-files/?d=a%20b/1.jpg"


# Addresses


@pytest.mark.parametrize(
    ("base", "value", "address"),
    [
        ("http://ls:8080", FILE, f"http://ls:8080{FILE}"),
        ("http://ls:8080/", FILE, f"http://ls:8080{FILE}"),
        ("https://ls", "/data/upload/1/a%20b.jpg?x=%2F", "https://ls/data/upload/1/a%20b.jpg?x=%2F"),
        ("https://ls", "/data/upload/1/фото 1.jpg", "https://ls/data/upload/1/%D1%84%D0%BE%D1%82%D0%BE%201.jpg"),
        ("https://ls", "upload/1/cat.jpg", f"https://ls{FILE}"),
        ("https://ls", "/upload/1/cat.jpg", f"https://ls{FILE}"),
        ("https://ls", "data/upload/1/cat.jpg", f"https://ls{FILE}"),
        ("https://ls", "/storage-data/uploaded/?filepath=upload/1/x", "https://ls/storage-data/uploaded/?filepath=upload/1/x"),
        ("https://ls", "/tasks/7/resolve/?fileuri=czM6", "https://ls/tasks/7/resolve/?fileuri=czM6"),
        ("https://ls", "/projects/7/presign/?fileuri=czM6", "https://ls/projects/7/presign/?fileuri=czM6"),
        ("https://ls", "/static/samples/sample.jpg", "https://ls/static/samples/sample.jpg"),
        ("https://ls/sub", f"/static/a.png?next={FILE}", f"https://ls/static/a.png?next={FILE}"),
        ("https://ls/sub", FILE, f"https://ls/sub{FILE}"),
        ("https://ls/sub", f"/sub{FILE}", f"https://ls/sub{FILE}"),
        ("https://ls/sub/", f"https://ls/sub{FILE}", f"https://ls/sub{FILE}"),
        ("https://ls/sub", "/static/samples/sample.jpg", "https://ls/static/samples/sample.jpg"),
        ("http://ls:8080", f"/label-studio{FILE}", f"http://ls:8080{FILE}"),
        ("http://ls:8080", f"http://ls:8080{FILE}", f"http://ls:8080{FILE}"),
        ("http://LS:80", f"HTTP://ls{FILE}", f"http://ls{FILE}"),
        ("http://ls:8080", "http://ls:8080/other.jpg", "http://ls:8080/other.jpg"),
        ("http://ls:8080", LOCAL, f"http://ls:8080{LOCAL}"),
        ("http://ls:8080", "/data/local-files?d=a.png", "http://ls:8080/data/local-files?d=a.png"),
        ("http://ls:8080", "/data/local-files/?d=a b.png", "http://ls:8080/data/local-files/?d=a%20b.png"),
        ("http://ls:8080", f"http://localhost:8080{LOCAL}", f"http://ls:8080{LOCAL}"),
        ("https://ls/sub", f"https://ls/sub{LOCAL}", f"https://ls/sub{LOCAL}"),
        ("https://ls/sub", LOCAL, f"https://ls/sub{LOCAL}"),
        ("http://ls:8080", f"http://localhost:8080{FILE}", f"http://ls:8080{FILE}"),
        ("http://ls:8080", f"http://127.0.0.1{FILE}", f"http://ls:8080{FILE}"),
        ("http://ls:8080", f"http://[::1]:8080{FILE}", f"http://ls:8080{FILE}"),
    ],
)  # fmt: skip
def test_every_way_to_write_a_file_leads_to_one_address(
    base: str, value: str, address: str
) -> None:
    assert LabelStudioClient(base).address(value, None) == address


@pytest.mark.parametrize(
    "value",
    [
        "https://pictures.example/a.png",
        f"https://pictures.example{FILE}",
        f"http://ls.evil{FILE}",
        f"http://ls.evil:8080{FILE}",
        f"http://ls:8081{FILE}",
        f"http://ls{FILE}",
        f"https://ls:8080{FILE}",
        f"http://ls:8080@evil{FILE}",
        f"http://me@ls:8080{FILE}",
        f"//ls:8080{FILE}",
        "http://localhost:9000/bucket/a.png",
        f"http://pictures.example/?next=http://ls:8080{FILE}",
        f"http://localhost.evil{FILE}",
        f"http://localhost:9000/a.png?next={FILE}",
        "http://[",
        "$undefined$",
        "cat.jpg",
        "",
    ],
)
def test_an_address_elsewhere_is_not_on_label_studio(value: str) -> None:
    assert LabelStudioClient("http://ls:8080", LEGACY).address(value, None) is None


@given(value=st.text(max_size=60) | st.text(max_size=40).map("/data/upload/".__add__))
def test_every_address_is_on_this_label_studio(value: str) -> None:
    try:
        address = LabelStudioClient("http://ls:8080/sub").address(value, None)
    except UrlRefused:
        return
    assert address is None or address.startswith("http://ls:8080/")


@pytest.mark.parametrize(
    "url", ["", "ls:8080", "ftp://ls", "http://", "http://me:secret@ls", "http://l s"]
)
def test_an_unreadable_address_of_label_studio_refuses_to_start(url: str) -> None:
    with pytest.raises(SettingError) as failure:
        LabelStudioClient(url)
    assert "secret" not in str(failure.value)


PUBLIC = "https://label.example/annotate"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (f"{PUBLIC}{LOCAL}", f"http://ls:8080{LOCAL}"),
        (f"{PUBLIC}{FILE}", f"http://ls:8080{FILE}"),
        (f"/annotate{FILE}", f"http://ls:8080{FILE}"),
        (f"HTTPS://LABEL.example:443/annotate{FILE}", f"http://ls:8080{FILE}"),
        (f"{PUBLIC}/static/a.png", None),
        (f"http://label.example/annotate{FILE}", None),
        (f"https://label.example.evil/annotate{FILE}", None),
    ],
)
def test_files_at_the_public_address_are_fetched_from_the_configured_address(
    value: str, address: str | None
) -> None:
    client = LabelStudioClient("http://ls:8080", LEGACY, public=PUBLIC)
    assert client.address(value, None) == address


def test_an_unreadable_public_address_refuses_to_start() -> None:
    with pytest.raises(SettingError, match="LABEL_STUDIO_HOST"):
        LabelStudioClient("http://ls:8080", public="https://me:secret@label.example")


# Cloud storage


@pytest.mark.parametrize("base", ["", "/sub"])
@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/key.png",
        "S3://bucket/a/b/key.png",
        "gs://bucket/key with spaces?.png",
        "azure-blob://container/фото/1.png",
        "s3://bucket/a%20b+c.png",
    ],
)
def test_cloud_objects_are_requested_from_label_studio_by_task(base: str, uri: str) -> None:
    with host() as server:
        client = LabelStudioClient(server.origin + base, LEGACY)
        assert Fetcher(FetchRules(), client).fetch(uri, 7) == BODY
    target = server.requests[0].split()[1]
    path, _, query = target.partition("?")
    assert path == f"{base}/tasks/7/presign/"
    (coded,) = parse_qs(query)["fileuri"]
    assert base64.urlsafe_b64decode(coded).decode() == uri
    assert authorization(server.requests[0]) == f"Token {LEGACY}"


def test_a_presigned_redirect_is_followed_without_the_token() -> None:
    with host() as bucket, host(moved(f"{bucket.origin}/b/k?sig=x", 303)) as server:
        assert fetch("s3://b/k", server, LEGACY, bucket) == BODY
    assert bucket.requests[0].startswith("GET /b/k?sig=x ")
    assert authorization(bucket.requests[0]) is None


def test_a_bucket_on_a_private_address_must_be_allowed_by_the_operator() -> None:
    with host() as bucket, host(moved(f"{bucket.origin}/b/k?sig=secret", 303)) as server:
        with pytest.raises(UrlRefused) as refusal:
            fetch("s3://b/k", server)
        assert bucket.requests == []
    assert "GROUNDING_ALLOWED_ORIGINS" in refusal.value.hint
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("uri", ["s3://b/k", "gs://b/k", "azure-blob://c/k"])
def test_a_cloud_object_without_a_task_is_refused(uri: str) -> None:
    with host() as server, pytest.raises(DataError) as failure:
        Fetcher(FetchRules(), LabelStudioClient(server.origin, LEGACY)).fetch(uri)
    assert failure.value.code == "task_id_needed"
    assert server.requests == []


@pytest.mark.parametrize("uri", ["s3://b/k", "GS://b/k", "azure-blob://c/k", LOCAL])
def test_a_file_on_label_studio_without_its_address_names_the_setting(uri: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        Fetcher(FetchRules()).fetch(uri, 7)
    assert "LABEL_STUDIO_URL" in refusal.value.hint


# Refusals


@pytest.mark.parametrize(
    ("value", "status", "code", "cure"),
    [
        (FILE, 401, "image_forbidden", "LABEL_STUDIO_API_KEY"),
        (FILE, 403, "image_forbidden", "may see the project"),
        (FILE, 404, "image_not_found", "may see the project"),
        (LOCAL, 401, "image_forbidden", "LABEL_STUDIO_API_KEY"),
        (LOCAL, 403, "image_forbidden", "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"),
        (LOCAL, 404, "image_not_found", "the project's storages"),
        ("s3://b/k", 401, "image_forbidden", "LABEL_STUDIO_API_KEY"),
        ("s3://b/k", 403, "image_forbidden", "cloud storages"),
        ("s3://b/k", 404, "image_forbidden", "cloud storages"),
        ("s3://b/k", 424, "image_forbidden", "cloud storages"),
        ("/tasks/7/resolve/?fileuri=x", 404, "image_forbidden", "cloud storages"),
    ],
)
def test_a_refusal_names_the_cure_for_its_kind_of_file(
    value: str, status: int, code: str, cure: str
) -> None:
    with host(answer(status)) as server:
        with pytest.raises(ImageMissing, match=f"answered {status}") as failure:
            fetch(value, server)
        assert len(server.requests) == 1
    assert failure.value.code == code
    assert cure in failure.value.hint


@pytest.mark.parametrize("value", [FILE, LOCAL, "s3://b/k"])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_without_a_token_a_refusal_says_that_it_is_missing(value: str, status: int) -> None:
    """It is the commonest first fault, and the annotator reads these words."""
    with host(answer(status)) as server, pytest.raises(ImageMissing) as failure:
        fetch(value, server, "")
    assert "Label Studio's files need LABEL_STUDIO_API_KEY" in failure.value.hint
    assert str(failure.value) in explain_failure(failure.value.code, str(failure.value))


def test_without_a_token_a_login_page_instead_of_a_file_says_that_it_is_missing() -> None:
    page = ok(b"<html>Log in", "Content-Type: text/html")
    with host(moved("/user/login/"), page) as server, pytest.raises(ImageUnreadable) as failure:
        fetch(FILE, server, "")
    assert "Label Studio's files need LABEL_STUDIO_API_KEY" in failure.value.hint
