/**
 * Exact decimals: `{ units, places }` means units × 10^-places, with units a BigInt.
 * Nothing here is ever a binary fraction, so the page gives the digits that Python gives.
 */

const FORM = /^(-?)(\d*)(?:\.(\d*))?$/;

export const ZERO = { units: 0n, places: 0 };
export const ONE = { units: 1n, places: 0 };

/** Read `0.80`, `1200`, `-3`. Throws SyntaxError for anything else. */
export function decimal(text) {
  const found = FORM.exec(text);
  if (!found || !(found[2] || found[3])) throw new SyntaxError(`not a decimal: ${text}`);
  const fraction = found[3] ?? "";
  const units = BigInt(found[2] + fraction);
  return { units: found[1] ? -units : units, places: fraction.length };
}

export function whole(count) {
  return { units: BigInt(count), places: 0 };
}

export function add(a, b) {
  const places = Math.max(a.places, b.places);
  return { units: unitsAt(a, places) + unitsAt(b, places), places };
}

export function subtract(a, b) {
  return add(a, { units: -b.units, places: b.places });
}

export function multiply(a, b) {
  return { units: a.units * b.units, places: a.places + b.places };
}

/** Multiply by a power of ten: scale(1.2, 3) is 1200. */
export function scale(a, power) {
  const places = a.places - power;
  return places < 0 ? { units: a.units * tenTo(-places), places: 0 } : { units: a.units, places };
}

/** Give -1, 0 or 1. */
export function compare(a, b) {
  const places = Math.max(a.places, b.places);
  const difference = unitsAt(a, places) - unitsAt(b, places);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

export function isZero(a) {
  return a.units === 0n;
}

export function absolute(a) {
  return a.units < 0n ? { units: -a.units, places: a.places } : a;
}

/** Round to a number of places; a half goes away from zero, or to the even digit. */
export function round(a, places, { toEven = false } = {}) {
  if (a.places <= places) return { units: unitsAt(a, places), places };
  return { units: rounded(a.units, tenTo(a.places - places), toEven), places };
}

/** Divide, rounded half up to a number of significant digits. */
export function divide(a, b, digits) {
  const guess = magnitude(a) - magnitude(b);
  // The quotient has its first digit at `guess` or one place below.
  for (const first of [guess, guess - 1]) {
    const places = Math.max(0, digits - 1 - first);
    const quotient = divideAt(a, b, places);
    if (isZero(quotient) || magnitude(quotient) >= first) return quotient;
  }
  return ZERO;
}

/** Give the whole part of a / b, both positive. */
export function wholeQuotient(a, b) {
  const places = Math.max(a.places, b.places);
  return unitsAt(a, places) / unitsAt(b, places);
}

/** Divide, rounded half up to a number of places. */
export function divideAt(a, b, places) {
  const shift = places + b.places - a.places;
  const top = shift > 0 ? a.units * tenTo(shift) : a.units;
  const bottom = shift < 0 ? b.units * tenTo(-shift) : b.units;
  const negative = top < 0n !== bottom < 0n;
  const units = rounded(top < 0n ? -top : top, bottom < 0n ? -bottom : bottom, false);
  return { units: negative ? -units : units, places };
}

/** Give the power of ten of the first digit that is not zero: 0 for 1 to 9.99, -2 for 0.012. */
export function magnitude(a) {
  return String(absolute(a).units).length - 1 - a.places;
}

/** Round up to a whole number; for what is not negative. */
export function ceiling(a) {
  const unit = tenTo(a.places);
  return (a.units + unit - 1n) / unit;
}

/** Write without exponent and without trailing zeros: `0.8`, `1200`. */
export function plain(a) {
  const text = fixed(a);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Write every place that the value has: `0.80`. */
export function fixed(a) {
  const digits = String(absolute(a).units).padStart(a.places + 1, "0");
  const point = digits.length - a.places;
  const text = a.places ? `${digits.slice(0, point)}.${digits.slice(point)}` : digits;
  return a.units < 0n ? `-${text}` : text;
}

/** Give the nearest number, for drawing only. */
export function approximate(a) {
  return Number(fixed(a));
}

function unitsAt(a, places) {
  return a.units * tenTo(places - a.places);
}

function tenTo(power) {
  return 10n ** BigInt(power);
}

function rounded(units, unit, toEven) {
  const negative = units < 0n;
  const size = negative ? -units : units;
  const down = size / unit;
  const twice = (size % unit) * 2n;
  const up = twice > unit || (twice === unit && (!toEven || down % 2n === 1n));
  const result = up ? down + 1n : down;
  return negative ? -result : result;
}
