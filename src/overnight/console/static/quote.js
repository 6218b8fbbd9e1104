/** What a workload costs on a model, itemised; as overnight/pricing/cost.py, quote.py, compare.py. */

import { CLASSES, TIERS, pricesOf } from "./book.js";
import { ZERO, add, compare, divide, multiply, round, scale, subtract, whole } from "./decimal.js";
import { percent } from "./money.js";
import { usage } from "./workload.js";

// A rate is for a million tokens.
const PER_POWER = 6;
const PER_REQUEST_DIGITS = 12;

/**
 * Price a workload in the batch tier, with the standard price beside each amount.
 * Amounts are decimals in dollars; null is an unknown price, and then `complete` is false.
 */
export function cost(work, { model, book, on }) {
  const counts = usage(work);
  const prompt = counts.input + counts.cache_write_5m + counts.cache_write_1h + counts.cache_read;
  const promptTokens = (prompt + work.requests - 1n) / work.requests;
  const prices = pricesOf(book, model, { on, promptTokens });
  const lines = CLASSES.filter((name) => counts[name]).map((name) => lineOf(name, counts[name], prices));
  return { model: prices?.model.id ?? null, asked: model, name: prices?.model.name ?? model,
    book, on, source: prices?.source, since: prices?.since, lines, ...totals(lines, prices) };
}

/** Give the amount of a cost in a tier, and whether all of it is known. */
export function inTier(priced, tier) {
  return tier === "batch"
    ? { usd: priced.usd, complete: priced.complete }
    : { usd: priced.standardUsd, complete: priced.standardComplete };
}

/** Price a workload on several models, with what other books say where they differ. */
export function quote(work, { models, tier, book, on, books }) {
  const options = models.map((model) => {
    const priced = cost(work, { model, book, on });
    const differences = disagreements(priced, { book, books, on });
    const differing = [...new Set(differences.map((difference) => difference.book))];
    return {
      cost: priced,
      differences,
      others: differing.map((other) => cost(work, { model, book: other, on })),
    };
  });
  return { work, tier, book, on, options };
}

/** Give an amount for one request, to twelve digits. */
export function perRequest(usd, work) {
  return usd && divide(usd, whole(work.requests), PER_REQUEST_DIGITS);
}

/** Give how many times the cheapest model an option costs; null when not known. */
export function timesCheapest(quoted, option) {
  const known = quoted.options.map((other) => inTier(other.cost, quoted.tier));
  const cheapest = known
    .filter(({ usd, complete }) => complete && usd && usd.units > 0n)
    .reduce((least, { usd }) => (least && compare(least, usd) <= 0 ? least : usd), null);
  const own = inTier(option.cost, quoted.tier);
  if (!cheapest || !own.usd || !own.complete) return null;
  return round(divide(own.usd, cheapest, PER_REQUEST_DIGITS), 2, { toEven: true });
}

/** List the rates of used classes on which another book differs: { book, tier, class, … }. */
function disagreements(priced, { book, books, on }) {
  if (!priced.model) return [];
  const ours = pricesOf(book, priced.model, { on });
  const used = new Set(priced.lines.map((line) => line.class));
  const found = [];
  for (const other of books.filter((candidate) => candidate !== book)) {
    const theirs = pricesOf(other, priced.model, { on });
    for (const tier of theirs ? TIERS : []) {
      for (const [name, rate] of Object.entries(ours[tier])) {
        const listed = theirs[tier][name];
        if (listed && used.has(name) && compare(listed.usd, rate.usd) !== 0) {
          found.push({ book: other, tier, class: name, usd: rate.usd, otherUsd: listed.usd });
        }
      }
    }
  }
  return found;
}

function lineOf(name, count, prices) {
  const batch = prices?.batch[name];
  const standard = prices?.standard[name];
  return {
    class: name,
    count,
    rate: batch?.usd ?? null,
    usd: batch ? amount(count, batch.usd) : null,
    steps: batch?.steps ?? "",
    standardRate: standard?.usd ?? null,
    standardUsd: standard ? amount(count, standard.usd) : null,
    standardSteps: standard?.steps ?? "",
  };
}

function amount(count, rate) {
  return scale(multiply(whole(count), rate), -PER_POWER);
}

function totals(lines, prices) {
  const usd = prices ? sum(lines.map((line) => line.usd)) : null;
  const standardUsd = prices ? sum(lines.map((line) => line.standardUsd)) : null;
  const complete = Boolean(prices) && lines.every((line) => line.usd);
  const standardComplete = Boolean(prices) && lines.every((line) => line.standardUsd);
  const saving = usd && standardUsd && complete && standardComplete ? subtract(standardUsd, usd) : null;
  const savingPercent = saving && percent(saving, standardUsd);
  return { usd, standardUsd, complete, standardComplete, saving, savingPercent };
}

/** Sum what is known; null when nothing is. */
function sum(amounts) {
  const known = amounts.filter(Boolean);
  return known.length || !amounts.length ? known.reduce(add, ZERO) : null;
}
