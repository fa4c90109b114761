"""Connections that lose no time: uvicorn by itself waits for ever for headers, and for answers to be taken."""

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

# A client gets this long to send a request's headers, and to take what the server has put into the connection.
IDLE_SECONDS = 20.0
# In a request's state: what closes its connection at once.
ABORT = "abort"


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, to clients that neither send nor take anything for ever."""

    _headers_due: asyncio.TimerHandle | None = None
    _taking_due: asyncio.TimerHandle | None = None
    idle_seconds = IDLE_SECONDS

    # uvicorn narrows the type of asyncio's protocol too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request, and send its answer as it comes."""
        super().connection_made(transport)
        self.app_state = self.app_state | {ABORT: transport.abort}
        # asyncio does so itself, but not where the listening socket was made by hand, as by `listen`: there the body of
        # an answer would wait some 40 ms for the client to acknowledge its head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Expect the rest of a request that has begun."""
        super().data_received(data)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        super().connection_lost(exc)
        for timer in (self._headers_due, self._taking_due):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """Expect the client to take most of what is in the connection."""
        super().pause_writing()
        self._expect_taking()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        super().resume_writing()
        if self._taking_due is not None and not self.transport.is_closing():
            self._taking_due.cancel()
            self._taking_due = None

    def on_response_complete(self) -> None:
        """Expect the client to take the rest of its last answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_taking()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, also where the client has never taken what is in it."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: whoever asks for WebSockets or HTTP/2 may be answered as if not (RFC 9110, section 7.8)."""

    def _expect_headers(self) -> None:
        at_work = self.cycle is not None and not self.cycle.response_complete
        if at_work and self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None
        elif not at_work and self._headers_due is None:
            self._headers_due = self.loop.call_later(self.idle_seconds, self.timeout_keep_alive_handler)

    def _expect_taking(self) -> None:
        if self._taking_due is None:
            self._taking_due = self.loop.call_later(self.idle_seconds, self.transport.abort)
