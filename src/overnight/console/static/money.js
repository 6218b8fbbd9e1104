/** Money as it is read and written; the rules are those of overnight/pricing/money.py. */

import { ONE, absolute, compare, divideAt, fixed, isZero, magnitude, plain, round, scale } from "./decimal.js";

const CENT_PLACES = 2;
const SMALL_DIGITS = 3;

/** Every digit and at least two decimals: `18.00`, `0.0001625`. */
export function exact(usd) {
  const cents = round(usd, CENT_PLACES);
  return compare(usd, cents) === 0 ? fixed(cents) : plain(usd);
}

/** To the cent: `$1,234.50`. Unknown is a word, never 0, and only 0 is `$0.00`. */
export function shown(usd) {
  if (!usd) return "unknown";
  const cents = round(absolute(usd), CENT_PLACES);
  if (!isZero(usd) && isZero(cents)) return "<$0.01";
  return `${sign(usd)}$${grouped(fixed(cents))}`;
}

/** The price of one thing, a request or a rate: cents, or three digits below that. */
export function shownSmall(usd) {
  if (!usd) return "unknown";
  const cents = round(usd, CENT_PLACES);
  if (compare(usd, cents) === 0 || compare(absolute(usd), ONE) >= 0) return shown(usd);
  const places = Math.max(CENT_PLACES, SMALL_DIGITS - 1 - magnitude(usd));
  const text = plain(round(absolute(usd), places));
  const decimals = text.split(".")[1]?.length ?? 0;
  const padding = text.includes(".") ? "0".repeat(Math.max(0, CENT_PLACES - decimals)) : "";
  return `${sign(usd)}$${text}${padding}`;
}

/** An amount in a sum: to the cent, finer when the whole sum is small. */
export function shownBeside(usd, total) {
  const small = total && compare(absolute(total), ONE) < 0;
  return small ? shownSmall(usd) : shown(usd);
}

/** `part` of `whole` in percent, to two decimals; null when there is no whole. */
export function percent(part, total) {
  return isZero(total) ? null : divideAt(scale(part, 2), total, 2);
}

/** Thousands apart: `1,234.50`. */
export function grouped(text) {
  const [integer, fraction] = String(text).split(".");
  const commas = integer.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? commas : `${commas}.${fraction}`;
}

function sign(usd) {
  return usd.units < 0n ? "-" : "";
}
