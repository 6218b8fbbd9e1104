"""The page's arithmetic is Python's: random questions through both, digit by digit."""

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from tests.console.conftest import Site, Visit

from overnight.errors import InvalidRequest
from overnight.pricing import advice, document, link, money, quantity, shelf
from overnight.pricing.book import ListedBook, Tier
from overnight.pricing.quote import quote
from overnight.pricing.workload import Workload
from overnight.tokens import prompt_tokens, text_tokens

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTIONS = 250
_QUOTE = """async ([folder, fragments]) => {
  const load = (name) => import(folder + name);
  const [books, links, quotes, money, caching, decimals] = await Promise.all(
    ["book.js", "link.js", "quote.js", "money.js", "caching.js", "decimal.js"].map(load));
  const list = books.readBooks(JSON.parse(document.getElementById("data").textContent));
  const exact = (usd) => (usd ? money.exact(usd) : null);
  const number = (value) => (value ? Number(decimals.plain(value)) : value === null ? null : value);
  return fragments.map((text) => {
    const { question, problems } = links.parse(text, { work: {}, models: [] });
    if (problems.length) throw new Error(problems.join());
    const book = books.findBook(list, question.book);
    const quoted = quotes.quote(question.work, { ...question, book, books: list });
    return {
      fragment: links.fragment(question),
      models: quoted.options.map((option) => {
        const { cost } = option;
        const { usd, complete } = quotes.inTier(cost, question.tier);
        const advice = question.work.shared.units
          ? caching.advise(question.work, { ...question, book, model: cost.model }) : null;
        return {
          batch_usd: exact(cost.usd),
          standard_usd: exact(cost.standardUsd),
          saving_usd: exact(cost.saving),
          saving_percent: number(cost.savingPercent),
          complete,
          per_request_usd: exact(quotes.perRequest(usd, question.work)),
          times_cheapest: number(quotes.timesCheapest(quoted, option)),
          lines: cost.lines.map((line) => [line.class, String(line.count), exact(line.rate),
            exact(line.usd), exact(line.standardRate), exact(line.standardUsd), line.steps]),
          shown: [money.shown(cost.usd), money.shownSmall(cost.usd), money.shownSmall(cost.saving),
            money.shownBeside(cost.usd, cost.standardUsd)],
          caching: advice && {
            verdict: advice.verdict,
            usd_without: exact(advice.without),
            usd_with: exact(advice.cached),
            break_even_requests: advice.breakEven === null ? null : Number(advice.breakEven),
            min_hit_percent: number(advice.minHitPercent),
            min_cacheable_tokens: advice.minimum,
            usd_leader_first: exact(advice.leaderFirst),
            usd_all_at_once: exact(advice.allAtOnce),
          },
          differences: option.differences.map((found) => [found.tier, found.class,
            exact(found.usd), exact(found.otherUsd)]),
          others: option.others.map((other) => [exact(other.usd), exact(other.standardUsd)]),
        };
      }),
    };
  });
}"""


async def test_random_questions_give_the_digits_of_python(site: Site, visit: Visit) -> None:
    await visit.open()
    chosen = [_question(random.Random(seed)) for seed in range(QUESTIONS)]
    fragments = [link.fragment(question) for question in chosen]
    answers = await visit.page.evaluate(_QUOTE, [site.modules, fragments])
    for question, fragment, answer in zip(chosen, fragments, answers, strict=True):
        assert answer["fragment"] == fragment
        assert answer["models"] == _expected(question), fragment


async def test_numbers_as_people_write_them_read_alike(site: Site, visit: Visit) -> None:
    await visit.open()
    texts = [
        "200", "1.2k", "10_000", "10,000", "1,0", "3M", "1e6", "1E+3", "1e-3", ".5", "5.", "", " ",
        "-1", "−1", "1e30", "1e999", "12 k", "k", "1kk", "0x10", "٣", "1.5G", "1t", "1,234,567.5k",
        "999999999", "1000000001", "NaN", "Infinity", "1__0", "00012", "0.000000000000000001",
    ]  # fmt: skip
    read = """async ([folder, texts]) => {
      const { readNumber, InputError } = await import(folder + "quantity.js");
      const { plain } = await import(folder + "decimal.js");
      return texts.map((text) => {
        try { return plain(readNumber(text, 10n ** 9n)); }
        catch (error) { if (error instanceof InputError) return null; throw error; }
      });
    }"""
    assert await visit.page.evaluate(read, [site.modules, texts]) == [_read(t) for t in texts]


async def test_texts_and_requests_count_as_in_python(site: Site, visit: Visit) -> None:
    await visit.open()
    texts = [
        "",
        "a",
        "abcde",
        "naïve café",
        "漢字かな한글",
        "🙂👩‍👩‍👧",
        "Яя" * 33,
        "x" * 1001,
        "\ud800",
    ]
    requests = _requests()
    count = """async ([folder, texts, requests]) => {
      const { textTokens, promptTokens } = await import(folder + "tokens.js");
      return [texts.map(textTokens), requests.map(promptTokens)];
    }"""
    found = await visit.page.evaluate(count, [site.modules, texts[:-1], requests])
    lone = await visit.page.evaluate(
        """async (folder) => (await import(folder + "tokens.js")).textTokens("\\ud800")""",
        site.modules,
    )
    assert [*found[0], lone] == [text_tokens(text) for text in texts]
    assert found[1] == [prompt_tokens(request) for request in requests]


async def test_the_questionnaire_decides_as_python_does(site: Site, visit: Visit) -> None:
    await visit.open()
    grid = [
        advice.Answers(waiting=waiting, deadline_h=hours, requests=requests, repeats=repeats)
        for waiting in (None, True, False)
        for hours in (None, 0.5, 6, 24, 168)
        for requests in (None, 5, 10_000)
        for repeats in (None, True, False)
        if waiting is not None or hours is not None
    ]
    asked = [
        {
            name: value
            for name, value in (
                ("waiting", a.waiting), ("deadlineH", a.deadline_h),
                ("requests", a.requests), ("repeats", a.repeats),
            )
            if value is not None
        }
        for a in grid
    ]  # fmt: skip
    decide = """async ([folder, asked]) => {
      const { decide } = await import(folder + "questionnaire.js");
      const rules = JSON.parse(document.getElementById("data").textContent).advice;
      return asked.map((answers) => decide(answers, rules));
    }"""
    found = await visit.page.evaluate(decide, [site.modules, asked])
    expected = [advice.advise(answers=answers) for answers in grid]
    assert [(f["verdict"], f["reasons"]) for f in found] == [
        (e.verdict, list(e.reasons)) for e in expected
    ]


def _question(rng: random.Random) -> link.Question:
    book = shelf.open_book(rng.choice([shelf.DEFAULT, shelf.VENDOR_FROZEN]))
    on = date.fromisoformat(rng.choice(["2026-02-01", "2026-03-13", "2026-10-14", "2026-11-22"]))
    priced = [model for model in book.models if book.prices(model, on=on)]
    tokens = [0, 1, 200, 512, 4096, 8000, 150_000, 200_000, 250_001]
    input_tokens = Decimal(rng.choice(tokens)) + Decimal(rng.choice([0, 0, 0, 1, 25])) / 100
    shared = rng.choice([Decimal(0), input_tokens, Decimal(rng.randrange(int(input_tokens) + 1))])
    requests = rng.choice([1, 2, 3, 7, 64, 65, 1001, 100_000, 123_457, 10**9])
    whole_prompts = input_tokens == int(input_tokens)
    tier: Tier = rng.choice(["batch", "standard"])
    return link.Question(
        workload=Workload(
            requests=requests,
            # A mean that is not whole is rounded in two places where prices depend on length.
            input_tokens=input_tokens if whole_prompts or input_tokens < 200_000 else Decimal(5),
            output_tokens=Decimal(rng.choice([0, 1, 50, 333, 64_000])),
            shared_tokens=min(shared, Decimal(5)) if input_tokens >= 200_000 else shared,
            ttl=rng.choice(["5m", "1h"]),
            hit_rate=rng.choice([Decimal(1), Decimal("0.9"), Decimal("0.333"), Decimal(0)]),
        ),
        models=tuple(rng.sample(priced, min(len(priced), rng.choice([1, 2, 3])))),
        tier=tier,
        book=book.name,
        on=on,
        unknown=rng.choice([{}, {"x": "a b/ü&"}]),
    )


def _expected(question: link.Question) -> list[dict[str, Any]]:
    book = shelf.open_book(question.book)
    assert isinstance(book, ListedBook)
    quoted = quote(
        question.workload,
        models=question.models,
        tier=question.tier,
        book=book,
        on=question.on,
    )
    shown: Any = document.of_quote(quoted)["models"]
    keys = (
        "batch_usd", "standard_usd", "saving_usd", "saving_percent", "complete",
        "per_request_usd", "times_cheapest",
    )  # fmt: skip
    advised = (
        "verdict", "usd_without", "usd_with", "break_even_requests", "min_hit_percent",
        "min_cacheable_tokens", "usd_leader_first", "usd_all_at_once",
    )  # fmt: skip
    found = []
    for model, option in zip(shown, quoted.options, strict=True):
        cost = option.cost
        found.append(
            {key: model[key] for key in keys}
            | {
                "lines": [
                    [x["token_class"], str(x["count"]), x["batch_rate_usd"], x["batch_usd"],
                     x["standard_rate_usd"], x["standard_usd"], x["steps"]]
                    for x in model["lines"]
                ],
                "shown": [
                    money.shown(cost.usd), money.shown_small(cost.usd),
                    money.shown_small(cost.saving_usd),
                    money.shown_beside(cost.usd, cost.standard_usd),
                ],
                "caching": model["caching"] and {key: model["caching"][key] for key in advised},
                "differences": [
                    [d.tier, str(d.token_class), *(money.exact(f.rate_usd) for f in d.figures)]
                    for d in option.disagreements
                ],
                "others": [
                    [document.money(other.usd), document.money(other.standard_usd)]
                    for other in option.other_costs
                ],
            }
        )  # fmt: skip
    return found


def _read(text: str) -> str | None:
    try:
        return quantity.plain(quantity.number(text, name="n", at_most=10**9))
    except InvalidRequest:
        return None


def _requests() -> list[dict[str, Any]]:
    text = {"type": "text", "text": "Ein Satz über Bücher.", "cache_control": {"type": "ephemeral"}}
    tool = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
    blocks = [
        text,
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ"}},
        {"type": "document", "source": {"type": "text", "data": "A page of text."}},
        {"type": "document", "source": {"type": "base64", "data": "Q" * 250_000}},
        {"type": "document", "source": {"type": "content", "content": [text]}},
        {"type": "document", "source": {"type": "url", "url": "https://a.test/a.pdf"}},
        {"type": "tool_use", "id": "t", "name": "look", "input": {"at": ["x", 1, None, True]}},
        {"type": "tool_result", "tool_use_id": "t", "content": [text, "plain"]},
        {"type": "search_result", "title": "T", "source": "s", "content": [text]},
        {"type": "thinking", "thinking": "Hm, 漢字.", "signature": "s"},
        {"type": "unheard_of", "x": {"y": 1}, "cache_control": {}},
    ]
    return [
        {"messages": [{"role": "user", "content": "Hello"}]},
        {"messages": [{"role": "user", "content": blocks}], "system": [text],
         "tools": [tool, tool]},
        {"messages": ["odd", {"role": "user"}, {"role": "user", "content": {"not": "a list"}}],
         "system": "Be brief."},
        {"messages": "not a list", "system": [], "tools": []},
        {"messages": [], "output_config": {"format": {"type": "json_schema", "schema": {}}}},
    ]  # fmt: skip
