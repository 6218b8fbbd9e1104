"""Our live progress object; the Messages API has none. docs/reference/json.md lists its keys."""

import msgspec

from overnight.dispatch.forecast import Forecast, Verdict
from overnight.model import Batch, BatchStatus, BudgetScope, Counts, Unsent, Usage
from overnight.wire.batches import RequestCounts, request_counts, timestamp


class Eta(msgspec.Struct, frozen=True, kw_only=True):
    """When the batch will end: between these."""

    earliest: str
    latest: str


class TokensSoFar(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cache_read_tokens: int
    output_tokens: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a batch stands now; counts never go backwards."""

    id: str
    status: BatchStatus
    counts: RequestCounts
    total: int
    # Requests that have their outcome.
    recorded: int
    rate_per_s: float | None
    eta: Eta | None
    verdict: Verdict
    created_at: str
    expires_at: str
    ended_at: str | None
    # Whose budget was used up, so that nothing more is sent; null otherwise.
    stopped_by: BudgetScope | None
    # What the requests end as that were not sent by then; null otherwise.
    stopped_as: Unsent | None
    usage: TokensSoFar
    # How old the counts are.
    age_s: float


def progress(batch: Batch, counts: Counts, usage: Usage, forecast: Forecast) -> Progress:
    """Show where a batch stands."""
    created_at, expires_at = timestamp(batch.created_at), timestamp(batch.expires_at)
    earliest, latest = timestamp(forecast.earliest), timestamp(forecast.latest)
    rate = forecast.rate_per_s
    assert created_at is not None and expires_at is not None
    return Progress(
        id=batch.id,
        status=batch.status,
        counts=request_counts(counts),
        total=batch.request_count,
        recorded=counts.recorded,
        rate_per_s=None if rate is None else round(rate, 2),
        eta=Eta(earliest=earliest, latest=latest) if earliest and latest else None,
        verdict=forecast.verdict,
        created_at=created_at,
        expires_at=expires_at,
        ended_at=timestamp(batch.ended_at),
        stopped_by=batch.stopped_by,
        stopped_as=batch.stopped_as,
        usage=TokensSoFar(
            input_tokens=usage.input_tokens,
            cache_write_5m_tokens=usage.cache_write_5m_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            output_tokens=usage.output_tokens,
        ),
        age_s=0.0,
    )
