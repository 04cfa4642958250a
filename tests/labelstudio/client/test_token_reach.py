"""The token reaches files of the configured Label Studio, and nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest

from grounding.errors import ImageUnreadable, UrlRefused
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher, FetchRules
from tests.labelstudio.client.tokens import FILE, LEGACY, authorization, fetch
from tests.media.hosts import BODY, Names, host, moved, ok

# Requests that carry the token


@pytest.mark.parametrize(
    "url",
    [
        f"http://ls:8080/sub{FILE}",
        "http://ls:8080/sub/storage-data/uploaded/?filepath=x",
        "http://ls:8080/sub/tasks/7/resolve/?fileuri=x",
        "http://ls:8080/sub/tasks/7/presign/?fileuri=x",
        "http://ls:8080/sub/data/local-files/?d=x",
        "http://ls:8080/sub/data/local-files?d=x",
    ],
)
def test_the_token_goes_with_a_request_for_a_file(url: str) -> None:
    client = LabelStudioClient("http://ls:8080/sub", LEGACY)
    assert client.headers(url) == {"Authorization": f"Token {LEGACY}"}
    assert LabelStudioClient("http://ls:8080/sub").headers(url) == {}


@pytest.mark.parametrize(
    "url",
    [
        f"https://ls:8080/sub{FILE}",
        f"http://ls:8081/sub{FILE}",
        f"http://ls/sub{FILE}",
        f"http://ls.evil:8080/sub{FILE}",
        f"http://ls:8080{FILE}",
        f"http://ls:8080/substitute{FILE}",
        f"http://ls:8080/abc{FILE}",
        "http://ls:8080/sub/api/projects/1/export",
        "http://ls:8080/sub/tasks/7/",
        "http://ls:8080/sub/tasks/7/presigned/?fileuri=x",
        "http://ls:8080/sub/data/local-files-too/?d=x",
        "http://ls:8080/sub/static/a.png",
        f"http://ls:8080/sub/api/x?next=/sub{FILE}",
        f"http://ls:8080/sub/api/x{FILE}",
        "http://ls:8080/sub/data/upload/../../api/users",
        "http://ls:8080/sub/data/upload/%2e%2e/%2E%2e/api/users",
        "http://ls:8080/sub/data/upload/..%2f..%2fapi/users",
    ],
)
def test_the_token_goes_with_nothing_else(url: str) -> None:
    assert LabelStudioClient("http://ls:8080/sub", LEGACY).headers(url) == {}


# Requests that never carry it


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_token_to_another_host(status: int) -> None:
    with host(address="127.0.0.2") as spy, host(moved(f"{spy.origin}{FILE}", status)) as server:
        assert fetch(FILE, server, LEGACY, spy) == BODY
    assert authorization(server.requests[0]) == f"Token {LEGACY}"
    assert authorization(spy.requests[0]) is None
    assert LEGACY not in spy.requests[0]


def test_no_redirect_takes_the_token_to_another_port() -> None:
    with host() as spy, host(moved(f"{spy.origin}{FILE}")) as server:
        assert fetch(FILE, server, LEGACY, spy) == BODY
    assert authorization(spy.requests[0]) is None


def test_after_a_redirect_away_from_label_studio_a_redirect_back_has_no_token() -> None:
    with host() as away, host(moved(f"{away.origin}/")) as server:
        away.replies = [moved(f"{server.origin}{FILE}")]
        server.replies = [moved(f"{away.origin}/"), ok()]
        assert fetch(FILE, server, LEGACY, away, server) == BODY
    assert [authorization(r) for r in server.requests] == [f"Token {LEGACY}", None]
    assert authorization(away.requests[0]) is None


def test_a_foreign_address_cannot_redirect_into_label_studio() -> None:
    with host() as server, host(moved(f"{server.origin}{FILE}")) as away, pytest.raises(UrlRefused):
        fetch(f"{away.origin}/a.png", server, LEGACY, away)
    assert len(away.requests) == 1
    assert server.requests == []


def test_within_label_studio_a_redirect_keeps_the_token_for_files_only() -> None:
    page = ok(b"<html>Log in", "Content-Type: text/html")
    ways = [moved("/storage-data/uploaded/?filepath=x"), moved("/user/login/"), page]
    with host(*ways) as server, pytest.raises(ImageUnreadable, match="is a login needed"):
        fetch(FILE, server)
    token = f"Token {LEGACY}"
    assert [authorization(r) for r in server.requests] == [token, token, None]


@pytest.mark.parametrize("name", ["labelstudio.evil", "evil"])
def test_a_foreign_host_gets_no_token_whatever_its_name(name: str) -> None:
    resolver = Names(**{"labelstudio": [["127.0.0.1"]], name.replace(".", "_"): [["127.0.0.1"]]})
    with host() as server:
        foreign = f"http://{name}:{server.port}"
        client = LabelStudioClient(f"http://labelstudio:{server.port}", LEGACY)
        fetcher = Fetcher(FetchRules(frozenset({foreign})), client, resolve=resolver)
        assert fetcher.fetch(f"{foreign}{FILE}") == BODY
        assert fetcher.fetch(FILE) == BODY
    assert [authorization(r) for r in server.requests] == [None, f"Token {LEGACY}"]


@pytest.mark.parametrize("odd", ["\n", "\t", "\x00", "\\", "\x7f", "\ud800"])
def test_a_path_with_control_characters_is_refused_on_label_studio_too(odd: str) -> None:
    with host() as server, pytest.raises(UrlRefused):
        fetch(f"/data/upload/1/a{odd}b.png", server)
    assert server.requests == []


def test_label_studio_may_be_private_where_no_other_host_may() -> None:
    with host() as server, host() as other:
        assert fetch(FILE, server) == BODY
        assert fetch("/static/a.png", server) == BODY
        with pytest.raises(UrlRefused):
            fetch(f"{other.origin}/a.png", server)
    assert authorization(server.requests[1]) is None
    assert other.requests == []


def test_a_path_without_a_label_studio_says_what_to_set() -> None:
    with pytest.raises(UrlRefused) as refusal:
        Fetcher(FetchRules()).fetch(FILE)
    assert "LABEL_STUDIO_URL" in refusal.value.hint


# Whose file it is

SUB = "http://ls:8080/sub"
THEIRS = {
    "an upload": "/data/upload/7/cat.png",
    "an upload as a name": "upload/7/cat.png",
    "an upload below the sub-path": "/sub/data/upload/7/cat.png",
    "an absolute upload": f"{SUB}/data/upload/7/cat.png",
    "an upload on the public host": "https://label.example/data/upload/7/cat.png",
    "an upload on loopback": "http://localhost:8080/data/upload/7/cat.png",
    "an encoded number": "/data/upload/%37/cat.png",
    "an encoded slash": "/data/upload%2F7%2Fcat.png",
    "a number with a zero": "/data/upload/03/cat.png",
    "a longer number": "/data/upload/34/cat.png",
    "no number": "/data/upload//7/cat.png",
    "a way out": "/data/upload/../upload/7/cat.png",
    "a stored upload": "/storage-data/uploaded/?filepath=upload/7/cat.png",
    "a stored upload, encoded": "/storage-data/uploaded/?filepath=upload%2F7%2Fcat.png",
    "a stored upload, named twice": (
        "/storage-data/uploaded/?filepath=upload/3/a.png&filepath=upload/7/cat.png"
    ),
    "a way out of its own": "/data/upload/3/../7/cat.png",
    "an encoded way out of its own": "/data/upload/3/%2e%2e/7/cat.png",
    "a way out, encoded twice": "/data/upload/3/%252e%252e/7/cat.png",
    "a way out with an encoded slash": "/data/upload/3/..%2f7/cat.png",
    "an absolute way out": f"{SUB}/data/upload/3/../7/cat.png",
    "a way in from elsewhere": "/static/../data/upload/7/cat.png",
    "an upload in capitals of the host": "HTTP://LS:8080/sub/data/upload/7/cat.png",
    "an upload with the public host's port": "https://LABEL.example:443/data/upload/7/cat.png",
    "an upload on loopback's other address": "http://[::1]/data/upload/7/cat.png",
    "an upload below another path": "/other/data/upload/7/cat.png",
    "an upload after two slashes": f"{SUB}//data/upload/7/cat.png",
    "an upload with a query": "/data/upload/7/cat.png?d=/data/upload/3/cat.png",
    "an upload with a fragment": "/data/upload/7/cat.png#/data/upload/3/cat.png",
    "an encoded word": "/data/%75pload/7/cat.png",
    "a wide digit": "/data/upload/３/cat.png",
    "a stored upload, encoded twice": "/storage-data/uploaded/?filepath=%2575pload/7/cat.png",
    "a stored upload's way out": "/storage-data/uploaded/?filepath=upload/3/../7/cat.png",
    "a stored upload behind a dot": "/storage-data/uploaded/?filepath=./upload/7/cat.png",
    "a stored upload after a slash": "/storage-data/uploaded/?filepath=/upload/7/cat.png",
    "a stored upload under an encoded name": "/storage-data/uploaded/?%66ilepath=upload/7/a.png",
    "a user's picture": "/storage-data/uploaded/?filepath=avatars/ann.png",
    "another task by a way out of its own": "/tasks/5/../8/presign/?fileuri=czM6Ly9i",
    "another task by a way out": f"{SUB}/tasks/5/../8/presign/?fileuri=czM6Ly9i",
    "another task of the API": "/api/tasks/8/presign/?fileuri=czM6Ly9i",
    "another task with an encoded number": "/tasks/%38/presign/?fileuri=czM6Ly9i",
    "a task with a zero": "/tasks/05/presign/?fileuri=czM6Ly9i",
    "another project's storage of the API": "/api/projects/7/presign/?fileuri=czM6Ly9i",
    "another project's storage by a way out": f"{SUB}/projects/3/../7/resolve/?fileuri=b",
    "another task": "/tasks/8/presign/?fileuri=czM6Ly9i",
    "another task, resolved": f"{SUB}/tasks/8/resolve/?fileuri=czM6Ly9i",
    "another project's storage": "/projects/7/presign/?fileuri=czM6Ly9i",
}
OURS = {
    "an upload": "/data/upload/3/cat.png",
    "an upload as a name": "upload/3/cat.png",
    "an absolute upload": f"{SUB}/data/upload/3/a%20cat.png",
    "a stored upload": "/storage-data/uploaded/?filepath=upload/3/cat.png",
    "its task": "/tasks/5/presign/?fileuri=czM6Ly9i",
    "its project": "/projects/3/resolve/?fileuri=czM6Ly9i",
    "a cloud object": "s3://bucket/upload/7/cat.png",
    "a local file, which has no owner": "/data/local-files/?d=upload/7/cat.png",
    "another host": "https://pictures.example/data/upload/7/cat.png",
}


@pytest.mark.parametrize("home", [SUB, "http://ls:8080"], ids=["below a path", "at the root"])
@pytest.mark.parametrize("address", THEIRS.values(), ids=THEIRS)
def test_a_task_names_no_file_of_another_project_or_task(address: str, home: str) -> None:
    client = LabelStudioClient(home, LEGACY, public="https://label.example")
    with pytest.raises(UrlRefused, match=r"file of another (project|task)"):
        client.check_owner(address, 5, "3.1795316671")


@pytest.mark.parametrize("address", OURS.values(), ids=OURS)
def test_a_task_names_files_of_its_own(address: str) -> None:
    client = LabelStudioClient(SUB, LEGACY, public="https://label.example")
    client.check_owner(address, 5, "3.1795316671")
    client.check_owner(address, 5, "3")


NOBODY_S = {
    "a user name": "http://u:p@ls:8080/sub/data/upload/7/cat.png",
    "a user name like the host": "http://ls:8080@evil/sub/data/upload/7/cat.png",
    "a host with a dot": "http://ls.:8080/sub/data/upload/7/cat.png",
    "another port": "http://ls:8081/sub/data/upload/7/cat.png",
    "another scheme": "https://ls:8080/sub/data/upload/7/cat.png",
    "two slashes": "//data/upload/7/cat.png",
    "capitals in the path": "/DATA/upload/7/cat.png",
    "two slashes within": "/data//upload/7/cat.png",
    "a file of the API": "/api/import/file-upload/12",
    "an export": "/data/export/7.json",
    "a presign without its slash": "/tasks/8/presign?fileuri=czM6Ly9i",
}


@pytest.mark.parametrize("address", NOBODY_S.values(), ids=NOBODY_S)
def test_what_is_no_file_of_label_studio_s_gets_no_token(address: str) -> None:
    client = LabelStudioClient(SUB, LEGACY, public="https://label.example")
    headers: dict[str, str] = {}
    with suppress(UrlRefused):  # then it is not asked for at all
        headers = client.headers(client.address(address, 5) or address)
    assert headers == {}


@pytest.mark.parametrize("name", ["cat.png", "film.mp4"])
def test_a_way_out_of_a_project_s_uploads_is_not_even_asked_for(name: str) -> None:
    with host() as server:
        client = LabelStudioClient(server.origin, LEGACY)
        with pytest.raises(UrlRefused, match="another project"):
            client.check_owner(f"/data/upload/3/../7/{name}", 5, "3")
        fetch(f"/data/upload/3/../7/{name}", server)  # what would be asked for without the check
    assert f"GET /data/upload/7/{name} ".encode() in server.requests[0].encode()


def test_without_a_project_uploads_are_anyone_s() -> None:
    LabelStudioClient(SUB, LEGACY).check_owner("/data/upload/7/cat.png", None, "")
