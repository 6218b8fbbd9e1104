/** So many requests of such a size, and the tokens they come to; as overnight/pricing/workload.py. */

import { ZERO, compare, isZero, multiply, round, whole } from "./decimal.js";
import { InputError, counted } from "./quantity.js";

/**
 * Check a workload. Tokens are means of one request; the shared ones are part of the input.
 * `requests` is a BigInt, all other numbers are decimals. Throws InputError.
 */
export function workload({ requests, input, output, shared, ttl, hitRate }) {
  if (compare(shared, input) > 0) {
    throw new InputError(`more than the whole prompt of ${counted(input)} tokens`);
  }
  return { requests, input, output, shared, ttl, hitRate };
}

/** Give the same requests without caching. */
export function uncached(work) {
  return { ...work, shared: ZERO };
}

/** Count the tokens of all requests: class → BigInt, each rounded to a whole token. */
export function usage(work) {
  const { requests, shared, ttl } = work;
  let writes = 0n;
  let reads = 0n;
  if (!isZero(shared)) {
    const readers = rounded(multiply(whole(requests - 1n), work.hitRate));
    reads = rounded(multiply(shared, whole(readers)));
    writes = rounded(multiply(shared, whole(requests))) - reads;
  }
  return {
    input: rounded(multiply(work.input, whole(requests))) - writes - reads,
    cache_write_5m: ttl === "5m" ? writes : 0n,
    cache_write_1h: ttl === "1h" ? writes : 0n,
    cache_read: reads,
    output: rounded(multiply(work.output, whole(requests))),
  };
}

function rounded(value) {
  return round(value, 0).units;
}
