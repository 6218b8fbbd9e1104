/** The answer: totals, an itemised receipt for each model, caching advice and other books' prices. */

import { LABELS } from "./book.js";
import { CONCURRENCY, advise } from "./caching.js";
import { ONE, compare, isZero, plain, whole } from "./decimal.js";
import { el } from "./dom.js";
import { exact, percent, shown, shownBeside, shownSmall } from "./money.js";
import { brief, counted } from "./quantity.js";
import { inTier, perRequest, timesCheapest } from "./quote.js";

/** Draw a quote into a container; gives the sentence to announce. */
export function showResult(container, quoted) {
  const several = quoted.options.length > 1;
  const parts = several ? [comparison(quoted)] : [headline(quoted, quoted.options[0])];
  for (const [index, option] of quoted.options.entries()) {
    const details = [receipt(quoted, option), ...notes(quoted, option)];
    parts.push(several
      ? el("details", { class: "itemised", open: index === 0 }, el("summary", {}, option.cost.name), ...details)
      : el("div", { class: "itemised" }, ...details));
  }
  container.replaceChildren(...parts);
  return quoted.options.map((option) => sentence(option)).join(" ");
}

/** An amount whose every digit stands in its value and its tooltip. */
export function money(usd, { text, atLeast = false, ...attributes } = {}) {
  if (!usd) return el("span", { class: "unknown" }, "unknown");
  const figure = text ?? shown(usd);
  return el("data", { value: exact(usd), title: `$${exact(usd)}`, ...attributes },
    atLeast ? `at least ${figure}` : figure);
}

function headline(quoted, option) {
  const { cost } = option;
  const chosen = inTier(cost, quoted.tier);
  const small = shownBeside(chosen.usd, chosen.usd);
  const one = perRequest(chosen.usd, quoted.work);
  return el("div", { class: "headline" },
    el("p", { class: "asked" }, `${cost.name}, ${quoted.tier}`),
    el("p", { class: "total" }, money(chosen.usd, { text: small, atLeast: !chosen.complete, id: "total" })),
    saving(quoted, cost),
    one ? el("p", { class: "each" }, money(one, { text: shownSmall(one), atLeast: !chosen.complete, id: "per-request" }), " a request") : null);
}

function saving(quoted, cost) {
  if (!cost.model) return el("p", { class: "saving" }, `${cost.name} has no price in this book on ${quoted.on}.`);
  if (!cost.saving) {
    return el("p", { class: "saving" }, "Standard price: ", money(cost.standardUsd,
      { text: shownBeside(cost.standardUsd, cost.standardUsd), atLeast: !cost.standardComplete }),
      ". What a batch costs is not wholly known.");
  }
  const total = cost.standardUsd;
  const share = cost.savingPercent ? ` (${plain(cost.savingPercent)}%)` : "";
  const saved = money(cost.saving, { text: shownBeside(cost.saving, total), id: "saving" });
  const other = quoted.tier === "batch"
    ? ["instead of ", el("s", {}, money(total, { text: shownBeside(total, total), id: "standard" })), " standard. "]
    : ["A batch would cost ", money(cost.usd, { text: shownBeside(cost.usd, total) }), ". "];
  const verb = quoted.tier === "batch" ? "You save " : "It would save ";
  return el("p", { class: "saving" }, ...other, el("strong", {}, verb, saved, share));
}

function comparison(quoted) {
  const rows = quoted.options.map((option) => comparisonRow(quoted, option));
  return scroller("Models side by side", el("table", { class: "figures comparison" },
    el("caption", { class: "sr-only" }, "Models side by side"),
    head(["model", "batch", "standard", "saving"]),
    el("tbody", {}, ...rows)));
}

function comparisonRow(quoted, option) {
  const { cost } = option;
  const total = cost.standardUsd;
  const times = timesCheapest(quoted, option);
  const amount = (tier) => {
    const { usd, complete } = inTier(cost, tier);
    const one = perRequest(usd, quoted.work);
    return el("td", { class: tier === quoted.tier ? "chosen" : null, "data-tier": tier },
      money(usd, { text: shownBeside(usd, total), atLeast: !complete }),
      one ? el("span", { class: "rate" }, money(one, { text: shownSmall(one), atLeast: !complete }), " each") : null);
  };
  return el("tr", { "data-model": cost.model },
    el("th", { scope: "row" }, cost.name.replace(/^Claude /, ""),
      times ? el("span", { class: "count" }, compare(times, ONE) === 0 ? "cheapest" : `${plain(times)} × cheapest`) : null),
    amount("batch"),
    amount("standard"),
    el("td", { class: "saving" }, cost.saving ? money(cost.saving, { text: shownBeside(cost.saving, total) }) : "–",
      cost.savingPercent ? el("span", { class: "rate" }, `${plain(cost.savingPercent)}%`) : null));
}

function receipt(quoted, option) {
  const { cost } = option;
  const total = cost.standardUsd;
  const lines = cost.lines.map((line) => el("tr", { "data-class": line.class },
    el("th", { scope: "row" }, LABELS[line.class],
      el("span", { class: "count", title: `${counted(whole(line.count))} tokens` }, `${shortCount(line.count)} tokens`)),
    priced(line.usd, line.rate, line.steps, total),
    priced(line.standardUsd, line.standardRate, line.standardSteps, total)));
  const sum = (usd, complete) => el("td", {}, money(usd, { text: shownBeside(usd, total), atLeast: !complete }));
  const label = `${cost.name}, item by item`;
  return scroller(label, el("table", { class: "figures receipt" },
    el("caption", { class: "sr-only" }, label),
    head(["tokens", "batch", "standard"]),
    el("tbody", {}, ...lines),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "total"),
      sum(cost.usd, cost.complete), sum(cost.standardUsd, cost.standardComplete)))));
}

/** `20M` where that is short and exact, else every digit. */
function shortCount(count) {
  const short = brief(whole(count));
  return /^\d+$/.test(short) ? counted(whole(count)) : short;
}

function priced(usd, rate, steps, total) {
  if (!rate) return el("td", {}, money(null));
  return el("td", {}, money(usd, { text: shownBeside(usd, total) }),
    el("span", { class: "rate", title: steps, "data-rate": exact(rate) }, `× ${shownSmall(rate)}/M`));
}

function notes(quoted, option) {
  const { cost } = option;
  const found = [];
  const unknown = cost.lines.filter((line) => !line.usd).map((line) => LABELS[line.class]);
  if (cost.model && unknown.length) {
    found.push(note("unknown-price", `The batch price of ${unknown.join(", ")} is not known on ${quoted.on}: `
      + "it counts as unknown, not as 0."));
  }
  if (cost.model && !isZero(quoted.work.shared)) found.push(cachingNote(quoted, option));
  for (const other of option.others) found.push(disagreement(quoted, option, other));
  if (cost.source && !option.others.length) found.push(sourceLine(cost));
  return found;
}

function cachingNote(quoted, option) {
  const advice = advise(quoted.work, { ...quoted, model: option.cost.model });
  const usd = (amount) => money(amount, { text: shownBeside(amount, advice.without) });
  if (advice.verdict === "unknown") {
    return note("caching", "Whether caching pays is not known: a price it depends on is unknown.");
  }
  const title = {
    pays: "Caching pays.",
    "costs more": "Caching costs more here.",
    equal: "Caching changes nothing here.",
    "too short": `Too short to cache: the model caches from ${counted(whole(advice.minimum ?? 0))} tokens on.`,
  }[advice.verdict];
  const from = advice.breakEven === null
    ? "Reading the cache is never cheaper than sending the tokens."
    : `It pays from ${counted(whole(advice.breakEven))} requests on`
      + `${advice.minHitPercent ? `, and with more than ${plain(advice.minHitPercent)}% hits among many` : ""}.`;
  return el("div", { class: "note", "data-note": "caching", "data-verdict": advice.verdict },
    el("p", {}, el("strong", {}, title), " With it ", usd(advice.cached), ", without ", usd(advice.without), ". ", from),
    el("p", {}, "When the first request goes alone, the prompt is written once: ", usd(advice.leaderFirst),
      `. When ${CONCURRENCY} set out at once, each of them writes it: `, usd(advice.allAtOnce), "."));
}

function disagreement(quoted, option, other) {
  const ours = inTier(option.cost, quoted.tier);
  const theirs = inTier(other, quoted.tier);
  const total = option.cost.standardUsd;
  const figure = (book, found, source) => el("li", {},
    money(found.usd, { text: shownBeside(found.usd, total), atLeast: !found.complete }),
    el("span", {}, `${book.name}: `, sourceName(source), ", read ", el("span", { class: "date" }, source.read)));
  return el("div", { class: "note warning", "data-note": "disagreement" },
    el("p", {}, el("strong", {}, "Price books disagree"), ` on ${option.cost.name}, ${quoted.tier}:`),
    el("ul", {}, figure(quoted.book, ours, option.cost.source), figure(other.book, theirs, other.source)));
}

function sourceLine(cost) {
  return el("p", { class: "source" }, "Prices: ", sourceName(cost.source), `, read ${cost.source.read}.`);
}

function sourceName(source) {
  return source.url ? el("a", { href: source.url, rel: "noreferrer" }, source.title) : source.title;
}

function note(kind, text) {
  return el("p", { class: "note warning", "data-note": kind }, text);
}

function sentence({ cost }) {
  if (!cost.usd) return `${cost.name}: price unknown.`;
  const saved = cost.saving && percent(cost.saving, cost.standardUsd);
  return `${cost.name}: batch ${cost.complete ? "" : "at least "}${shown(cost.usd)}, standard `
    + `${shown(cost.standardUsd)}${saved ? `, ${plain(saved)}% saved` : ""}.`;
}

function head(names) {
  return el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name))));
}

/** A table may be wider than a phone: then it scrolls by itself, also by keyboard. */
function scroller(label, table) {
  return el("div", { class: "scroller", role: "region", "aria-label": label, tabindex: "0" }, table);
}
