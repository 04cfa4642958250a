"""What label-studio-ml knows of us: a model class that takes the same path as our server.

It runs under `label_studio_ml.api.init_app` of the released 1.0.9 and of 2.x, whose signatures
differ. Their servers lose whole batches and mix projects up; `gunicorn _wsgi:app` does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from flask import after_this_request, has_request_context, jsonify, request
from label_studio_ml.model import LabelStudioMLBase

from grounding.errors import GroundingError
from grounding.settings import Settings
from grounding.web.app import error_answer
from grounding.web.entries import Entry
from grounding.web.predictions import Backend
from grounding.web.requests import PredictRequest


class QwenGrounding(LabelStudioMLBase):  # type: ignore[misc]
    """Boxes and points from Qwen2.5-VL, by way of the queue and its workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "schema" in _request_body():  # only a connection brings one
            _answer_setup()
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Tell 2.x, which calls this for each instance, the version that predictions carry."""
        params = _backend().extra_params(self._project())
        self.set("model_version", _backend().version(self._label_config(), params))

    def predict(
        self, tasks: Sequence[Any], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Entry]:
        """Return one entry per task, in order: a prediction, or `[]` where there is none yet."""
        # Nothing is owed: these servers do not tell when an answer is sent, and 1.0.9 gives
        # predictions a version of its own, which delivery could not know.
        asked = PredictRequest(tasks, self._project(), self._label_config(), context, stored=False)
        return _backend().predict(asked).entries

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Learn nothing: the model is used as it is."""

    def _label_config(self) -> str:
        """Return this request's own config: the instance may hold another project's."""
        body = _request_body()
        return str(body.get("label_config") or body.get("schema") or self.label_config or "<View/>")

    def _project(self) -> str:
        return str(_request_body().get("project") or getattr(self, "project_id", "") or "")


@cache
def _backend() -> Backend:
    return Backend(Settings.load())


def _request_body() -> Mapping[str, Any]:
    if not has_request_context():
        return {}
    body = request.get_json(silent=True)
    return body if isinstance(body, dict) else {}


def _answer_setup() -> None:
    """Answer this `/setup` as our own server does, whatever the library's has to say.

    The library's names the version itself, INITIAL, and refuses nothing; predictions would then
    be of another version than the one that they are compared with.
    """
    body = _request_body()
    project = str(body.get("project") or "")
    try:
        version = _backend().setup(str(body["schema"]), project, body.get("extra_params"))
        answer = jsonify(model_version=version)
    except GroundingError as exc:
        answer = error_answer(exc)
    after_this_request(lambda _: answer)
