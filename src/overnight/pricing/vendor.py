"""The book `vendor`: the prices of all Claude models from the genai-prices package, offline.

Its data halve every token class in a batch, cache writes and reads too, and leave web search
alone; `published-2026` does not (docs/concepts/price-books.md). Importing the package takes
about 0.2 s, so it is imported when a price is asked for.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from overnight.errors import ConfigInvalid
from overnight.pricing.book import Prices, Rate, Rates, Source, TokenClass

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

_PROVIDER = "anthropic"
_BATCH = {"processing": "batch"}
# What genai-prices calls the price of each class; its plain cache write is the one of 5 minutes.
_PRICE_KEYS = {
    TokenClass.INPUT: "input_mtok",
    TokenClass.CACHE_WRITE_5M: "cache_write_mtok",
    TokenClass.CACHE_WRITE_1H: "cache_write_1h_mtok",
    TokenClass.CACHE_READ: "cache_read_mtok",
    TokenClass.OUTPUT: "output_mtok",
    TokenClass.WEB_SEARCH: "web_searches_kcount",
}


class VendorBook:
    """An adapter: our questions, answered from genai-prices' data."""

    name = "vendor"
    title = "genai-prices"

    @property
    def version(self) -> str:
        return self._version

    @cached_property
    def _version(self) -> str:
        from importlib.metadata import version

        return version("genai-prices")

    @property
    def dated(self) -> date:
        """Give the newest day that the data names; the package itself carries no date."""
        return max(self.days)

    @cached_property
    def days(self) -> tuple[date, ...]:
        """Give the days on which some price of the data begins."""
        return tuple(sorted(set(_days(self._provider))))

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(model.id for model in self._provider.models)

    def resolve(self, model: str) -> str | None:
        found = self._model(model)
        return found.id if found else None

    def prices(self, model: str, *, on: date, prompt_tokens: int = 0) -> Prices | None:
        found = self._model(model)
        if found is None:
            return None
        moment = datetime.combine(on, time(12), tzinfo=UTC)
        standard = found.get_prices(moment)
        batch = found.get_prices(moment, _BATCH) if _has_batch(found, moment) else None
        urls = self._provider.pricing_urls
        return Prices(
            model=found.id,
            display_name=found.name or found.id,
            since=None,
            source=Source(
                title=f"genai-prices {self.version}", url=urls[0] if urls else None, read=self.dated
            ),
            standard=_rates(standard, prompt_tokens),
            batch=_rates(batch, prompt_tokens) if batch else {},
            long_prompt_tokens=_threshold(standard),
        )

    @cached_property
    def _provider(self) -> "Provider":
        try:
            from genai_prices.data import providers
        except ModuleNotFoundError as error:
            raise ConfigInvalid(
                "price book vendor: the package genai-prices is not installed",
                hint="pip install genai-prices, or use a frozen copy: vendor-2026-11-22",
            ) from error
        return next(provider for provider in providers if provider.id == _PROVIDER)

    def _model(self, name: str) -> "ModelInfo | None":
        return self._provider.find_model(name.strip().lower().removeprefix("anthropic/"))


def _has_batch(model: "ModelInfo", moment: datetime) -> bool:
    return any(
        variant.when == _BATCH and (variant.constraint is None or variant.constraint.active(moment))
        for variant in model.price_variants or ()
    )


def _rates(price: "ModelPrice", prompt_tokens: int) -> Rates:
    rates = {}
    for token_class, key in _PRICE_KEYS.items():
        listed = getattr(price, key)
        if listed is None:
            continue
        usd, step = listed, token_class.label
        if not isinstance(listed, Decimal):
            usd = listed.base
            for tier in listed.tiers:
                if prompt_tokens > tier.start:
                    usd, step = tier.price, f"{token_class.label}, prompt over {tier.start:,}"
        rates[token_class] = Rate(usd=usd, steps=f"{usd} ({step})")
    return rates


def _threshold(price: "ModelPrice") -> int | None:
    listed = price.input_mtok
    return None if listed is None or isinstance(listed, Decimal) else listed.tiers[0].start


def _days(provider: "Provider") -> Iterator[date]:
    from genai_prices.types import ConditionalPrice, StartDateConstraint

    for model in provider.models:
        conditional = model.prices if isinstance(model.prices, list) else []
        dated: list[ConditionalPrice | object] = [*conditional, *(model.price_variants or ())]
        for constraint in (getattr(item, "constraint", None) for item in dated):
            if isinstance(constraint, StartDateConstraint):
                yield constraint.start_date
