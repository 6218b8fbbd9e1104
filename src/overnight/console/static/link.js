/** The calculator's state as the fragment of a link; as overnight/pricing/link.py. */

import { ONE, ZERO, compare, isZero, multiply, plain, whole } from "./decimal.js";
import { MAX_REQUESTS, MAX_TOKENS, compact, readNumber, readShare, readWhole } from "./quantity.js";

const VERSION = "1";
const MAX_LENGTH = 4000;

/** Write a question as a fragment, without the `#`. Book and day always stand in it. */
export function fragment({ work, models, tier, book, on, unknown = {} }) {
  const pairs = {
    v: VERSION,
    m: models.join(","),
    n: compact(whole(work.requests)),
    i: compact(work.input),
    o: compact(work.output),
  };
  if (!isZero(work.shared)) {
    pairs.s = compact(work.shared);
    if (work.ttl !== "5m") pairs.ttl = work.ttl;
    if (compare(work.hitRate, ONE) !== 0) pairs.h = plain(work.hitRate);
  }
  if (tier !== "batch") pairs.t = tier;
  Object.assign(pairs, { pb: book, on }, unknown);
  return Object.entries(pairs).map(([key, value]) => `${encoded(key)}=${encoded(value)}`).join("&");
}

/**
 * Read a fragment: { question, problems }. What is missing or cannot be read is taken from
 * `defaults` and named in `problems`; keys that are not known are kept.
 */
export function parse(text, defaults) {
  const problems = [];
  if (text.length > MAX_LENGTH) return { question: defaults, problems: ["the link is too long"] };
  const pairs = Object.fromEntries(new URLSearchParams(text.replace(/^#/, "")));
  const take = (key, read, fallback) => {
    const value = pairs[key];
    delete pairs[key];
    if (value === undefined || value === "") return fallback;
    try {
      return read(value);
    } catch (error) {
      problems.push(`${key}=${value}: ${error.message}`);
      return fallback;
    }
  };
  const tokens = (value) => readNumber(value, MAX_TOKENS);
  if (take("v", String, VERSION) !== VERSION) problems.push("a newer calculator made this link");
  const input = take("i", tokens, defaults.work.input);
  const work = {
    requests: take("n", (value) => readWhole(value, MAX_REQUESTS, 1n), defaults.work.requests),
    input,
    output: take("o", tokens, defaults.work.output),
    shared: take("cr", (value) => multiply(input, readShare(value)), take("s", tokens, ZERO)),
    ttl: take("ttl", (value) => oneOf(value, ["5m", "1h"]), "5m"),
    hitRate: take("h", readShare, ONE),
  };
  const question = {
    work,
    models: take("m", (value) => value.split(",").filter(Boolean), defaults.models),
    tier: take("t", (value) => oneOf(value, ["batch", "standard"]), "batch"),
    book: take("pb", String, defaults.book),
    on: take("on", readDay, defaults.on),
    unknown: pairs,
  };
  return { question, problems };
}

/** Read a day as `2026-11-22`. Throws RangeError. */
export function readDay(text) {
  const day = /^\d{4}-\d{2}-\d{2}$/.test(text) ? new Date(`${text}T00:00:00Z`) : new Date(NaN);
  if (Number.isNaN(day.valueOf()) || day.toISOString().slice(0, 10) !== text) {
    throw new RangeError("not a day such as 2026-01-31");
  }
  return text;
}

function oneOf(value, known) {
  if (!known.includes(value)) throw new RangeError(`must be ${known.join(" or ")}`);
  return value;
}

function encoded(value) {
  const strict = encodeURIComponent(value).replace(/[!'()*]/g, (letter) =>
    `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
  return strict.replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%40", "@");
}
