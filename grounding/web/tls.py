"""TLS of the web server's own: who may connect waits as a greenlet does, and failures are counted.

A handshake that fails is one line of the log and one count of `/metrics`, and no fault of ours.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from gevent.ssl import SSLContext as GeventSSLContext

from grounding.errors import QueueError
from grounding.jobs.metrics import HANDSHAKES
from grounding.web.services import Services

log = logging.getLogger(__name__)

HUNG_UP = "hung_up"
CAUSES: tuple[tuple[str, str, str], ...] = (
    ("HTTP_REQUEST", "no_tls", "was http:// written for an address of this server?"),
    ("WRONG_VERSION", "no_tls", "what came is no TLS"),
    ("UNKNOWN_CA", "untrusted", "the caller does not know who signed our certificate"),
    ("CERTIFICATE", "untrusted", "the caller does not trust our certificate"),
    ("UNEXPECTED_EOF", HUNG_UP, "the caller hung up"),
)
"""What OpenSSL's reason has in it, the reason that is counted, and what it means."""


class LaterContext(GeventSSLContext):  # type: ignore[misc] # gevent has no types
    """Connections that wait as greenlets do, and leave the handshake to who serves them."""

    __slots__ = ()

    def wrap_socket(self, *args: Any, **options: Any) -> Any:
        """Return the connection before its handshake."""
        return super().wrap_socket(*args, **options | {"do_handshake_on_connect": False})


def tls_context(config: Any, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return gunicorn's settings of TLS, for connections that wait as greenlets do.

    With the library's own, each handshake and each idle connection holds up all others. gevent's
    server would shake hands before our worker can set a limit, and print a traceback of each
    handshake that fails.
    """
    context = make()
    context.__class__ = LaterContext  # it adds no state: certificates and ciphers stay
    return context


class TlsFailures:
    """Tells and counts the handshakes and connections that fail; used in one thread alone."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counts: Counter[str] = Counter()
        self._writer = threading.Thread()

    def note(self, error: OSError) -> None:
        """Count a failure, and tell it but where the caller only hung up, as a probe does."""
        reason, meaning = _explain(error)
        self._counts[HANDSHAKES + reason] += 1
        level = logging.DEBUG if reason == HUNG_UP else logging.INFO
        log.log(level, "a connection with TLS failed: %s", meaning)

    def write(self) -> None:
        """Add the counts to those of `/metrics`, in a thread: the queue may be slow, or away."""
        if self._counts and not self._writer.is_alive():
            counts, self._counts = self._counts, Counter()
            self._writer = threading.Thread(target=self._add, args=(counts,), daemon=True)
            self._writer.start()

    def _add(self, counts: Counter[str]) -> None:
        try:
            counters = self._services.queue.counters
        except QueueError as exc:  # there is nowhere to count
            log.debug("failures of TLS are not counted: %s", exc)
            return
        counters.add(counts)
        counters.flush()


def _explain(error: OSError) -> tuple[str, str]:
    """Return the reason that is counted, and what is told: nothing of what was sent."""
    if isinstance(error, TimeoutError):
        return "stalled", "it did not come to its end in time"
    if not isinstance(error, ssl.SSLError):
        return HUNG_UP, f"the caller hung up ({type(error).__name__})"
    told = error.reason or type(error).__name__
    found = ((reason, f"{text} ({told})") for sign, reason, text in CAUSES if sign in told)
    return next(found, ("other", told))
