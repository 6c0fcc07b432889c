"""Many users of one service, served as the official client serves them: one request in flight for each."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from typing import Any

import websocket

from tests.support.devoid_client import Client, connect_again
from tests.support.harness import PATIENCE_S, Stack


class Service:
    """A bot. Sends ``requests`` requests for each user, each after the end of the previous one."""

    def __init__(self, stack: Stack, requests: dict[int, list[dict[str, Any]]]) -> None:
        self._stack = stack
        self._client = Client(stack)
        self._left = {user: deque(wanted) for user, wanted in requests.items()}
        #: Requests that were sent and have no message yet.
        self._unanswered: dict[int, dict[str, Any]] = {}
        #: Received messages in order: user and notice.
        self.told: list[tuple[int, str]] = []
        for user in self._left:
            self._send(user)

    @property
    def ends(self) -> Counter[int]:
        """Number of ended requests of each user."""
        return Counter(user for user, word in self.told if word in ("ok", "error"))

    def serve(self, messages: int) -> None:
        """Receive this many messages. A broken socket is opened again after two seconds."""
        wanted = len(self.told) + messages
        while len(self.told) < wanted:
            message = self._client.messages.get(timeout=PATIENCE_S)
            if message is None:
                self._client = connect_again(self._stack)
                for user in list(self._unanswered):  # it is unknown whether the server had accepted the request
                    self._ask(user)
                continue
            user, word = message["service_info"]["user_id"], message["gen_status"]
            self._unanswered.pop(user, None)
            self.told.append((user, word))
            if word in ("ok", "error"):
                self._send(user)

    def close(self) -> None:
        self._client.close()

    def _send(self, user: int) -> None:
        if self._left[user]:
            self._unanswered[user] = self._left[user].popleft()
            self._ask(user)

    def _ask(self, user: int) -> None:
        with suppress(OSError, websocket.WebSocketException):  # a broken socket is detected when it is read
            self._client.ask(service_info={"user_id": user}, **self._unanswered[user])
