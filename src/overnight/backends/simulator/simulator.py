"""The simulator: a backend that answers without a model, the same way every time."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, assert_never

import msgspec
from msgspec import Meta

from overnight.backends.simulator.answer import answer, refusal
from overnight.backends.simulator.cache import CacheUse, PromptCache
from overnight.backends.simulator.events import events
from overnight.backends.simulator.faults import Faults, failure_of_status, glob, scripted_failure
from overnight.backends.simulator.limits import Group
from overnight.backends.simulator.message import message, usage_of
from overnight.backends.simulator.script import (
    Fault,
    Malformed,
    Refusal,
    Reset,
    SimulatorScript,
    Slow,
    Status,
    Unreachable,
)
from overnight.catalogue import Catalogue, KnownModel, known_models
from overnight.clock import Clock, SystemClock
from overnight.errors import InvalidRequest
from overnight.model import Caching, Call, Failure, FailureKind, Need, Reply, Usage
from overnight.shape import is_object
from overnight.tokens import prompt_tokens
from overnight.wire.models import Model

# For models whose minimum is not known.
ASSUMED_MIN_CACHEABLE_TOKENS = 1024
EXTENDED_OUTPUT_BETA = "output-300k-2026-03-24"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[dict[str, Any]]


class _Shape(msgspec.Struct, frozen=True):
    """As much of the params' shape as an answer is made from."""

    model: str
    messages: Annotated[list[_Message], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    output_config: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None


class Attempt(msgspec.Struct, kw_only=True):
    """One call under way: what it will come to, and when."""

    # The Messages object as it travels, or why there is none.
    result: dict[str, Any] | Failure
    usage: Usage = Usage()
    # Before the first byte, from there to the last, and a stall of the script in between.
    first_byte_s: float = 0.0
    rest_s: float = 0.0
    stall_s: float = 0.0
    cache_use: CacheUse | None = None
    groups: list[Group] = []

    @property
    def total_s(self) -> float:
        return self.first_byte_s + self.rest_s + self.stall_s


class Simulator:
    """A `Backend` that answers from the request, the script and the clock alone."""

    name = "simulator"
    describes = "simulated answers, no model runs"
    knows_all_models = True

    def __init__(
        self,
        script: SimulatorScript | None = None,
        *,
        clock: Clock | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.script = script or SimulatorScript()
        # How many calls were made, how many are under way, and the most that ever were.
        self.calls = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self._clock = clock or SystemClock()
        self._catalogue = catalogue or known_models()
        self._extra_models = [glob(pattern) for pattern in self.script.models]
        self._faults = Faults(self.script.rules, seed=self.script.seed)
        self._cache = PromptCache()
        self._groups = [Group(limit) for limit in self.script.limits]
        self._key = self.script.seed.to_bytes(8, "big")

    async def start(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def caching(self, model: str) -> Caching:
        known = self.known(model)
        minimum = None if known is None else known.min_cacheable_tokens
        return Caching(marked=True, min_tokens=minimum or ASSUMED_MIN_CACHEABLE_TOKENS)

    async def send(self, call: Call, begun: Callable[[], None] | None = None) -> Reply | Failure:
        attempt = self.begin(call)
        try:
            limit_s = call.timeout_s
            if limit_s is not None and attempt.total_s > limit_s:
                await self._time_out(attempt, limit_s)
                return _timeout(limit_s)
            await self.first_byte(attempt)
            if begun is not None and not isinstance(attempt.result, Failure):
                begun()
            if attempt.rest_s or attempt.stall_s:
                await self._clock.sleep(attempt.rest_s + attempt.stall_s)
            result = attempt.result
            if isinstance(result, Failure):
                return result
            return Reply(message=_encode(result), usage=attempt.usage, model=result["model"])
        finally:
            self.end(attempt)

    async def stream(self, call: Call) -> AsyncIterator[bytes] | Failure:
        attempt = self.begin(call)
        try:
            await self.first_byte(attempt)
        except BaseException:
            self.end(attempt)
            raise
        if isinstance(attempt.result, Failure):
            self.end(attempt)
            return attempt.result
        return self._events(attempt, attempt.result)

    async def count_tokens(self, call: Call) -> int | Failure:
        params = _params(call.params)
        if isinstance(params, Failure):
            return params
        return _problem(self._find(params), params, counting=True) or prompt_tokens(params)

    async def models(self) -> list[Model] | Failure:
        return [known.model for known in self._catalogue]

    def model(self, name: str) -> Model | None:
        known = self.known(name)
        return None if known is None else known.model

    def known(self, name: str) -> KnownModel | None:
        """Find a model of the catalogue, or one that the script adds."""
        known = self._catalogue.find(name)
        if known is None and any(matches(name) for matches in self._extra_models):
            model = Model(id=name, display_name=name, created_at=datetime.fromtimestamp(0, UTC))
            known = KnownModel(model=model, reports_geo=False)
        return known

    def limit_headers(self, model: str) -> dict[str, str]:
        """Give the `anthropic-ratelimit-*` headers for a model, if the script limits it."""
        now = self._clock.now() if self._groups else None
        headers: dict[str, str] = {}
        for group in self._groups:
            if now is not None and group.covers(model):
                headers |= group.headers(now)
        return headers

    def begin(self, call: Call) -> Attempt:
        """Take a call and decide what comes of it. Every `begin` needs its `end`."""
        self.calls += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        params = _params(call.params)
        if isinstance(params, Failure):
            return Attempt(result=params)
        known = self._find(params)
        if isinstance(known, Failure):
            return Attempt(result=known)
        problem = _problem(known, params, betas=call.betas)
        if problem is not None:
            return Attempt(result=problem)
        try:
            return self._attempt(call, params, known)
        except InvalidRequest as error:
            return Attempt(result=failure_of_status(400, message=error.message))

    async def first_byte(self, attempt: Attempt) -> None:
        """Wait for the first byte of the answer; from then on its cache entries can be read."""
        await self._clock.sleep(attempt.first_byte_s)
        if attempt.cache_use is not None:
            self._cache.begin(attempt.cache_use)

    async def sleep(self, seconds: float) -> None:
        """Let so much time of the simulator's clock pass."""
        await self._clock.sleep(seconds)

    def end(self, attempt: Attempt) -> None:
        """Count a call as over."""
        self.in_flight -= 1
        for group in attempt.groups:
            group.leave()

    def _attempt(self, call: Call, params: dict[str, Any], known: KnownModel) -> Attempt:
        digest = hashlib.sha256(self._key)
        digest.update(call.params)
        if call.custom_id is not None:
            digest.update(call.custom_id.encode())
        identity = digest.digest()
        fault = self._faults.next(call, model=known.id, identity=identity, number=self.calls)
        struck = _struck(fault)
        if struck is not None:
            return Attempt(result=struck)
        if isinstance(fault, Refusal):
            answered = refusal(fault)
        else:
            answered = answer(params, identity, self.script.answer)
        cache_use = self._cache_use(call.params, params, known)
        usage = usage_of(cache_use, prompt_tokens(params) if cache_use is None else 0, answered)
        limit = known.model.max_input_tokens
        if limit is not None and _prompt_tokens(usage) > limit:
            text = f"prompt is too long: {_prompt_tokens(usage)} tokens > {limit} maximum"
            return Attempt(result=failure_of_status(400, message=text))
        groups = self._enter(known.id, usage)
        if isinstance(groups, Failure):
            return Attempt(result=groups)
        if cache_use is not None:
            self._cache.read(cache_use)
        base_s, rest_s = self._latency(identity, usage.output_tokens)
        return Attempt(
            result=message(known, params, identity, answered, usage),
            usage=usage,
            first_byte_s=base_s,
            rest_s=rest_s,
            stall_s=fault.seconds if isinstance(fault, Slow) else 0.0,
            cache_use=cache_use,
            groups=groups,
        )

    def _find(self, params: Mapping[str, Any]) -> KnownModel | Failure:
        name = params.get("model")
        if not isinstance(name, str):
            return failure_of_status(400, message="model: Field required")
        known = self.known(name)
        if known is None or known.model.lifecycle == "retired":
            return failure_of_status(404, message=f"model: {name}")
        return known

    def _cache_use(self, body: bytes, params: dict[str, Any], known: KnownModel) -> CacheUse | None:
        # Spares the prompts without a breakpoint, most of them, the walk over their blocks.
        if b'"cache_control"' not in body:
            return None
        return self._cache.plan(
            params,
            model=known.id,
            min_tokens=known.min_cacheable_tokens or ASSUMED_MIN_CACHEABLE_TOKENS,
            now=self._clock.now(),
        )

    def _enter(self, model: str, usage: Usage) -> list[Group] | Failure:
        """Take the call's share from all buckets that it meets, or from none."""
        groups = [group for group in self._groups if group.covers(model)]
        if not groups:
            return groups
        now = self._clock.now()
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        need = Need(usage.input_tokens + written, usage.output_tokens)
        for group in groups:
            refused = group.refuse(need, now)
            if refused is not None:
                return refused
        for group in groups:
            group.enter(need, now)
        return groups

    def _latency(self, identity: bytes, output_tokens: int) -> tuple[float, float]:
        latency = self.script.latency
        factor = 1.0
        if latency.jitter:
            share = int.from_bytes(identity[8:16], "big") / 2**64
            factor += latency.jitter * (2 * share - 1)
        return latency.base_s * factor, latency.per_output_token_s * factor * output_tokens

    async def _time_out(self, attempt: Attempt, limit_s: float) -> None:
        if attempt.first_byte_s <= limit_s:
            await self.first_byte(attempt)
            limit_s -= attempt.first_byte_s
        await self._clock.sleep(limit_s)

    async def _events(self, attempt: Attempt, whole: dict[str, Any]) -> AsyncIterator[bytes]:
        try:
            stall_s = attempt.stall_s
            for event in events(whole):
                wait_s = event.share * attempt.rest_s
                if event.share and stall_s:
                    wait_s, stall_s = wait_s + stall_s, 0.0
                if wait_s:
                    await self._clock.sleep(wait_s)
                yield event.data
        finally:
            self.end(attempt)


def _params(body: bytes) -> dict[str, Any] | Failure:
    try:
        params = _decode(body)
    except msgspec.DecodeError as error:
        return failure_of_status(400, message=f"The request body is not valid JSON: {error}")
    if not is_object(params):
        return failure_of_status(400, message="Input should be a valid dictionary")
    return params


def _problem(
    known: KnownModel | Failure,
    params: Mapping[str, Any],
    *,
    betas: tuple[str, ...] = (),
    counting: bool = False,
) -> Failure | None:
    """Refuse what no answer can be made of; the full check of `params` is the pipeline's."""
    if isinstance(known, Failure):
        return known
    try:
        max_tokens = msgspec.convert(params, _Shape).max_tokens
    except msgspec.ValidationError as error:
        return failure_of_status(400, message=_place(str(error)))
    if counting:
        return None
    if max_tokens is None:
        return failure_of_status(400, message="max_tokens: Field required")
    limit = known.model.max_tokens
    if EXTENDED_OUTPUT_BETA in betas:
        limit = known.max_batch_tokens or limit
    if limit is not None and max_tokens > limit:
        text = "which is the maximum allowed number of output tokens for"
        return failure_of_status(
            400, message=f"max_tokens: {max_tokens} > {limit}, {text} {known.id}"
        )
    return None


def _place(problem: str) -> str:
    """Turn "Expected `int` - at `$.messages[0].role`" into place and text, as the wire has it."""
    text, _, path = problem.partition(" - at `$")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", text)
    steps = re.findall(r"[^.\[\]`]+", path) + ([missing[1]] if missing else [])
    return f"{'.'.join(steps)}: {'Field required' if missing else text}"


def _prompt_tokens(usage: Usage) -> int:
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    return usage.input_tokens + written + usage.cache_read_tokens


def _struck(fault: Fault | None) -> Failure | None:
    """Give the failure that a fault means; None for a fault that still brings an answer."""
    match fault:
        case Status():
            return scripted_failure(fault)
        case Unreachable():
            return _broken(FailureKind.UNREACHABLE, "took no connection")
        case Reset():
            return _broken(FailureKind.RESET, "broke the connection")
        case Malformed():
            return _broken(FailureKind.MALFORMED, "sent no message")
        case Refusal() | Slow() | None:
            return None
        case _:
            assert_never(fault)


def _broken(kind: FailureKind, what: str) -> Failure:
    return Failure(
        kind=kind, error_type="api_error", message=f"The simulator {what} by its script."
    )


def _timeout(limit_s: float) -> Failure:
    return Failure(
        kind=FailureKind.TIMEOUT,
        error_type="timeout_error",
        message=f"No whole answer within {limit_s:g} s.",
    )
