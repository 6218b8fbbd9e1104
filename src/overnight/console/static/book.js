/** Price books: what a model's tokens cost on a day; as overnight/pricing/book.py. */

import { decimal } from "./decimal.js";

export const CLASSES = ["input", "cache_write_5m", "cache_write_1h", "cache_read", "output", "web_search"];
export const LABELS = {
  input: "input",
  cache_write_5m: "cache write 5 m",
  cache_write_1h: "cache write 1 h",
  cache_read: "cache read",
  output: "output",
  web_search: "web search",
};
export const TIERS = ["batch", "standard"];

/** Make books of the data of /prices.json. */
export function readBooks(data) {
  return data.books.map((book) => ({
    ...book,
    models: book.models.map((model) => ({ ...model, prices: model.prices.map(readEntry) })),
  }));
}

/** Find the book of a name; a book that moves stands for its newest edition here. */
export function findBook(books, name) {
  return books.find((book) => book.name === name || book.also_named?.includes(name));
}

/** Find a model by id, alias or dated id; undefined when it is not in the book. */
export function findModel(book, name) {
  for (const spelling of spellings(name)) {
    const found =
      book.models.find((model) => model.id === spelling || model.aliases.includes(spelling)) ??
      book.models.find((model) => spellings(model.id).includes(spelling));
    if (found) return found;
  }
  return undefined;
}

/**
 * Give a model's prices on a day for prompts of a length: rates by tier and class, as
 * `{ usd, steps }` for a million tokens. undefined: not in the book, or no price yet that day.
 */
export function pricesOf(book, name, { on, promptTokens = 0n }) {
  const model = findModel(book, name);
  const entry = model?.prices.findLast((prices) => prices.from <= on);
  if (!entry) return undefined;
  const long = entry.long_prompt && promptTokens > BigInt(entry.long_prompt.over_tokens);
  const rates = long ? entry.long_prompt : entry;
  return {
    model,
    since: entry.from,
    source: entry.source,
    standard: rates.standard,
    batch: rates.batch,
  };
}

function readEntry(entry) {
  const long = entry.long_prompt && { ...entry.long_prompt, ...readTiers(entry.long_prompt) };
  return { ...entry, ...readTiers(entry), long_prompt: long };
}

function readTiers(tiers) {
  return { standard: readRates(tiers.standard), batch: readRates(tiers.batch) };
}

function readRates(rates) {
  const read = ([name, rate]) => [name, { usd: decimal(rate.usd), steps: rate.steps }];
  return Object.fromEntries(Object.entries(rates).map(read));
}

/** Names under which a model may stand, the most exact first. */
function spellings(name) {
  const written = name.trim().toLowerCase().replace(/^anthropic\//, "");
  const undated = written.replace(/(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|[-@]latest)$/, "");
  return [...new Set([written, undated, undated.replaceAll(".", "-")])];
}
