/** When prompt caching pays; as overnight/pricing/caching.py. */

import { pricesOf } from "./book.js";
import { ONE, ZERO, ceiling, compare, divide, subtract, whole, wholeQuotient } from "./decimal.js";
import { percent } from "./money.js";
import { cost, inTier } from "./quote.js";
import { uncached } from "./workload.js";

/** Requests in flight when nothing waits for the first one. */
export const CONCURRENCY = 64n;
const SHARE_DIGITS = 28;

/** Say what caching the shared prompt brings. Amounts are null where a price is unknown. */
export function advise(work, { model, tier, book, on }) {
  const price = (changed) => {
    const { usd, complete } = inTier(cost(changed, { model, book, on }), tier);
    return complete ? usd : null;
  };
  const prices = pricesOf(book, model, { on, promptTokens: ceiling(work.input) });
  const rates = prices?.[tier] ?? {};
  const minimum = prices?.model.min_cacheable_tokens ?? null;
  const without = price(uncached(work));
  const cached = price(work);
  const atOnce = work.requests < CONCURRENCY ? work.requests : CONCURRENCY;
  return {
    verdict: verdict(work, without, cached, minimum),
    without,
    cached,
    minimum,
    breakEven: breakEven(rates, work.ttl),
    minHitPercent: minHitPercent(rates, work.ttl),
    leaderFirst: price(withWriters(work, 1n)),
    allAtOnce: price(withWriters(work, atOnce)),
  };
}

/** Give the fewest requests for which one write and reads are cheaper; null: never or unknown. */
export function breakEven(rates, ttl) {
  const [plain, write, read] = three(rates, ttl);
  if (!plain || !write || !read || compare(plain, read) <= 0) return null;
  if (compare(write, read) < 0) return 1n;
  return wholeQuotient(subtract(write, read), subtract(plain, read)) + 1n;
}

/** Give the hit rate, in percent, above which caching pays when requests are many. */
export function minHitPercent(rates, ttl) {
  const [plain, write, read] = three(rates, ttl);
  if (!plain || !write || !read || compare(write, read) <= 0) return null;
  const least = percent(subtract(write, plain), subtract(write, read));
  return least && compare(least, ZERO) > 0 ? least : ZERO;
}

function three(rates, ttl) {
  const write = ttl === "5m" ? "cache_write_5m" : "cache_write_1h";
  return ["input", write, "cache_read"].map((name) => rates[name]?.usd);
}

function withWriters(work, writers) {
  const others = work.requests - 1n;
  const hitRate = others ? divide(whole(work.requests - writers), whole(others), SHARE_DIGITS) : ONE;
  return { ...work, hitRate };
}

function verdict(work, without, cached, minimum) {
  if (minimum !== null && compare(work.shared, whole(minimum)) < 0) return "too short";
  if (!without || !cached) return "unknown";
  return { [-1]: "pays", 0: "equal", 1: "costs more" }[compare(cached, without)];
}
