/** Numbers as people write them: `10k`, `1.2M`, `80%`; as overnight/pricing/quantity.py. */

import { ONE, compare, decimal, isZero, plain, round, scale, whole } from "./decimal.js";
import { grouped } from "./money.js";

export const MAX_REQUESTS = 10n ** 12n;
export const MAX_TOKENS = 10n ** 9n;

const SCALES = { "": 0, k: 3, m: 6, b: 9, g: 9, t: 12 };
const FORM = /^(\d[\d_,]*(?:\.\d+)?|\.\d+)(?:e\+?(\d{1,3}))?\s*([kmbgt]?)$/i;
const GROUPED = /^\d{1,3}(?:[,_]\d{3})+(?:\.\d+)?$/;

/** What a person typed cannot be used; the message says how to write it. */
export class InputError extends Error {}

/** Read a number that is not negative: `200`, `1.2k`, `10,000`, `3M`. Throws InputError. */
export function readNumber(text, atMost) {
  const written = text.trim();
  const found = FORM.exec(written);
  if (!found || (/[,_]/.test(found[1]) && !GROUPED.test(found[1]))) {
    if (/^[-−]/.test(written)) throw new InputError("must not be negative");
    throw new InputError(written ? "not a number: write 200, 1.2k or 3M" : "write a number");
  }
  const digits = decimal(found[1].replaceAll(/[,_]/g, ""));
  const value = scale(digits, Number(found[2] ?? 0) + SCALES[found[3].toLowerCase()]);
  if (compare(value, whole(atMost)) > 0) throw new InputError(`at most ${grouped(atMost)}`);
  return value;
}

/** Read a whole number as a BigInt. Throws InputError. */
export function readWhole(text, atMost, atLeast) {
  const value = readNumber(text, atMost);
  const integer = round(value, 0);
  if (compare(value, integer) !== 0) throw new InputError("not a whole number");
  if (integer.units < atLeast) throw new InputError(`at least ${atLeast}`);
  return integer.units;
}

/** Read a share from 0 to 1, also in percent: `0.8`, `80%`. Throws InputError. */
export function readShare(text) {
  const written = text.trim();
  const inPercent = written.endsWith("%");
  const value = readNumber(inPercent ? written.slice(0, -1) : written, MAX_TOKENS);
  const share = inPercent ? scale(value, -2) : value;
  if (compare(share, ONE) > 0) throw new InputError("at most 100%: write 0.8 or 80%");
  return share;
}

/** Write a count the short way when that is exact: 10000 is `10k`, 1234 stays `1234`. */
export function compact(value) {
  for (const [letter, power] of [["B", 9], ["M", 6], ["k", 3]]) {
    const scaled = scale(value, -power);
    const text = plain(scaled);
    if (compare(scaled, ONE) >= 0 && text.length <= 5) return text + letter;
  }
  return plain(value);
}

/** The same for people: `20M`, `2.5k`, but 1004 rather than 1.004k. */
export function brief(value) {
  const text = compact(value);
  return text.length <= 4 ? text : plain(value);
}

/** Write a share as percent: `80%`. */
export function asPercent(share) {
  return `${plain(scale(share, 2))}%`;
}

/** Write a count with thousands apart: `1,234.5`. */
export function counted(value) {
  return isZero(value) ? "0" : grouped(plain(value));
}
