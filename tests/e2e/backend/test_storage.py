"""Pictures wherever Label Studio has them: its own, local files, a bucket; under a sub-path."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from grounding.demo.backend import free_port
from grounding.errors import DataError, ImageMissing, UrlRefused
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.local_files import Folder
from tests.e2e.client import Client, Task
from tests.e2e.hosting import backend
from tests.e2e.label_studio import label_studio
from tests.e2e.pictures import Sample, make_samples, sample_name
from tests.e2e.processes import Server
from tests.e2e.projects import BOXES, Project, open_project
from tests.e2e.score import Figures, measure
from tests.e2e.storages import Bucket, bucket, reverse_proxy

pytestmark = pytest.mark.e2e

PREFIX = "/annotate"
FOLDER = "two words, früh"
"""Where the pictures lie, below the root of local files and in the bucket: hard to spell."""

COUNT = 8
FOUND = 0.7
MEAN_IOU = 0.75

Tables = dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Site:
    """A Label Studio under a sub-path, its local files and a bucket, all with the same samples."""

    direct: Server
    studio: Client
    root: Path
    bucket: Bucket
    samples: list[Sample]

    def project(self, title: str) -> int:
        """Return a new project that no backend is connected to."""
        return self.studio.create_project(title, BOXES)

    def add_local_files(self, project: int) -> None:
        """Make a task of each file in the folder."""
        self.studio.add_storage(project, "localfiles", path=str(self.root / FOLDER))

    def add_bucket(self, project: int, *, presign: bool) -> None:
        """Make a task of each object in the bucket."""
        settings = self.bucket.settings(FOLDER, presign=presign)
        self.studio.add_storage(project, "s3", **settings)

    def fetcher(self, token: str, *allowed: str, root: Path | None = None) -> Fetcher:
        """Return a fetcher as the worker has one."""
        client = LabelStudioClient(self.studio.url, token)
        folder = Folder(root) if root else None
        return Fetcher(FetchRules(frozenset(allowed)), client, folder=folder)

    def bytes_of(self, task: Task) -> bytes:
        """Return the file that a task shows."""
        name = sample_name(task.data)
        return next(s.path.read_bytes() for s in self.samples if s.name == name)


@pytest.fixture(scope="module")
def site(output: Path) -> Iterator[Site]:
    """Everything running, and nothing connected yet."""
    home = output / "storage"
    root = home / "files"
    (root / FOLDER).mkdir(parents=True)
    samples = make_samples(root / FOLDER, COUNT)
    port = free_port()
    public = f"http://127.0.0.1:{port}{PREFIX}"
    settings = {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
        "USE_NGINX_FOR_UPLOADS": "false",
    }
    with (
        bucket(home) as objects,
        label_studio(home, public=public, settings=settings) as (server, studio),
        reverse_proxy(port, PREFIX, server.url),
    ):
        objects.put(FOLDER, [sample.path for sample in samples])
        yield Site(server, studio, root, objects, samples)


@pytest.fixture(scope="module", params=["personal", "legacy"])
def token(request: pytest.FixtureRequest, site: Site) -> str:
    """Each kind of token in turn."""
    legacy = request.param == "legacy"
    return site.studio.token if legacy else site.studio.personal_access_token()


@pytest.fixture(scope="module")
def local_task(site: Site) -> Task:
    """A task of a local file."""
    project = site.project("local file")
    site.add_local_files(project)
    return site.studio.tasks(project)[0]


@pytest.fixture(scope="module")
def uploaded_task(site: Site) -> Task:
    """A task of an uploaded file."""
    project = site.project("upload")
    site.studio.upload(project, [site.samples[0].path])
    return site.studio.tasks(project)[0]


@pytest.fixture(scope="module", params=["presigned", "proxied"])
def cloud_task(request: pytest.FixtureRequest, site: Site) -> Task:
    """A task of an object that Label Studio signs an address for, or hands on itself."""
    project = site.project(f"{request.param} object")
    site.add_bucket(project, presign=request.param == "presigned")
    return site.studio.tasks(project)[0]


def address(task: Task) -> str:
    """Return how Label Studio names the picture of a task."""
    (value,) = task.data.values()
    assert isinstance(value, str)
    return value


# Every way of writing an address, each byte for byte


def test_an_uploaded_file_is_fetched_however_it_is_written(
    site: Site, token: str, uploaded_task: Task
) -> None:
    """With the sub-path, without it, absolute, on localhost, and as its storage's own."""
    stored = address(uploaded_task)
    bare = stored.removeprefix(PREFIX)
    assert stored != bare
    port = site.studio.url.partition("127.0.0.1:")[2].partition("/")[0]
    ways = [
        stored,
        bare,
        bare.removeprefix("/data/"),
        f"{site.studio.url}{bare}",
        f"http://localhost:{port}{stored}",
        f"{site.direct.url}{bare}",
        f"/storage-data/uploaded/?filepath={quote(bare.removeprefix('/data/'))}",
    ]
    fetcher = site.fetcher(token)
    assert [fetcher.fetch(way) for way in ways] == [site.bytes_of(uploaded_task)] * len(ways)


def test_a_local_file_is_fetched_however_it_is_written(
    site: Site, token: str, local_task: Task
) -> None:
    """Absolute, as LABEL_STUDIO_HOST makes it, and as people import it by hand."""
    stored = address(local_task)
    assert stored.startswith(f"{site.studio.url}/data/local-files/?d=")
    bare = stored.removeprefix(site.studio.url)
    ways = [stored, bare, PREFIX + bare, bare.replace("/?", "?"), unquote(bare)]
    fetcher = site.fetcher(token)
    assert [fetcher.fetch(way) for way in ways] == [site.bytes_of(local_task)] * len(ways)


def test_a_mounted_folder_gives_the_same_files(site: Site, local_task: Task) -> None:
    """Without a token, since nobody is asked."""
    fetcher = site.fetcher("", root=site.root)
    assert fetcher.fetch(address(local_task)) == site.bytes_of(local_task)


def test_a_cloud_object_is_fetched_however_it_is_written(
    site: Site, token: str, cloud_task: Task
) -> None:
    """By its own address and task, and by the addresses that Label Studio's page makes of it."""
    uri = address(cloud_task)
    assert uri.startswith(f"s3://{site.bucket.name}/{FOLDER}/")
    coded = quote(urlsafe_b64encode(uri.encode()).decode())
    task = cloud_task.id
    ways = [
        uri,
        f"/tasks/{task}/resolve/?fileuri={coded}",
        f"{PREFIX}/tasks/{task}/presign/?fileuri={coded}",
        f"{site.studio.url}/tasks/{task}/resolve/?fileuri={coded}",
    ]
    fetcher = site.fetcher(token, site.bucket.server.url)
    found = [fetcher.fetch(way, task) for way in ways]
    assert found == [site.bytes_of(cloud_task)] * len(ways)


def test_a_private_bucket_has_to_be_opened_for_signed_addresses(site: Site, token: str) -> None:
    """Where Label Studio sends us is decided by who connects storages, not by the operator."""
    project = site.project("private bucket")
    site.add_bucket(project, presign=True)
    task = site.studio.tasks(project)[0]
    with pytest.raises(UrlRefused, match="GROUNDING_ALLOWED_ORIGINS"):
        site.fetcher(token).fetch(address(task), task.id)


def test_what_cannot_be_had_says_why(site: Site, token: str, local_task: Task) -> None:
    """An object of no storage of the project, one without a task, and a file that is gone."""
    fetcher = site.fetcher(token, site.bucket.server.url)
    with pytest.raises(ImageMissing, match=r"404.*cloud storages"):
        fetcher.fetch("s3://another/key.png", local_task.id)
    with pytest.raises(DataError) as needed:
        fetcher.fetch("s3://pictures/key.png")
    assert needed.value.code == "task_id_needed"
    with pytest.raises(ImageMissing, match=r"404.*storages"):
        fetcher.fetch("/data/local-files/?d=none.png")
    with pytest.raises(ImageMissing, match=r"401.*LABEL_STUDIO_API_KEY"):
        site.fetcher("0" * 40).fetch(address(local_task))


# Predictions, right by the truth


@pytest.fixture(scope="module")
def asking(output: Path, site: Site) -> Iterator[str]:
    """A backend that asks Label Studio for everything, with a personal access token."""
    folder = output / "storage" / "asking"
    folder.mkdir()
    with backend(folder, site.studio, site.bucket.server.url) as server:
        yield server.url


@pytest.fixture(scope="module")
def mounted(output: Path, site: Site) -> Iterator[str]:
    """A backend without any token that has the folder mounted.

    It knows Label Studio by its inner address, and the public one as what users see.
    """
    folder = output / "storage" / "mounted"
    folder.mkdir()
    settings = {
        "LABEL_STUDIO_URL": site.direct.url,
        "LABEL_STUDIO_HOST": site.studio.url,
        "LABEL_STUDIO_API_KEY": "",
        "GROUNDING_LOCAL_FILES_ROOT": str(site.root),
    }
    with backend(folder, site.studio, "", settings=settings) as server:
        yield server.url


def test_local_files_of_label_studio_are_predicted_right(
    site: Site, asking: str, figures: Tables
) -> None:
    """Fetched over HTTP."""
    project = open_project(site.studio, asking, "", "local files", BOXES)
    site.add_local_files(project.id)
    assert_right(figures, "local files over HTTP", retrieved(project, site))


def test_local_files_of_a_mounted_folder_are_predicted_right(
    site: Site, mounted: str, figures: Tables
) -> None:
    """Read from disk: there is no token to fetch them with."""
    project = open_project(site.studio, mounted, "", "mounted files", BOXES)
    site.add_local_files(project.id)
    assert_right(figures, "local files from disk", retrieved(project, site))


@pytest.mark.parametrize("presign", [True, False])
def test_objects_of_a_bucket_are_predicted_right(
    site: Site, asking: str, figures: Tables, presign: bool
) -> None:
    """By an address that Label Studio signs, or through Label Studio."""
    before = site.bucket.presigned_reads
    project = open_project(site.studio, asking, "", f"bucket {presign}", BOXES)
    site.add_bucket(project.id, presign=presign)
    assert_right(figures, f"bucket, presign={presign}", retrieved(project, site))
    read = site.bucket.presigned_reads - before
    assert read >= COUNT if presign else read == 0


def retrieved(project: Project, site: Site) -> Figures:
    """Retrieve every prediction of the project once; return how near they are to the truth."""
    saved = project.retrieve(COUNT).saved
    assert len(saved) == COUNT
    return measure(project.pair(saved, site.samples))


def assert_right(tables: Tables, title: str, measured: Figures) -> None:
    """What was found is most of what there is, and lies where it is."""
    tables[title] = measured.rows()
    assert len(measured.ious) >= FOUND * measured.wanted, measured
    assert measured.mean_iou >= MEAN_IOU, measured
