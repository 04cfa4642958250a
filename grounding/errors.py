"""Every error this project raises, in one tree.

    GroundingError
    ├── SettingError            a setting is missing or wrong: the process refuses to start
    ├── RequestError            the HTTP request cannot be read (status 4xx)
    │   └── ConfigError         the labelling config cannot be served
    ├── TaskError               this one task cannot be answered; the others are unharmed
    │   ├── DataError           the task's data lacks what the config names
    │   ├── ImageError          the picture cannot be had or read
    │   │   ├── UrlRefused      its address is not one that we may fetch
    │   │   ├── ImageMissing    its host says it is not there, or not for us
    │   │   ├── ImageUnreachable its host fails or is too slow; another try may work
    │   │   ├── ImageUnreadable its bytes are no picture that we read
    │   │   ├── ImageTooLarge   its bytes or pixels exceed the limits
    │   │   └── ImageTooThin    its aspect ratio exceeds the model's 200:1
    │   ├── AnswerError         the model's words hold no answer
    │   └── WorkerDied          each process that ran the task ended with it
    ├── EngineError             the model cannot be asked at present
    │   ├── EngineAway          nobody's question is answered: this one may wait
    │   ├── OutOfMemory         the device has no room for this picture or batch
    │   └── DeviceBroken        the device answers no more until the process is started anew
    ├── QueueError              Redis or the queue cannot be used at present
    └── LabelStudioError        Label Studio's API cannot be used at present
        ├── LabelStudioAway     it cannot be reached: nothing was done
        ├── AnswerLost          it failed, or its answer did not come: it may have done it
        ├── TokenRefused        the token is not accepted, or may not do that
        └── ImportRefused       it will not have what was sent, and has done nothing

Each class has a `code` (stable, for logs, counters and tests), `retryable` (whether the same
thing may work later) and `hint` (the cure). Instances carry the cause as their message and may
bring a code and hint of their own. Nothing above an edge names a foreign exception.
"""

from __future__ import annotations


class GroundingError(Exception):
    """Something went wrong that we can name: `code`, cause (the message) and `hint`, the cure."""

    code = "error"
    retryable = False
    hint = ""
    status = 500

    def __init__(self, cause: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(cause)
        self.code = code or self.code
        self.hint = self.hint if hint is None else hint

    @property
    def cause(self) -> str:
        """What happened, in one sentence without a secret in it."""
        return str(self.args[0])

    def __str__(self) -> str:
        """Return cause and cure on one line."""
        return f"{self.cause}. {self.hint}" if self.hint else self.cause


EXIT_SETTINGS = 2
"""Exit status of a process that its settings keep from starting: restarting it would not help."""


class SettingError(GroundingError):
    """A setting is missing or wrong: the process refuses to start."""

    code = "setting_invalid"


class RequestError(GroundingError):
    """The HTTP request cannot be read; `status` is the answer's."""

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


class TaskError(GroundingError):
    """This one task cannot be answered; the others are unharmed."""

    code = "task_failed"


class DataError(TaskError):
    """The task's data lacks what the labelling config names."""

    code = "data_missing"
    hint = "Import the task again with the key that the labelling config names"


class ImageError(TaskError):
    """The picture cannot be had or read."""

    code = "image_error"


class UrlRefused(ImageError):
    """The picture's address is not one that we may fetch."""

    code = "url_refused"
    hint = "Use a public http(s) address, or name its origin in GROUNDING_ALLOWED_ORIGINS"


class ImageMissing(ImageError):
    """The picture's host says that it is not there, or not for us."""

    code = "image_not_found"
    hint = "Check that the address works without a login"


class ImageUnreachable(ImageError):
    """The picture's host fails or is too slow; another try may work, `wait_s` seconds later."""

    code = "image_unreachable"
    retryable = True
    hint = "Check that the host is up and reachable from the worker"

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, wait_s: float = 0
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.wait_s = wait_s


class ImageUnreadable(ImageError):
    """The bytes are no picture that we read."""

    code = "image_unreadable"
    hint = "Use JPEG, PNG, WebP, GIF or BMP"


class ImageTooLarge(ImageError):
    """The picture's bytes or pixels exceed the limits."""

    code = "image_too_large"
    hint = "Shrink the picture, or raise GROUNDING_MAX_IMAGE_BYTES or GROUNDING_MAX_IMAGE_PIXELS"


class ImageTooThin(ImageError):
    """The picture's aspect ratio exceeds the model's 200:1."""

    code = "image_too_thin"
    hint = "Crop it: the model refuses pictures longer than 200 times their width"


class AnswerError(TaskError):
    """The model's words hold no answer."""

    code = "output_unreadable"
    retryable = True
    hint = "Ask again, with simpler words"


class WorkerDied(TaskError):
    """Each process that ran the task ended with it."""

    code = "worker_died"
    hint = "See the worker's log; the picture may exceed the device's memory"


class EngineError(GroundingError):
    """The model cannot be asked at present."""

    code = "model_unavailable"
    retryable = True
    status = 503
    hint = "See the worker's log"


class EngineAway(EngineError):
    """Nobody's question is answered at present, so that this one may wait.

    A `suspect` may have brought that about: the server failed at it before it failed altogether.
    """

    code = "server_away"
    hint = "Check OPENAI_BASE_URL, and that the server is up and reachable from the worker"

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, suspect: bool = False
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.suspect = suspect


class OutOfMemory(EngineError):
    """The device has no room for this picture or batch."""

    code = "out_of_memory"
    retryable = False
    hint = "Lower GROUNDING_MAX_PIXELS or GROUNDING_MAX_BATCH"


class DeviceBroken(EngineError):
    """The device answers no more until the process is started anew."""

    code = "device_broken"


class QueueError(GroundingError):
    """Redis or the queue cannot be used at present."""

    code = "queue_unavailable"
    retryable = True
    status = 503
    hint = "Check REDIS_URL and that the server is up"


class LabelStudioError(GroundingError):
    """Label Studio's API cannot be used at present."""

    code = "label_studio_error"
    retryable = True
    status = 502
    hint = "Check that LABEL_STUDIO_URL is Label Studio's address, sub-path included"


class LabelStudioAway(LabelStudioError):
    """It cannot be reached: nothing was done."""

    code = "label_studio_away"
    hint = "Check LABEL_STUDIO_URL and that Label Studio is up"


class AnswerLost(LabelStudioError):
    """It failed, or its answer did not come: it may have done what was asked nevertheless.

    Unless it has `ended`, as Label Studio's own answer tells, it may still be at it.
    """

    code = "answer_lost"
    hint = "See Label Studio's log"

    def __init__(
        self, cause: str, *, code: str | None = None, hint: str | None = None, ended: bool = False
    ) -> None:
        super().__init__(cause, code=code, hint=hint)
        self.ended = ended


class TokenRefused(LabelStudioError):
    """The token is not accepted, or its user may not do that."""

    code = "token_refused"
    hint = (
        "Set LABEL_STUDIO_API_KEY to a valid personal access token of a user who may change "
        "the project"
    )


class ImportRefused(LabelStudioError):
    """Label Studio will not have what was sent, and has done nothing."""

    code = "import_refused"
    retryable = False
    hint = "Its task may have been deleted"
