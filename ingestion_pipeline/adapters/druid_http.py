"""Requests to Druid's services: one session, a timeout on each, failures as errors of the tree.

What belongs here: sending and reading JSON. What does not: paths and their meaning (`adapters.druid`), which
error a refusal means (`domain.druid_failures`).
"""

from typing import Any

import requests

from ingestion_pipeline.domain.druid_failures import classify_response
from ingestion_pipeline.domain.redaction import without_secrets
from ingestion_pipeline.errors import ConfigurationError, DruidUnavailable

Timeout = tuple[float, float]
"""Seconds to connect, seconds to wait for bytes."""

CONNECT_SECONDS = 3.0
_UNUSABLE_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
)


class DruidHttp:
    """A session with Druid; not for several threads at once."""

    def __init__(self, *, username: str | None, password: str | None, timeout_seconds: float) -> None:
        self.timeout: Timeout = (min(CONNECT_SECONDS, timeout_seconds), timeout_seconds)
        self._session = requests.Session()
        if username is not None:
            self._session.auth = (username, password or "")

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def send(
        self, doing: str, method: str, url: str, *, timeout: Timeout | None = None, **arguments: Any
    ) -> requests.Response:
        """Send one request and return its answer, whatever its status.

        Args:
            doing: What Druid is asked to do, for messages: "take task ing-1".
            method: "GET" or "POST".
            url: Without secrets.
            timeout: The session's when None.
            arguments: `json` and `params`, as for requests.

        Raises:
            DruidUnavailable: No answer. What was asked may have been done all the same.
            ConfigurationError: The URL is none.
        """
        timeout = timeout or self.timeout
        try:
            return self._session.request(method, url, timeout=timeout, **arguments)
        except _UNUSABLE_URL as error:
            raise ConfigurationError(
                f"Druid's URL {without_secrets(url)} cannot be used.", hint="Write it as http://host:port."
            ) from error
        except requests.Timeout as error:
            raise _no_answer(doing, url, f"no answer within {timeout[1]:g} s", error) from error
        except requests.TooManyRedirects as error:
            raise _no_answer(doing, url, "it has no leader at the moment", error) from error
        except requests.RequestException as error:
            raise _no_answer(doing, url, "no connection", error) from error


def read(doing: str, response: requests.Response, shape: type = dict) -> Any:
    """The JSON of an answer, an object or (`shape=list`) a list.

    Raises:
        IngestionError: What `domain.druid_failures` makes of a refusal.
        DruidUnavailable: The answer is not that.
    """
    if not response.ok:
        raise classify_response(doing, response.status_code, response.text)
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, shape):
        # A query that fails after its first rows ends its answer in the middle. The text may hold rows: not shown.
        raise DruidUnavailable(
            f"Druid was asked to {doing}, and its answer of {len(response.content)} bytes could not be read.",
            hint="Ask again; a query that breaks off often needs more memory or a shorter range.",
        )
    return body


def shown(url: str) -> str:
    """Scheme, host and port of a URL, for messages."""
    scheme, _, rest = without_secrets(url).partition("://")
    return f"{scheme}://{rest.split('/')[0]}"


def _no_answer(doing: str, url: str, why: str, error: Exception) -> DruidUnavailable:
    return DruidUnavailable(
        f"Druid at {shown(url)} could not be asked to {doing}: {why}.",
        hint="Check that it runs and that its URL in the settings is right.",
        details={"cause": without_secrets(str(error))[:300]},
    )
