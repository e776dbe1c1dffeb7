"""A request that is not answered, told as clients of OpenAI's servers expect it."""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from typing import Any

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: Of HTTP.
        code: One word for programs.
        message: What is wrong, and what to do about it; nothing of what was sent but names.
        param: Which part of the request.
        retry_s: When to try again.

    Attributes:
        fault: For the log, where the server itself is at fault.
    """

    fault = ""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_s: float | None = None
    ) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message, self.param, self.retry_s = status, code, message, param, retry_s

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What is sent before it."""
        found = {} if self.retry_s is None else {"retry-after": str(max(1, math.ceil(self.retry_s)))}
        return found | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def fault_of(error: BaseException) -> str:
    """What went wrong, and where, without what it says, which may be what somebody said."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
    return f"{type(error).__name__}{where}"


def wrong(message: str, param: str | None = None, code: str = "invalid_value") -> RefusedError:
    """A request that asks for what cannot be."""
    return RefusedError(400, code, message, param)
