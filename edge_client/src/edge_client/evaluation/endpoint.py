"""An OpenAI-compatible chat endpoint: asked one question at a time, patiently, and told no more than it needs."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

import aiohttp
import msgspec
from yarl import URL

from edge_client.reasons import reason_of
from edge_client.transport.patience import News, Patience, TryAgainError, delays, retry_after
from edge_client.transport.pinning import tls_context
from edge_client.transport.proxy import is_loopback, proxy_for
from fedit_shared.errors import FeditError, UserError
from fedit_shared.messages import UNREADABLE

from .pairwise import Message

KEY_VARIABLE = "FEDIT_JUDGE_KEY"
_TRIES = 7
_LONGEST_WAIT = 600.0
_MOST_BYTES = 4 * 2**20
_SHOWN = 200
_AGAIN = {408, 409, 425, 429}


class JudgeError(FeditError):
    """The judge does not answer, refuses, or is no such endpoint. What it said before is kept."""

    exit_code: ClassVar[int] = 4
    code: ClassVar[str] = "judge"


class Key:
    """An endpoint's key: in no repr, log or message."""

    def __init__(self, text: str, where: str) -> None:
        """Raises UserError, which says ``where`` it came from, for what can be no key."""
        self._text = text.strip()
        if not self._text.isascii() or not self._text.isprintable() or " " in self._text:
            raise UserError(
                f"{where} holds no key: it has white space or other odd characters.",
                advice="Copy the key once more, alone and in one line.",
            )

    @classmethod
    def find(cls, variable: str, file: Path | None) -> Self | None:
        """The key in ``file``, else in the environment's ``variable``; None if there is none. Raises UserError."""
        if file is None:
            text = os.environ.get(variable, "")
            return cls(text, f"The environment's {variable}") if text else None
        try:
            return cls(file.expanduser().read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The key in {file} cannot be read: {reason_of(error)}.",
                advice="Name a text file with the key alone, which this user may read.",
            ) from error

    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {self._text}"}

    def hidden(self, text: str) -> str:
        """``text`` without the key, should somebody have repeated it."""
        return text.replace(self._text, "(the key)")

    def __repr__(self) -> str:
        return "Key(…)"


class Reply(NamedTuple):
    """What the judge said, and the tokens that the endpoint counted."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class Endpoint:
    """``address`` (``https://HOST/v1``) with one of its models; use it as ``async with``.

    ``base``: multiplies the waits between tries (tests wait less). Raises UserError for an address that cannot be used,
    or over which a key would go unencrypted.
    """

    def __init__(
        self,
        address: str,
        model: str,
        key: Key | None,
        *,
        temperature: float | None,
        timeout: float,
        tell: News,
        base: float = 1.0,
    ) -> None:
        self.url = _chat_url(address)
        self.model = model
        self.temperature = temperature
        self._key = key
        if key is not None and not self.encrypted and not is_loopback(self.url.host or ""):
            raise UserError(
                f"A key would go to {self.url.host} unencrypted.", advice="Use an https:// address, or no key."
            )
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._patience = Patience(tell, base)
        self._session: aiohttp.ClientSession | None = None

    @property
    def encrypted(self) -> bool:
        """Whether what is sent cannot be read on its way."""
        return self.url.scheme == "https"

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=tls_context(None) if self.encrypted else True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, messages: Sequence[Message]) -> Reply:
        """The model's reply. Tries again, later and later, while the endpoint is busy, broken or away; raises
        JudgeError when that does not help, and at once for what time does not heal."""
        body: dict[str, object] = {"model": self.model, "messages": [message._asdict() for message in messages]}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        waits = delays()
        for last in [False] * (_TRIES - 1) + [True]:
            try:
                reply = await self._try(body)
            except TryAgainError as error:
                if last or error.after > _LONGEST_WAIT:
                    wait = f" It asks to wait {error.after:.0f} s." if error.after > _LONGEST_WAIT else ""
                    raise JudgeError(f"{error.problem}.{wait}", advice=_GO_ON) from error
                await self._patience.wait(error, next(waits))
            else:
                self._patience.succeeded()
                return reply
        raise AssertionError("the last try returns or raises")

    async def _try(self, body: dict[str, object]) -> Reply:
        assert self._session is not None, "use it as `async with Endpoint(…)`"
        proxy, auth = proxy_for(str(self.url)) if self.encrypted else (None, None)
        headers = {} if self._key is None else self._key.headers()
        try:
            async with self._session.post(
                self.url, json=body, headers=headers, proxy=proxy, proxy_auth=auth, allow_redirects=False
            ) as response:
                data = await response.content.read(_MOST_BYTES)
                while len(data) < _MOST_BYTES and (more := await response.content.read(_MOST_BYTES - len(data))):
                    data += more
                status, after = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            raise TryAgainError(f"{self.url.host} did not answer in {self._timeout.total:g} s") from None
        except aiohttp.ClientConnectorCertificateError:
            raise JudgeError(
                f"The certificate of {self.url.host} cannot be trusted.", advice="Check --endpoint."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgainError(
                f"{self.url.host} cannot be reached: {self._hidden(reason_of(error, _SHOWN))}"
            ) from None
        if status == 200:
            return self._read(data)
        raise self._refusal(status, after, data)

    def _read(self, data: bytes) -> Reply:
        try:
            completion = msgspec.json.decode(data, type=_Completion)
            text = completion.choices[0].message.content or ""
        except (*UNREADABLE, IndexError) as error:
            raise JudgeError(
                f"{self.url.host} answers, but not as /v1/chat/completions does.",
                advice="Check --endpoint: it usually ends with /v1.",
            ) from error
        usage = completion.usage or _Usage()
        return Reply(text, usage.prompt_tokens, usage.completion_tokens)

    def _refusal(self, status: int, after: str | None, data: bytes) -> Exception:
        if status in _AGAIN or status >= 500:
            what = "has too many requests" if status == 429 else f"answers with HTTP {status}"
            return TryAgainError(f"{self.url.host} {what}", retry_after(after, time.time()))
        if status in (401, 403):  # its message may repeat the key, or a part of it
            return JudgeError(
                f"{self.url.host} does not accept the key (HTTP {status}).",
                advice=f"Put it into the environment's {KEY_VARIABLE}, or into a file for --key-file.",
            )
        said = self._hidden(" ".join(data.decode("utf-8", "replace").split())[: 2 * _SHOWN])[:_SHOWN]
        said = "".join(letter if letter.isprintable() else "?" for letter in said)
        return JudgeError(f"{self.url.host} refuses with HTTP {status}: {said or 'nothing said'}.", advice=_CHECK)

    def _hidden(self, text: str) -> str:
        return text if self._key is None else self._key.hidden(text)


_GO_ON = "What was judged is kept: the same command goes on from there."
_CHECK = "Check --endpoint and --judge-model; a model that takes no temperature needs --temperature none."


def _chat_url(address: str) -> URL:
    try:
        url = URL(address)
    except ValueError as error:
        raise UserError(f"{address!r} is no address: {error}.", advice=_FORM) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError("--endpoint is no http:// or https:// address.", advice=_FORM)
    if url.user or url.password or url.query_string or url.fragment:
        raise UserError("--endpoint has a name, a password or a query in it.", advice=f"{_FORM} Keys go elsewhere.")
    path = url.path.rstrip("/")
    return url.with_path(path if path.endswith("/chat/completions") else f"{path}/chat/completions")


_FORM = "It looks like https://HOST/v1."
