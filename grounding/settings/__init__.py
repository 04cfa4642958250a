"""Every setting, read once from the environment, typed and checked.

`Settings.load` raises `SettingError` for a wrong value, for an unknown `GROUNDING_…` variable and
for a misspelt name; the process then does not start. An empty variable counts as unset.
`grounding.settings.parts` has the settings themselves, `grounding.settings.environment` the
variables that they are read from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import (
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from grounding.errors import SettingError
from grounding.settings.environment import (
    check_names,
    check_redis_address,
    check_web_address,
    describe,
    find_clash,
    read_files,
    to_text,
    variable,
)
from grounding.settings.parts import (
    LabelStudioSettings,
    MediaSettings,
    ModelServerSettings,
    ModelSettings,
    QueueSettings,
    WebSettings,
)

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


class Settings(
    ModelSettings,
    ModelServerSettings,
    MediaSettings,
    QueueSettings,
    WebSettings,
    LabelStudioSettings,
):
    """All settings of one deployment; immutable."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_ignore_empty=True,
        extra="ignore",
        alias_generator=variable,
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

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User and password that the server asks for; None where it asks for none."""
        secret = self.basic_auth_pass
        return (self.basic_auth_user, secret.get_secret_value()) if secret else None

    @property
    def label_studio_token(self) -> str:
        """The token for Label Studio's API; empty where none is set."""
        key = self.label_studio_api_key
        return key.get_secret_value() if key else ""

    @property
    def openai_token(self) -> str:
        """The key of the model server's API; empty where none is set."""
        return self.openai_api_key.get_secret_value() if self.openai_api_key else ""

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
