# Three images of one file: web, worker (a model process of its own, with CUDA) and light-worker
# (GROUNDING_ENGINE=openai: the model is elsewhere).
#
# The base is a plain Python, not one of NVIDIA's: PyPI's torch for Linux brings its own CUDA
# libraries as wheels, so a CUDA base would only carry them twice. The host's driver comes in with
# the NVIDIA Container Toolkit. Raise the tag with Python's security releases, then run
# `make digests`.
FROM python:3.11.14-slim-bookworm AS base

# Nothing is written outside /tmp, /models and /data, so that the root may be read-only; 10001 is
# nobody's number on a usual host.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    HOME=/tmp \
    HF_HOME=/models \
    GROUNDING_DATA_DIR=/data \
    GROUNDING_HOST=0.0.0.0
RUN groupadd --gid 10001 grounding \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin grounding \
    && install --directory --owner=10001 --group=10001 /models /data
WORKDIR /app


# Packages first: they change seldom, and then only the layers below are built again.
FROM base AS web-packages
COPY requirements/web.txt requirements/
RUN --mount=type=cache,target=/tmp/.cache/pip pip install -r requirements/web.txt


FROM web-packages AS worker-packages
COPY requirements/worker.txt requirements/cuda.txt requirements/
# An index of CPU builds has a torch of the same version: refuse it here, not at the first task.
RUN --mount=type=cache,target=/tmp/.cache/pip pip install -r requirements/worker.txt -r requirements/cuda.txt \
    && python -c "import sys, torch; sys.exit(not torch.version.cuda and 'this torch has no CUDA')"


FROM worker-packages AS worker
COPY LICENSE gunicorn.conf.py _wsgi.py ./
COPY grounding grounding
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
# A model may take long to download and load: the worker is alive meanwhile, and says how far it is.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "grounding", "health", "worker"]
CMD ["python", "-m", "grounding", "worker"]


FROM web-packages AS light-worker
COPY LICENSE gunicorn.conf.py _wsgi.py ./
COPY grounding grounding
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "grounding", "health", "worker"]
CMD ["python", "-m", "grounding", "worker"]


# The last one is what a build without --target makes. It has no torch.
FROM web-packages AS web
COPY LICENSE gunicorn.conf.py _wsgi.py ./
COPY grounding grounding
USER 10001:10001
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=3 \
    CMD ["python", "-m", "grounding", "health", "server"]
CMD ["gunicorn", "_wsgi:app"]
