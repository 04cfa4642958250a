"""What label-studio-ml knows of us: a model class that takes the same path as our server.

It runs under `label_studio_ml.api.init_app` of the released 1.0.9 and of 2.x, whose signatures
differ. Their servers lose whole batches and mix projects up; `gunicorn _wsgi:app` does not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from flask import after_this_request, has_request_context, jsonify, request
from label_studio_ml.model import LabelStudioMLBase

from grounding.errors import GroundingError, QueueError
from grounding.settings import Settings
from grounding.tasks import model_version
from grounding.web import predictions
from grounding.web.app import error_response
from grounding.web.bodies import PredictRequest
from grounding.web.predictions import Entry
from grounding.web.projects import connect_project, kept_params
from grounding.web.services import Services


class QwenGrounding(LabelStudioMLBase):  # type: ignore[misc]
    """Boxes and points from Qwen2.5-VL, by way of the queue and its workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "schema" in _request_body():  # only a connection brings one
            _replace_setup_response()
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Tell 2.x, which calls this for each instance, the version that predictions carry.

        Without a queue it tells none: `predict` still has an answer for annotators.
        """
        services = _services()
        with suppress(QueueError):
            params = kept_params(services, self._project())
            version = model_version(services.settings, self._label_config(), params)
            self.set("model_version", version)

    def predict(
        self, tasks: Sequence[Any], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Entry]:
        """Return one entry per task, in order: a prediction, or `[]` if there is none yet."""
        # Nothing is delivered late: these servers do not tell when an answer is sent, and 1.0.9
        # gives predictions a version of its own, which delivery could not know.
        asked = PredictRequest(
            tasks,
            self._project(),
            self._label_config(),
            context,
            begun=time.monotonic(),
            delivers_late=False,
        )
        return list(predictions.predict(_services(), asked).entries)

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Learn nothing: the model is used as it is."""

    def _label_config(self) -> str:
        """Return this request's own config: the instance may hold another project's."""
        body = _request_body()
        return str(body.get("label_config") or body.get("schema") or self.label_config or "<View/>")

    def _project(self) -> str:
        return str(_request_body().get("project") or getattr(self, "project_id", "") or "")


@cache
def _services() -> Services:
    return Services(Settings.load())


def _request_body() -> Mapping[str, Any]:
    if not has_request_context():
        return {}
    body = request.get_json(silent=True)
    return body if isinstance(body, dict) else {}


def _replace_setup_response() -> None:
    """Answer this `/setup` as our own server does, whatever the library's server answers.

    The library's names the version itself, INITIAL, and refuses nothing; predictions would then
    be of another version than the one that they are compared with.
    """
    body = _request_body()
    project, params = str(body.get("project") or ""), body.get("extra_params")
    try:
        version = connect_project(_services(), str(body["schema"]), project, params)
        response = jsonify(model_version=version)
    except GroundingError as exc:
        response = error_response(exc)
    after_this_request(lambda _: response)
