"""A real browser that shows a page of another site: it must not be able to use the service."""

import json

import pytest
from playwright.async_api import Page
from tests.console.conftest import REBOUND_HOST, Site
from tests.raw_server import RawServer, answer
from tests.wire.caller import BATCHES, request

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ATTACK = """
async ([url, body]) => {
  const tried = [];
  const post = (path, type) => fetch(url + path, {
    method: "POST", mode: "no-cors", body, headers: { "content-type": type },
  }).then((got) => tried.push(got.type), (error) => tried.push(String(error)));
  await post("/v1/messages/batches", "text/plain");
  await post("/v1/messages/batches", "application/x-www-form-urlencoded");
  await fetch(url + "/v1/messages/batches").then(
    (got) => got.text().then((text) => tried.push(text)), (error) => tried.push(String(error)));
  await fetch(url + "/v1/messages/batches", {
    method: "POST", body, headers: { "content-type": "application/json" },
  }).catch((error) => tried.push(String(error)));
  return tried;
}
"""
_FORM = """
([url, body]) => {
  const form = document.createElement("form");
  form.method = "POST";
  form.action = url + "/v1/messages/batches";
  form.enctype = "text/plain";
  const field = document.createElement("input");
  [field.name, field.value] = [body.slice(0, -1), ""];
  form.append(field);
  document.body.append(form);
  form.submit();
}
"""
_BODY = json.dumps({"requests": [request()]})


async def _opened(site: Site, url: str) -> tuple[Page, list[tuple[str, int]]]:
    """Open a page; gives what the service answers to it, as method and status."""
    answers: list[tuple[str, int]] = []
    page = await (await site.context()).new_page()
    page.on(
        "response",
        lambda got: (
            answers.append((got.request.method, got.status)) if BATCHES in got.url else None
        ),
    )
    await page.goto(url)
    return page, answers


async def test_a_page_of_another_site_can_neither_create_nor_read(site: Site) -> None:
    url, api = site.service.base_url, site.service.api
    before = (await api.call("GET", BATCHES)).json["data"]
    async with RawServer([answer(b"<!doctype html><p>hello", content_type="text/html")]) as evil:
        for origin in (evil.url, evil.url.replace("127.0.0.1", "localhost")):
            page, answers = await _opened(site, origin)
            tried = await page.evaluate(_ATTACK, [url, _BODY])
            assert len(tried) == 4 and "has_more" not in "".join(tried)
            async with page.expect_navigation():
                await page.evaluate(_FORM, [url, _BODY])
            statuses = [status for method, status in answers if method == "POST"]
            assert statuses and set(statuses) == {403}
            await page.context.close()
    assert (await api.call("GET", BATCHES)).json["data"] == before


async def test_a_name_that_was_made_to_point_here_opens_nothing(site: Site) -> None:
    url = site.service.base_url.replace("127.0.0.1", REBOUND_HOST)
    page, answers = await _opened(site, url)
    assert "is not a name of this service" in await page.content()
    await page.evaluate("fetch('/v1/messages/batches')")
    assert answers == [("GET", 403)]
    await page.context.close()
