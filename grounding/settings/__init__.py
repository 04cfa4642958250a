"""Every setting, read once from the environment, typed and checked.

`Settings.load` raises `SettingError` for a wrong value, for an unknown `GROUNDING_…` variable and
for a misspelt name; the process then does not start. An empty variable counts as unset.
`grounding.settings.environment` tells which variable a setting is read from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
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
from pydantic_settings import NoDecode, SettingsConfigDict

from grounding.errors import SettingError
from grounding.settings.decoding import DecodingSettings
from grounding.settings.environment import (
    check_names,
    check_redis_address,
    check_secret,
    check_token,
    check_web_address,
    describe,
    find_clash,
    read_files,
    to_text,
    variable,
)
from grounding.settings.media import MediaSettings

SHAPES = Path(__file__).parents[1] / "demo" / "shapes"
"""The shipped test and demo checkpoint: it knows only coloured shapes."""

ANSWERS = 3
"""Raise it with every change of prompts, parser or shapes checkpoint that changes answers."""

ANSWER_SETTINGS = (
    "model",
    "profile",
    "revision",
    "min_pixels",
    "max_pixels",
    "max_new_tokens",
    "repetition_penalty",
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
"""The same for settings that matter with GROUNDING_ENGINE=openai only."""

FILM_ANSWER_SETTINGS = ("film_fps", "film_fine_fps", "film_max_frames", "film_max_tokens")
"""The same for labelling configs with films only."""

REMOTE_SLOTS = {"bulk_slots": 64, "interactive_slots": 8}
"""Defaults of slots with GROUNDING_ENGINE=openai: these slots mostly wait for the server."""

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  listened on, not called
SPARE_THREADS = 12
"""Server threads beyond those of waiting requests, for health checks and all that never waits."""

ServerName = Literal["vllm", "sglang", "dashscope", "llamacpp", "ollama", "generic"]
DataType = Literal["auto", "bfloat16", "float32"]
ImageFormat = Literal["jpeg", "png"]
Secret = Annotated[SecretStr, AfterValidator(check_secret)]
Token = Annotated[Secret, AfterValidator(check_token)]


class Settings(DecodingSettings, MediaSettings):
    """All settings of one deployment; immutable. Times are seconds, sizes bytes or pixels."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_ignore_empty=True,
        extra="ignore",
        alias_generator=variable,
    )

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
        description="Family, if the checkpoint tells none: qwen2-vl, qwen2.5-vl, qwen3-vl, qwen3.5",
    )
    revision: str = Field("", description="Branch, tag or commit of MODEL on the hub")
    adapter: str = Field(
        "", description="Hub id or folder of a LoRA adapter (PEFT) that is merged into MODEL"
    )
    adapter_revision: str = Field(
        "", description="Branch, tag or commit of GROUNDING_ADAPTER on the hub"
    )
    device: str = Field(
        "", description="Torch device such as cuda:0; unset: the GPU if there is one, else the CPU"
    )
    dtype: DataType = Field(
        "auto",
        description="Numbers of the model's weights; auto: bfloat16 on a GPU, float32 on a CPU, "
        "where bfloat16 takes half the memory, and less time with AVX512_BF16",
    )
    torch_threads: int = Field(
        0, ge=0, description="Threads of each call of the model on a CPU; 0: torch's own choice"
    )
    min_pixels: int | None = Field(
        None, ge=28 * 28, description="Smallest picture that the model sees; unset: 256 patches"
    )
    max_pixels: int | None = Field(
        None, ge=28 * 28, description="Largest picture that the model sees; unset: 1280 patches"
    )
    max_new_tokens: int = Field(
        4096, ge=16, le=32768, description="Longest answer of the model, in tokens"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, le=2, description="1 is none; above 1 harms coordinates, whose digits repeat"
    )
    labels_per_query: int = Field(
        1, ge=0, le=999, description="Labels in one request to the model: 1 finds most; 0: all"
    )
    job_timeout: float = Field(
        300, ge=1, description="Longest step of the model; after that its process is ended as hung"
    )

    openai_base_url: str = Field("", description="The API's root, such as http://vllm:8000/v1")
    openai_api_key: Secret | None = Field(None, description="Key of that API, if it needs one")
    server: ServerName = Field(
        "generic",
        description="What OPENAI_BASE_URL leads to; generic: any other server",
    )
    dashscope_native: bool = Field(
        False,
        description="Use DashScope's own generation endpoint, at https://dashscope.aliyuncs.com/api/v1",
    )
    server_priority: bool = Field(
        False,
        description="Send priorities with requests; vLLM then needs --scheduling-policy priority, "
        "SGLang --enable-priority-scheduling",
    )
    server_timeout: float = Field(
        120, ge=1, le=3600, description="Timeout of one request to the server"
    )
    server_retry_timeout: float = Field(
        600,
        ge=0,
        le=86_400,
        description="How long a request is retried before its task fails, or is queued again",
    )
    max_in_flight: int = Field(
        64, ge=1, le=1024, description="Requests of one worker that the server has at once"
    )
    image_format: ImageFormat = Field(
        "jpeg", description="How pictures are sent: jpeg, or png, exact at twenty times the CPU"
    )
    image_quality: int = Field(95, ge=50, le=100, description="Quality of the JPEG")
    logprobs: bool = Field(
        True, description="Ask the server for the token probabilities that scores are made of"
    )
    structured_output: bool = Field(
        False, description="Ask the server to hold lists of places to their form"
    )
    self_test: Literal["refuse", "warn", "off"] = Field(
        "refuse",
        description="At start, send the server a known picture; what to do if its answer is wrong",
    )

    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey; unset: an embedded one in GROUNDING_DATA_DIR"
    )
    allow_eviction: bool = Field(False, description="Work with a Redis that may evict tasks")
    data_dir: Path = Field(Path(".grounding"), description="Folder of the embedded queue")
    bulk_slots: int = Field(
        14,
        ge=1,
        le=256,
        description="Bulk jobs that one worker runs at once; 64 with GROUNDING_ENGINE=openai",
    )
    interactive_slots: int = Field(
        2,
        ge=1,
        le=64,
        description="Interactive jobs that one worker runs at once; 8 with GROUNDING_ENGINE=openai",
    )
    max_pending: int = Field(
        10_000, ge=1, description="Unfinished jobs of one project; more bulk tasks are answered []"
    )
    max_blob_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="Size of all data: pictures in unfinished jobs; more of them are answered []",
    )
    max_worker_rss: int = Field(
        0, ge=0, description="Memory at which a worker finishes its jobs and restarts; 0: no limit"
    )
    # Longer than an answer stays unconfirmed, which is 180 s.
    result_ttl: int = Field(86_400, ge=200, description="How long a finished answer is kept")
    failed_ttl: int = Field(
        600, ge=1, description="How long a failed task is answered [] without another try"
    )
    lease_ttl: int = Field(6, ge=1, le=300, description="How long a silent worker keeps its jobs")

    interactive_deadline: float = Field(
        60, gt=0, le=95, description="How long an annotator's request may wait"
    )
    page_deadline: float = Field(
        8, gt=0, le=95, description="How long Label Studio may wait while it opens a task"
    )
    bulk_deadline: float = Field(
        90, gt=0, le=95, description="How long a Retrieve may wait; Label Studio hangs up at 100"
    )
    shown_answers: int = Field(12, ge=0, le=60, description="Last answers shown at /; 0: none")
    max_interactive_requests: int = Field(
        48, ge=1, le=512, description="Annotators who may wait; the next reads that it is full"
    )
    max_page_requests: int = Field(
        24, ge=1, le=512, description="Opened tasks that may wait; the next is answered at once"
    )
    max_bulk_requests: int = Field(
        12, ge=1, le=512, description="Retrieves that may wait; the next is answered at once"
    )

    host: str = Field("127.0.0.1", description="Address that the server listens on")
    port: int = Field(9090, ge=1, le=65535, description="Port that the server listens on")
    basic_auth_user: str = Field("", description="User that Label Studio sends; set both or none")
    basic_auth_pass: SecretStr | None = Field(None, description="Password that Label Studio sends")
    allow_anonymous: bool = Field(
        False, description="Listen beyond this machine without a password"
    )
    max_tasks: int = Field(20_000, ge=1, description="Tasks in one request")
    max_request_bytes: int = Field(64 * 2**20, ge=1024, description="Size of one request")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe events that are logged"
    )

    label_studio_url: str = Field(
        "", description="Label Studio's address, for its pictures and for late predictions"
    )
    label_studio_host: str = Field(
        "", description="Label Studio's LABEL_STUDIO_HOST, if it is not LABEL_STUDIO_URL"
    )
    label_studio_api_key: Token | None = Field(
        None, description="Personal access token or legacy token of a Label Studio user"
    )
    local_files_root: Path | None = Field(
        None,
        description="Label Studio's LOCAL_FILES_DOCUMENT_ROOT, mounted here; unset: it is asked",
    )
    allowed_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Private image hosts that may be fetched: http://minio:9000,https://10.0.3.0/24",
    )

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="before")
    @classmethod
    def _default_remote_slots(cls, values: dict[str, object]) -> dict[str, object]:
        remote = values.get(variable("engine")) == "openai"
        return {variable(n): slots for n, slots in REMOTE_SLOTS.items() if remote} | values

    @field_validator("label_studio_url", "label_studio_host", "openai_base_url")
    @classmethod
    def _check_web_address(cls, value: str) -> str:
        if value:
            check_web_address(value)
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_redis_address(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            raise ValueError("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or none")
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError("GROUNDING_MIN_PIXELS must not exceed GROUNDING_MAX_PIXELS")
        if self.engine == "openai" and (clash := find_clash(self)):
            raise ValueError(clash)
        return self

    @classmethod
    def load(cls, **overrides: object) -> Settings:
        """Return the settings of this process's environment; `overrides` go first.

        Raises `SettingError` with one line that names every wrong variable and what it takes. The
        line never repeats a value, which may be a secret.
        """
        if unknown := overrides.keys() - cls.model_fields.keys():
            raise TypeError(f"there is no setting {', '.join(unknown)}")
        check_names(os.environ, cls.model_fields)
        values = {variable(n): v for n, v in (read_files(cls.model_fields) | overrides).items()}
        try:
            return cls(**values)  # type: ignore[arg-type]
        except ValidationError as exc:
            wrong = "; ".join(describe(error["loc"], error["msg"]) for error in exc.errors())
            raise SettingError(
                wrong, hint="Correct the environment variable and start again"
            ) from exc

    def environment(self) -> dict[str, str]:
        """Return the variables that make a child process load these very settings."""
        return {variable(name): to_text(getattr(self, name)) for name in self.model_fields_set}

    @property
    def threads(self) -> int:
        """Threads of the server: one for each request that may wait, and some for all others."""
        waiting = self.max_interactive_requests + self.max_page_requests + self.max_bulk_requests
        return waiting + SPARE_THREADS

    @property
    def address(self) -> str:
        """Where the server listens, as host:port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def own_url(self) -> str:
        """The server's address for programs on the same machine."""
        host = ANY_ADDRESS.get(self.host)
        return f"http://{host}:{self.port}" if host else f"http://{self.address}"

    def check_exposure(self) -> None:
        """Raise `SettingError` if other machines could reach the server without a password."""
        private = self.host in ("127.0.0.1", "localhost", "::1")
        if not (private or self.basic_auth_pass or self.allow_anonymous):
            raise SettingError(
                f"GROUNDING_HOST={self.host} is reachable by others and there is no password",
                hint="Set BASIC_AUTH_USER and BASIC_AUTH_PASS, or GROUNDING_ALLOW_ANONYMOUS=true",
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
        """The checkpoint's name without its owner or folder."""
        return Path(self.model_path).name

    def model_version(
        self, label_config: str, extra_params: str = "", later_tags: Sequence[str] = ()
    ) -> str:
        """Return the version of the predictions for `label_config` under these settings.

        The version is the model's name and a digest of everything that changes its answers, so
        that Label Studio asks again exactly when an answer would differ. `extra_params` are the
        project's; `later_tags` the controls of the config that an earlier release did not serve.
        """
        remote = REMOTE_ANSWER_SETTINGS if self.engine == "openai" else ()
        facts = {name: getattr(self, name) for name in (*ANSWER_SETTINGS, *remote)}
        facts |= {"config": label_config, "extra_params": extra_params, "answers": ANSWERS}
        facts |= {"labels_per_question": self.labels_per_query}  # its former name keeps versions
        if self.dtype != "auto" and self.engine == "local":
            facts["dtype"] = self.dtype
        facts |= {"tags": list(later_tags)} if later_tags else {}
        facts |= {"adapter": [self.adapter, self.adapter_revision]} if self.adapter else {}
        if any(tag.endswith(":film") for tag in later_tags):
            facts |= {name: getattr(self, name) for name in FILM_ANSWER_SETTINGS}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return f"{self.model_name}-{digest[:10]}"
