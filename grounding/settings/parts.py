"""The settings by what they are about: a class for each section of docs/settings.md.

Times are seconds, sizes bytes or pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from grounding.settings.environment import check_secret, check_token

ServerName = Literal["vllm", "sglang", "dashscope", "llamacpp", "ollama", "generic"]
DataType = Literal["auto", "bfloat16", "float32"]
Attention = Literal["sdpa", "eager", "flash_attention_2"]
ImageFormat = Literal["jpeg", "png"]
Secret = Annotated[SecretStr, AfterValidator(check_secret)]
Token = Annotated[Secret, AfterValidator(check_token)]


class ModelSettings(BaseSettings):
    """The model.

    From `max_batch` on they are of a model in the worker, and none of those changes an answer but
    by rounding: in float32 log-probabilities move by millionths, and no token that the tests
    compare; in bfloat16 a coordinate may move by a pixel.
    """

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

    max_batch: int = Field(8, ge=1, le=256, description="Queries of bulk that are answered at once")
    in_flight: bool = Field(True, description="Queries join others at work; false: whole batches")
    picture_cache_bytes: int | None = Field(
        None, ge=0, description="Device memory for pictures that were read; unset: part of the free"
    )
    attention: Attention = Field(
        "sdpa",
        description="How the model attends; eager: in whole batches; flash_attention_2: pictures "
        "by the package flash-attn, on an NVIDIA GPU since Ampere",
    )
    cuda_graphs: bool = Field(
        True, description="On a GPU, replay steps of the model as graphs, launched as a whole"
    )


class ModelServerSettings(BaseSettings):
    """A model server, with GROUNDING_ENGINE=openai."""

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


class MediaSettings(BaseSettings):
    """Pictures and films."""

    max_image_bytes: int = Field(25 * 2**20, ge=1024, description="Size of one picture's file")
    max_image_pixels: int = Field(
        50_000_000, ge=1, le=89_478_485, description="Width times height of one picture"
    )
    decode_memory_bytes: int = Field(
        0,
        ge=0,
        description="Memory of one worker for pictures and films' frames; 0: a quarter of all",
    )
    film_fps: float = Field(
        2.0, gt=0, le=30, description="Frames of a film that the model is shown, a second"
    )
    film_fine_fps: float = Field(
        8.0,
        ge=0,
        le=60,
        description="The same around the ends of what was found, for a second look; 0: none",
    )
    film_max_frames: int = Field(
        128,
        ge=4,
        le=768,
        description="Frames in one question; a longer film is asked about in parts that overlap",
    )
    film_max_tokens: int = Field(
        16_384,
        ge=1024,
        le=131_072,
        description="Image tokens of all frames in one question; each frame takes 128 to 768",
    )
    max_film_bytes: int = Field(512 * 2**20, ge=1024, description="Size of one film's file")
    max_film_seconds: float = Field(3600, gt=0, description="Length of one film")
    max_film_pixels: int = Field(
        9_000_000, ge=1, le=89_478_485, description="Width times height of one film"
    )
    film_memory_bytes: int = Field(
        2**30,
        ge=256 * 2**20,
        description="Memory of the process that decodes a film; a worker runs two at most",
    )
    film_timeout: float = Field(
        120, ge=1, le=3600, description="How long fetching a film may take, and each decoding of it"
    )


class QueueSettings(BaseSettings):
    """The queue, and what workers take from it."""

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


class WebSettings(BaseSettings):
    """The web server."""

    host: str = Field("127.0.0.1", description="Address that the server listens on")
    port: int = Field(9090, ge=1, le=65535, description="Port that the server listens on")
    basic_auth_user: str = Field("", description="User that Label Studio sends; set both or none")
    basic_auth_pass: SecretStr | None = Field(None, description="Password that Label Studio sends")
    allow_anonymous: bool = Field(
        False, description="Listen beyond this machine without a password"
    )
    max_tasks: int = Field(20_000, ge=1, description="Tasks in one request")
    max_request_bytes: int = Field(64 * 2**20, ge=1024, description="Size of one request")
    interactive_deadline: float = Field(
        60, gt=0, le=95, description="How long an annotator's request may wait"
    )
    page_deadline: float = Field(
        8, gt=0, le=95, description="How long Label Studio may wait while it opens a task"
    )
    bulk_deadline: float = Field(
        90, gt=0, le=95, description="How long a Retrieve may wait; Label Studio hangs up at 100"
    )
    max_interactive_requests: int = Field(
        48, ge=1, le=512, description="Annotators who may wait; the next reads that it is full"
    )
    max_page_requests: int = Field(
        24, ge=1, le=512, description="Opened tasks that may wait; the next is answered at once"
    )
    max_bulk_requests: int = Field(
        12, ge=1, le=512, description="Retrieves that may wait; the next is answered at once"
    )
    shown_answers: int = Field(12, ge=0, le=60, description="Last answers shown at /; 0: none")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe events that are logged"
    )


class LabelStudioSettings(BaseSettings):
    """Label Studio, and where pictures may come from."""

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
