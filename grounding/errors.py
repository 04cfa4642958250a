"""Every error this project raises, in one tree.

    GroundingError
    ├── SettingError            a setting is missing or wrong: the process does not start
    ├── InputError              a command was given what it cannot use
    ├── RequestError            the HTTP request cannot be read (status 4xx)
    │   └── ConfigError         the labelling config cannot be served
    ├── WebServerBusy           the web server has no room for the request now
    ├── TaskError               this one task cannot be answered; the others can
    │   ├── DataError           the task's data lacks what the config names
    │   ├── ImageError          the picture cannot be fetched or read
    │   │   ├── UrlRefused      we may not fetch its address
    │   │   ├── ImageMissing    its host does not have it, or refuses us
    │   │   ├── ImageUnreachable its host fails or is too slow; another try may work
    │   │   ├── ImageUnreadable its bytes are no picture that we can decode
    │   │   ├── ImageTooLarge   its bytes or pixels exceed the limits
    │   │   └── ImageTooThin    its aspect ratio exceeds the model's 200:1
    │   ├── FilmError           the film cannot be read
    │   │   ├── FilmUnreadable  its bytes are no film that we can decode
    │   │   └── FilmTooLarge    its bytes, seconds, pixels or decoding exceed the limits
    │   ├── AnswerError         the model's text holds no answer
    │   └── WorkerDied          every process that ran the task died
    ├── EngineError             the model cannot answer now
    │   ├── EngineAway          the model server answers no request: this one may wait
    │   ├── DeadlinePassed      nobody waits for the answer any more
    │   ├── OutOfMemory         the device has no memory for this picture or batch
    │   └── DeviceBroken        the device does not answer until its process restarts
    ├── QueueError              Redis or the queue cannot be used now
    └── LabelStudioError        Label Studio's API cannot be used now
        ├── LabelStudioAway     it cannot be reached: nothing was done
        ├── AnswerLost          it failed, or its answer did not come: it may have done the request
        ├── TokenRefused        the token is not accepted, or lacks the permission
        └── ImportRefused       it refuses what was sent, and has done nothing

Each class has a `code` (stable, for logs, counters and tests), `retryable` (whether the same
request may work later) and `hint` (the cure). An instance has the cause as its message, and may
have a code and hint of its own: `special` names those codes that a task may fail with. Only the
module that calls a foreign library names its exceptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

EXIT_SETTINGS = 2
"""Exit status of a process that its settings keep from starting: restarting it would not help."""

EXIT_INPUT = 2
"""Exit status of a command that was given what it cannot use; click ends so too."""


class GroundingError(Exception):
    """A failure with a `code`, a cause (the message) and a `hint` (the cure)."""

    code = "error"
    special: tuple[str, ...] = ("fault", "model_differs")
    retryable = False
    hint = ""
    status = 500
    wait_s: float = 0
    """Seconds after which another try may work; 0 where nothing is known of it."""

    def __init__(self, cause: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(cause)
        self.code = code or self.code
        self.hint = self.hint if hint is None else hint

    @property
    def cause(self) -> str:
        """What happened, in one sentence without secrets."""
        return str(self.args[0])

    def __str__(self) -> str:
        """Return cause and cure on one line."""
        return f"{self.cause}. {self.hint}" if self.hint else self.cause


class SettingError(GroundingError):
    """A setting is missing or wrong: the process does not start."""

    code = "setting_invalid"


class InputError(GroundingError):
    """A command was given what it cannot use: a file, a folder or a name."""

    code = "input_invalid"
    hint = "See the command's --help"


class RequestError(GroundingError):
    """The HTTP request cannot be read; `status` is that of the response."""

    code = "request_invalid"
    status = 400

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, status: int = 400
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.status = status


class ConfigError(RequestError):
    """The labelling config cannot be served."""

    code = "label_config_invalid"
    hint = "Correct the labelling interface in the project's settings"


class WebServerBusy(GroundingError):
    """The web server has no room for the request now; another try may work in `wait_s` seconds."""

    code = "web_server_busy"
    retryable = True
    status = 503
    hint = "Ask again in a while, with fewer tasks at once"

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, wait_s: float = 0
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.wait_s = wait_s


class TaskError(GroundingError):
    """This one task cannot be answered; the others can."""

    code = "task_failed"
    special: tuple[str, ...] = ("prompt_refused", "prompt_too_long")


class DataError(TaskError):
    """The task's data lacks what the labelling config names."""

    code = "data_missing"
    special: tuple[str, ...] = (
        "config_expired",
        "data_expired",
        "data_invalid",
        "data_too_deep",
        "frame_rate_missing",
        "image_key_missing",
        "multi_image_unsupported",
        "prompt_empty",
        "prompt_field_invalid",
        "prompt_field_missing",
        "record_unreadable",
        "task_id_needed",
    )
    hint = "Import the task again with the key that the labelling config names"


class ImageError(TaskError):
    """The picture cannot be fetched or read."""

    code = "image_error"
    special: tuple[str, ...] = ("image_not_prepared",)


class UrlRefused(ImageError):
    """The picture's address may not be fetched."""

    code = "url_refused"
    special: tuple[str, ...] = ("url_too_long",)
    hint = "Use a public http(s) address, or name its origin in GROUNDING_ALLOWED_ORIGINS"


class ImageMissing(ImageError):
    """The picture's host does not have it, or refuses us."""

    code = "image_not_found"
    special: tuple[str, ...] = ("image_forbidden",)
    hint = "Check that the address works without a login"


class ImageUnreachable(ImageError):
    """The picture's host fails or is too slow; another try may work, `wait_s` seconds later."""

    code = "image_unreachable"
    special: tuple[str, ...] = ("fetch_timeout", "image_truncated")
    retryable = True
    hint = "Check that the host is up and reachable from the worker"

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, wait_s: float = 0
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.wait_s = wait_s


class ImageUnreadable(ImageError):
    """The bytes are no picture that we can decode."""

    code = "image_unreadable"
    special: tuple[str, ...] = ("image_empty", "image_format", "image_truncated")
    hint = "Use JPEG, PNG, WebP, GIF or BMP"


class ImageTooLarge(ImageError):
    """The picture's bytes or pixels exceed the limits."""

    code = "image_too_large"
    special: tuple[str, ...] = ("image_too_many_pixels",)
    hint = "Shrink the picture, or raise GROUNDING_MAX_IMAGE_BYTES or GROUNDING_MAX_IMAGE_PIXELS"


class ImageTooThin(ImageError):
    """The picture's aspect ratio exceeds the model's 200:1."""

    code = "image_too_thin"
    hint = "Crop it: the model refuses pictures longer than 200 times their width"


class FilmError(TaskError):
    """The film cannot be read; one that cannot be fetched is an `ImageError`."""

    code = "film_error"


class FilmUnreadable(FilmError):
    """The bytes are no film that we can decode."""

    code = "film_unreadable"
    special: tuple[str, ...] = ("film_format", "film_truncated")
    hint = "Use MP4 or WebM, whole and with a moving picture"


class FilmTooLarge(FilmError):
    """The film's bytes, seconds or pixels exceed the limits, or its decoding does."""

    code = "film_too_large"
    special: tuple[str, ...] = (
        "film_memory",
        "film_no_space",
        "film_timeout",
        "film_too_long",
        "film_too_many_parts",
        "film_too_many_pixels",
    )
    hint = "Shrink the film, or raise GROUNDING_MAX_FILM_BYTES"


class AnswerError(TaskError):
    """The model's text holds no answer."""

    code = "output_unreadable"
    special: tuple[str, ...] = ("output_refused", "output_truncated")
    retryable = True
    hint = "Ask in other words"


class WorkerDied(TaskError):
    """Every process that ran the task died."""

    code = "worker_died"
    hint = "See the worker's log; the picture may exceed the device's memory"


class EngineError(GroundingError):
    """The model cannot answer now."""

    code = "model_unavailable"
    special: tuple[str, ...] = (
        "checkpoint_damaged",
        "completion_unreadable",
        "hub_unreachable",
        "self_test_failed",
        "server_busy",
        "server_refused",
    )
    retryable = True
    status = 503
    hint = "See the worker's log"


class EngineAway(EngineError):
    """The model server answers no request now, so this one may wait.

    A `suspect` request may be the cause: the server failed at it before it failed altogether.
    """

    code = "server_away"
    hint = "Check OPENAI_BASE_URL, and that the server is up and reachable from the worker"

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, suspect: bool = False
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.suspect = suspect


class DeadlinePassed(EngineError):
    """Nobody waits for the answer any more: it was not begun, or ended before it was whole."""

    code = "deadline_passed"
    hint = "Ask again, or raise GROUNDING_INTERACTIVE_DEADLINE"

    def __init__(self, cause: str = "the time for this answer is over") -> None:
        super().__init__(cause)


class OutOfMemory(EngineError):
    """The device has no memory for this picture or batch."""

    code = "out_of_memory"
    retryable = False
    hint = "Lower GROUNDING_MAX_PIXELS or GROUNDING_MAX_BATCH"


class DeviceBroken(EngineError):
    """The device does not answer until its process restarts."""

    code = "device_broken"


class QueueError(GroundingError):
    """Redis or the queue cannot be used now."""

    code = "queue_unavailable"
    retryable = True
    status = 503
    hint = "Check REDIS_URL and that the server is up"


class LabelStudioError(GroundingError):
    """Label Studio's API cannot be used now."""

    code = "label_studio_error"
    retryable = True
    status = 502
    hint = "Check that LABEL_STUDIO_URL is Label Studio's address, sub-path included"


class LabelStudioAway(LabelStudioError):
    """Label Studio cannot be reached: nothing was done."""

    code = "label_studio_away"
    hint = "Check LABEL_STUDIO_URL and that Label Studio is up"


class AnswerLost(LabelStudioError):
    """Label Studio failed, or its answer did not come: it may have done the request all the same.

    With `ended` Label Studio reported the failure; without, it may still work on the request.
    """

    code = "answer_lost"
    hint = "See Label Studio's log"

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, ended: bool = False
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.ended = ended


class TokenRefused(LabelStudioError):
    """Label Studio does not accept the token, or its user lacks the permission."""

    code = "token_refused"
    hint = (
        "Set LABEL_STUDIO_API_KEY to a valid personal access token of a user who may change "
        "the project"
    )


class ImportRefused(LabelStudioError):
    """Label Studio refuses what was sent, and has done nothing."""

    code = "import_refused"
    retryable = False
    hint = "Its task may have been deleted"


def fault_of(error: Exception) -> GroundingError:
    """Return what a task fails with where this program itself is to blame: its log tells more."""
    return GroundingError(f"a fault of this program ({type(error).__name__})", code="fault")


def codes_of(*kinds: type[GroundingError]) -> set[str]:
    """Return the codes of errors of these kinds, with those of their special cases."""
    found = {code for kind in kinds for code in (kind.code, *kind.special)}
    below = [child for kind in kinds for child in kind.__subclasses__()]
    return found | codes_of(*below) if below else found


ANY_LIKENESS = 0.6
"""Similarity (difflib's ratio, 0 to 1) from which a cure offers a known name for an unknown one."""


def closest(name: str, known: Mapping[str, str], cutoff: float = ANY_LIKENESS) -> str | None:
    """Return the value of the key that is spelt most like `name`; None if no one is near enough."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return known[found[0]] if found else None
