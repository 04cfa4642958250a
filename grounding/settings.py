"""Every setting, read once from the environment, typed and checked.

A wrong value refuses to start: `Settings.load` raises a `SettingError` that names the variable.
An empty variable counts as unset. The name in the environment is the field's in capitals. Each may
instead come from a file: NAME_FILE holds its path, as with Docker's secrets, and NAME goes before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from grounding.errors import SettingError

SHAPES = Path(__file__).parent / "demo" / "shapes"
"""The shipped test and demo checkpoint: it knows only coloured shapes."""

ANSWERS = 3
"""To be raised with every change of prompts, parser or shapes checkpoint that changes answers."""

ANSWER_SETTINGS = (
    "model",
    "profile",
    "revision",
    "min_pixels",
    "max_pixels",
    "max_new_tokens",
    "repetition_penalty",
    "labels_per_question",
)
"""The settings that change what the model answers, hence the model version."""

REMOTE_ANSWER_SETTINGS = (
    "engine",
    "server",
    "dashscope_native",
    "image_format",
    "image_quality",
    "structured_output",
    "logprobs",
)
"""Those that matter with ENGINE=openai only."""

REMOTE_SLOTS = {"bulk_slots": 64, "interactive_slots": 8}
"""What slots default to with ENGINE=openai: they mostly wait for the server."""


def _clean_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if any(c.isspace() for c in text):
        raise ValueError("must not hold spaces or line breaks")
    if not (text.isascii() and text.isprintable()):  # no header takes it, and a log might show it
        raise ValueError("must hold nothing but letters, digits and signs of ASCII")
    return value


ServerName = Literal["vllm", "sglang", "dashscope", "generic"]
ImageFormat = Literal["jpeg", "png"]
Secret = Annotated[SecretStr, AfterValidator(_clean_secret)]


class Settings(BaseSettings):
    """All settings of one deployment; immutable. Times are seconds, sizes bytes or pixels."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    engine: Literal["local", "openai"] = Field(
        "local", description="Where the model runs: in the worker, or behind OPENAI_BASE_URL"
    )
    model: str = Field(
        "",
        description="Hub id or folder of a Qwen2.5-VL checkpoint, or its name at OPENAI_BASE_URL; "
        "unset: the shapes demo model",
    )
    profile: str = Field(
        "",
        description="Family where the checkpoint does not tell: qwen2-vl, qwen2.5-vl, qwen3-vl",
    )
    revision: str = Field("", description="Branch, tag or commit of MODEL on the hub")
    device: str = Field(
        "", description="Torch device such as cuda:0; unset: the GPU if there is one, else the CPU"
    )
    torch_threads: int = Field(
        0, ge=0, description="Threads of one model process on a CPU; 0: torch's own choice"
    )
    min_pixels: int | None = Field(
        None,
        ge=28 * 28,
        description="Smallest picture the model is shown; unset: 256 patches' worth",
    )
    max_pixels: int | None = Field(
        None,
        ge=28 * 28,
        description="Largest picture the model is shown; unset: 1280 patches' worth",
    )
    max_new_tokens: int = Field(
        4096, ge=16, le=32768, description="Longest answer of the model, in tokens"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, le=2, description="1 is none; above 1 harms coordinates, whose digits repeat"
    )
    labels_per_question: int = Field(
        1, ge=0, le=999, description="Labels asked for at once: one finds most; 0: all"
    )
    max_batch: int = Field(8, ge=1, le=256, description="Pictures in one model call")
    job_timeout: float = Field(
        300,
        ge=1,
        description="How long one step of the model may take before its process is ended as hung",
    )

    openai_base_url: str = Field("", description="The API's root, such as http://vllm:8000/v1")
    openai_api_key: Secret | None = Field(None, description="Key of that API, where it wants one")
    server: ServerName = Field(
        "generic", description="What answers there: vllm, sglang, dashscope, or generic for others"
    )
    dashscope_native: bool = Field(
        False,
        description="Use DashScope's own generation endpoint, at https://dashscope.aliyuncs.com/api/v1",
    )
    server_priority: bool = Field(
        False,
        description="Tell the server who waits; vLLM then needs --scheduling-policy priority, "
        "SGLang --enable-priority-scheduling",
    )
    server_timeout: float = Field(
        120, ge=1, le=3600, description="How long one request to the server may take"
    )
    server_patience: float = Field(
        600,
        ge=0,
        le=86_400,
        description="How long a question is put again before its task fails, or waits in the queue",
    )
    max_in_flight: int = Field(
        64, ge=1, le=1024, description="Requests that one worker has at the server at once"
    )
    image_format: ImageFormat = Field(
        "jpeg", description="How pictures travel: jpeg, or png, exact at twenty times the CPU"
    )
    image_quality: int = Field(95, ge=50, le=100, description="Quality of the JPEG")
    logprobs: bool = Field(
        True, description="Ask the server for the probabilities that scores are made of"
    )
    structured_output: bool = Field(
        False, description="Have the server bind answers to a JSON schema"
    )
    self_test: Literal["refuse", "warn", "off"] = Field(
        "refuse",
        description="At start, ask the server a known picture, and what to do where it is wrong",
    )

    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey; unset: an embedded one in DATA_DIR"
    )
    data_dir: Path = Field(Path(".grounding"), description="Folder of the embedded queue")
    bulk_slots: int = Field(
        14,
        ge=1,
        le=256,
        description="Bulk jobs that one worker holds at once; 64 with ENGINE=openai",
    )
    interactive_slots: int = Field(
        2,
        ge=1,
        le=64,
        description="Jobs of waiting people that one worker holds at once; 8 with ENGINE=openai",
    )
    max_pending: int = Field(
        10_000,
        ge=1,
        description="Unfinished jobs of one project, beyond which its bulk is answered empty",
    )
    max_blob_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="Size of all data: pictures in unfinished jobs; the rest is answered empty",
    )
    max_worker_rss: int = Field(
        0,
        ge=0,
        description="Memory at which a worker finishes what it holds and starts anew; 0: none",
    )
    # Longer than what was answered stays in doubt, which is 180 s.
    result_ttl: int = Field(86_400, ge=200, description="How long a finished answer is kept")
    failed_ttl: int = Field(600, ge=1, description="How long a failed task is not asked again")
    lease_ttl: int = Field(6, ge=1, le=300, description="How long a silent worker keeps its jobs")

    interactive_deadline: float = Field(
        60, gt=0, le=95, description="How long an annotator's question may wait"
    )
    page_deadline: float = Field(
        8, gt=0, le=95, description="How long Label Studio may wait while it opens a task"
    )
    bulk_deadline: float = Field(
        90,
        gt=0,
        le=95,
        description="How long Retrieve predictions may wait; Label Studio hangs up at 100",
    )

    host: str = Field("127.0.0.1", description="Address that the server listens on")
    port: int = Field(9090, ge=1, le=65535, description="Port that the server listens on")
    threads: int = Field(16, ge=4, le=256, description="Requests that the server handles at once")
    basic_auth_user: str = Field(
        "", description="User that Label Studio must give; set both or none"
    )
    basic_auth_pass: SecretStr | None = Field(
        None, description="Password that Label Studio must give"
    )
    allow_anonymous: bool = Field(
        False, description="Listen beyond this machine without a password"
    )
    max_tasks: int = Field(20_000, ge=1, description="Tasks in one request")
    max_request_bytes: int = Field(64 * 2**20, ge=1024, description="Size of one request")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged"
    )

    label_studio_url: str = Field(
        "",
        description="Label Studio's address, for pictures that it has or can reach, and for "
        "late predictions",
    )
    label_studio_host: str = Field(
        "",
        description="Label Studio's own LABEL_STUDIO_HOST, where it differs from LABEL_STUDIO_URL",
    )
    label_studio_api_key: Secret | None = Field(
        None, description="Personal access token or legacy token of a Label Studio user"
    )
    local_files_root: Path | None = Field(
        None,
        description="Where Label Studio's LOCAL_FILES_DOCUMENT_ROOT is mounted for the worker; "
        "unset: its files are asked of Label Studio",
    )
    allowed_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Private image hosts that may be fetched: http://minio:9000,https://10.0.3.0/24",
    )
    max_image_bytes: int = Field(25 * 2**20, ge=1024, description="Size of one picture's file")
    max_image_pixels: int = Field(
        50_000_000, ge=1, le=89_478_485, description="Width times height of one picture"
    )
    decode_memory_bytes: int = Field(
        0, ge=0, description="Memory that one worker decodes pictures in; 0: a quarter of all"
    )

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="before")
    @classmethod
    def _more_slots_for_servers(cls, given: dict[str, object]) -> dict[str, object]:
        return REMOTE_SLOTS | given if given.get("engine") == "openai" else given

    @field_validator("label_studio_url", "label_studio_host", "openai_base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            raise ValueError("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or none")
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError("MIN_PIXELS must not exceed MAX_PIXELS")
        if self.engine == "openai":
            self._check_remote()
        return self

    def _check_remote(self) -> None:
        if not (self.openai_base_url and self.model):
            raise ValueError("ENGINE=openai needs OPENAI_BASE_URL and MODEL")
        if self.dashscope_native and self.server != "dashscope":
            raise ValueError("DASHSCOPE_NATIVE needs SERVER=dashscope")
        if self.server_priority and self.server not in ("vllm", "sglang"):
            raise ValueError("SERVER_PRIORITY needs SERVER=vllm or sglang")
        if self.repetition_penalty != 1 and self.server == "generic":
            raise ValueError("REPETITION_PENALTY needs SERVER=vllm, sglang or dashscope")

    @classmethod
    def load(cls, **overrides: object) -> Settings:
        """Return the settings of this process's environment, `overrides` first.

        Raises `SettingError` with one line that names every wrong variable and what it wants;
        a wrong value is never repeated, since it may be a secret.
        """
        try:
            return cls(**_from_files(cls.model_fields) | overrides)  # type: ignore[arg-type]
        except ValidationError as exc:
            wrong = "; ".join(_complaint(error["loc"], error["msg"]) for error in exc.errors())
            raise SettingError(
                wrong, hint="Correct the environment variable and start again"
            ) from exc

    def environment(self) -> dict[str, str]:
        """Return the variables that make a child process load these very settings."""
        return {name.upper(): _text(getattr(self, name)) for name in self.model_fields_set}

    @property
    def address(self) -> str:
        """Where the server listens, as host:port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def check_exposure(self) -> None:
        """Raise `SettingError` where others could reach the server without a password."""
        private = self.host in ("127.0.0.1", "localhost", "::1")
        if not (private or self.basic_auth_pass or self.allow_anonymous):
            raise SettingError(
                f"HOST={self.host} is reachable by others and there is no password",
                hint="Set BASIC_AUTH_USER and BASIC_AUTH_PASS, or ALLOW_ANONYMOUS=true",
            )

    @property
    def is_demo(self) -> bool:
        """Whether the shapes checkpoint is served, which knows only coloured shapes."""
        return not self.model

    @property
    def model_path(self) -> str:
        """The hub id or folder to load."""
        return self.model or str(SHAPES)

    @property
    def model_name(self) -> str:
        """The checkpoint's name without its owner or folder, as people know it."""
        return Path(self.model_path).name

    def model_version(self, label_config: str, extra_params: str = "") -> str:
        """Return the version of the answers to `label_config` under these settings.

        `extra_params` are the project's, as they are kept. The version is the model's name and a
        digest of all that changes its answers, so that Label Studio asks again exactly when an
        answer would differ.
        """
        remote = REMOTE_ANSWER_SETTINGS if self.engine == "openai" else ()
        facts = {name: getattr(self, name) for name in (*ANSWER_SETTINGS, *remote)}
        facts |= {"config": label_config, "extra_params": extra_params, "answers": ANSWERS}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return f"{self.model_name}-{digest[:10]}"


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    return "" if value is None else str(value)


def _from_files(names: Iterable[str]) -> dict[str, object]:
    """Return the settings that NAME_FILE variables bring; an empty file counts as unset.

    Raises `SettingError` where such a file cannot be read.
    """
    found: dict[str, object] = {}
    for name in names:
        path = os.environ.get(f"{name.upper()}_FILE")
        if path and not os.environ.get(name.upper()):
            found[name] = _file_text(f"{name.upper()}_FILE", Path(path))
    return {name: text for name, text in found.items() if text}


def _file_text(variable: str, path: Path) -> str:
    try:
        return path.read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise SettingError(
            f"{variable}: {path} cannot be read: {reason}",
            hint="Name a file that this user may read, or unset the variable",
        ) from exc


def _complaint(where: tuple[int | str, ...], message: str) -> str:
    name = str(where[0]).upper() + ": " if where else ""
    return name + message.removeprefix("Value error, ")
