/** The calculator page: form, link and answer kept in step. */

import { findBook, findModel, pricesOf, readBooks } from "./book.js";
import { showChart, showChartTable } from "./chart.js";
import { COPIES } from "./copies.js";
import { divideAt, isZero, whole } from "./decimal.js";
import { byId, el, tell } from "./dom.js";
import { fillForm, fillModels, readForm } from "./form.js";
import { fragment, parse } from "./link.js";
import { fillSamples, goTo, wireAnchors, wireCopy, wireQuestionnaire, wireTabs, wireTheme } from "./page.js";
import { brief, counted } from "./quantity.js";
import { quote } from "./quote.js";
import { showResult } from "./result.js";
import { countFile, countText } from "./sample.js";

const ANNOUNCE_AFTER_MS = 700;

const data = JSON.parse(byId("data").textContent);
const books = readBooks(data);
const form = byId("calculator-form");
const today = new Date().toISOString().slice(0, 10);
const opening = parse(data.question, emptyQuestion()).question;
const baseUrl = data.base_url ?? new URL(".", location.href).href.replace(/\/$/, "");

// What is asked now; kept while a field is wrong. `unknown` are the link's other keys.
let question = { ...opening, on: data.base_url ? opening.on : today };
let quoted;
let announcing;

start();

function start() {
  byId("calculator-form").hidden = false;
  wireTheme(byId("theme"));
  wireAnchors();
  wireTabs(byId("code-tabs"));
  wireQuestionnaire(byId("questionnaire"), byId("verdict"), data.advice);
  for (const button of document.querySelectorAll("[data-copy]")) {
    wireCopy(button, () => COPIES[button.dataset.copy](question, quoted), announce);
  }
  for (const button of document.querySelectorAll("[data-copy-code]")) {
    wireCopy(button, () => byId(`code-${button.dataset.copyCode}`).textContent, announce);
  }
  form.addEventListener("input", onInput);
  form.addEventListener("submit", (event) => event.preventDefault());
  wireSample();
  byId("chart-model").addEventListener("change", drawChart);
  byId("chart-range").addEventListener("change", drawChart);
  new ResizeObserver(drawChart).observe(byId("chart"));
  addEventListener("hashchange", () => { if (openLink()) goTo(byId("calculator")); });
  if (!openLink()) load(question);
}

/** Load the question of the link, if it holds one. */
function openLink() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return false;
  const { question: asked, problems } = parse(hash, { ...opening, on: today });
  const book = findBook(books, asked.book);
  if (!book) problems.push(`this page does not have price book ${asked.book}; ${books[0].name} is shown instead`);
  const unknown = book ? asked.models.filter((model) => !findModel(book, model)) : [];
  for (const name of unknown) problems.push(`the price of ${name} is unknown in price book ${book.name}`);
  if (unknown.length && unknown.length === asked.models.length) {
    problems.push(`${book.models[0].name} is shown instead`);
  }
  load(asked);
  tell(byId("link-problems"), problems.length ? `In this link: ${problems.join("; ")}.` : "");
  return true;
}

function load(asked) {
  fillForm(form, asked, books);
  question = { ...question, unknown: asked.unknown ?? {} };
  answer();
}

function onInput(event) {
  if (event.target.name === "book") {
    fillModels(byId("models"), findBook(books, form.elements.book.value), question.models);
  }
  tell(byId("link-problems"), "");
  if (answer()) history.replaceState(null, "", `#${fragment(question)}`);
}

/** Answer what the form asks; false while a field is wrong, and then the last answer stays. */
function answer() {
  const asked = readForm(form, books, question.unknown);
  byId("result").dataset.stale = asked ? "no" : "yes";
  if (!asked) return false;
  question = asked;
  const book = findBook(books, asked.book);
  quoted = quote(asked.work, { ...asked, book, books });
  announceLater(showResult(byId("result"), quoted));
  showNewerPrices(book);
  showSummaries(book);
  showModels();
  drawChart();
  fillSamples(data.samples, { baseUrl, model: asked.models[0] });
  return true;
}

/** An old link gives the old answer, and says when there are newer prices. */
function showNewerPrices(book) {
  const changed = question.models.some((model) => {
    const then = pricesOf(book, model, question);
    const now = pricesOf(book, model, { on: today });
    return now && then?.since !== now.since;
  });
  const notice = byId("newer-prices");
  notice.hidden = !changed || question.on >= today;
  if (notice.hidden) return;
  const use = el("button", { type: "button", class: "quiet" }, "Use today’s prices");
  use.addEventListener("click", () => {
    form.elements.on.value = today;
    form.elements.on.focus();
    form.dispatchEvent(new Event("input"));
  });
  notice.replaceChildren(`These are the prices of ${question.on}; newer ones exist. `, use);
}

/** Say beside the closed parts of the form what they hold. */
function showSummaries(book) {
  const { work, tier, on } = question;
  const kept = work.ttl === "5m" ? "5 min" : "1 hour";
  byId("caching-now").textContent = isZero(work.shared) ? "off" : `${brief(work.shared)} tokens for ${kept}`;
  byId("prices-now").textContent = `${tier}, ${on}, ${book.name}`;
}

function showModels() {
  const select = byId("chart-model");
  const chosen = question.models.includes(select.value) ? select.value : question.models[0];
  select.replaceChildren(...quoted.options.map(({ cost }) => el("option", { value: cost.asked }, cost.name)));
  select.value = chosen;
  byId("chart-model-field").hidden = quoted.options.length < 2;
}

function drawChart() {
  if (!quoted) return;
  const model = byId("chart-model").value;
  const option = quoted.options.find(({ cost }) => cost.asked === model);
  byId("chart-part").hidden = !option?.cost.standardComplete || !option.cost.lines.length;
  if (byId("chart-part").hidden) return;
  const range = byId("chart-range").querySelector(":checked").value;
  const { breakEven } = showChart(byId("chart"), quoted, { model, range });
  byId("chart-range").hidden = isZero(question.work.shared) || breakEven === null;
  showChartTable(byId("chart-table"), quoted, model);
}

function wireSample() {
  const text = byId("sample-text");
  const found = byId("sample-found");
  const use = byId("sample-use");
  let fill = () => {};
  const offer = (words, change) => {
    tell(found, words);
    use.hidden = !change;
    fill = change ?? (() => {});
  };
  text.addEventListener("input", (event) => {
    event.stopPropagation();
    const tokens = countText(text.value);
    offer(text.value ? `About ${counted(whole(tokens))} tokens as one prompt.` : "", text.value && (() => {
      form.elements.input.value = brief(whole(tokens));
    }));
  });
  const take = async (file) => offer(...describe(file, await countFile(file)));
  byId("sample-file").addEventListener("input", (event) => {
    event.stopPropagation();
    if (event.target.files[0]) take(event.target.files[0]);
  });
  const drop = byId("sample");
  drop.addEventListener("dragover", (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  use.addEventListener("click", () => {
    fill();
    form.dispatchEvent(new Event("input"));
  });
}

/** Say what a file holds, and how it fills the form in. */
function describe(file, counts) {
  const { requests, input, maxOutput, shared, problems, problemCount } = counts;
  const more = problemCount > problems.length ? `, and ${problemCount - problems.length} more` : "";
  const wrong = problemCount ? ` Not counted: ${problems.join("; ")}${more}.` : "";
  if (!requests) return [`${file.name}: no requests.${wrong}`, null];
  const mean = (sum) => divideAt({ units: sum, places: 0 }, whole(requests), 2);
  const words = `${file.name}: ${counted(whole(requests))} requests, about ${counted(mean(input))} tokens in each, `
    + `at most ${counted(mean(maxOutput))} out${shared ? `, ${counted(whole(shared))} shared by all` : ""}.${wrong}`;
  return [words, () => {
    form.elements.requests.value = brief(whole(requests));
    form.elements.input.value = brief(mean(input));
    form.elements.output.value = brief(mean(maxOutput));
    form.elements.shared.value = shared ? brief(whole(shared)) : "";
    if (shared) byId("caching").open = true;
  }];
}

function emptyQuestion() {
  return {
    work: { requests: 1n, input: whole(0), output: whole(0), shared: whole(0), ttl: "5m", hitRate: whole(1) },
    models: [], tier: "batch", book: books[0].name, on: today, unknown: {},
  };
}

/** Tell screen readers the answer once typing has paused. */
function announceLater(text) {
  clearTimeout(announcing);
  announcing = setTimeout(() => announce(text), ANNOUNCE_AFTER_MS);
}

function announce(text) {
  byId("announcement").textContent = text;
}
