/** Cost against the number of requests, as a drawing and as the table that says the same. */

import { advise } from "./caching.js";
import { approximate, compare, isZero, whole } from "./decimal.js";
import { el, svg } from "./dom.js";
import { shownBeside } from "./money.js";
import { counted } from "./quantity.js";
import { cost, inTier } from "./quote.js";
import { money } from "./result.js";
import { uncached } from "./workload.js";

const HEIGHT = 300;
const LABEL_GAP = 17;
const MAX_SEARCH = 10n ** 9n;

/** Give the lines of a chart: { id, name, at }, where `at` gives the exact cost of n requests. */
export function linesOf(quoted, model) {
  const { work, tier, book, on } = quoted;
  const at = (changed, inThat) => (requests) => {
    const found = inTier(cost({ ...changed, requests }, { model, book, on }), inThat);
    return found.complete ? found.usd : null;
  };
  const lines = [
    { id: "standard", name: "standard", at: at(uncached(work), "standard") },
    { id: "batch", name: "batch", at: at(uncached(work), "batch") },
  ];
  if (!isZero(work.shared)) lines.push({ id: "cached", name: `${tier}, cached`, at: at(work, tier) });
  return lines.filter((line) => line.at(work.requests));
}

/** Give the fewest requests from which caching is cheaper at this hit rate; null: never. */
export function crossing(quoted, model) {
  const { work, tier } = quoted;
  const lines = linesOf(quoted, model);
  const cached = lines.find((line) => line.id === "cached");
  const plain = lines.find((line) => line.id === tier);
  if (!cached || !plain || advise(work, { ...quoted, model }).verdict === "too short") return null;
  const pays = (requests) => compare(cached.at(requests), plain.at(requests)) < 0;
  let high = 1n;
  while (!pays(high)) {
    high *= 2n;
    if (high > MAX_SEARCH) return null;
  }
  let low = high / 2n;
  while (high - low > 1n) {
    const middle = (low + high) / 2n;
    if (pays(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** Draw the chart at the width it has; `range` is "all" or "crossing". */
export function showChart(container, quoted, { model, range }) {
  const lines = linesOf(quoted, model);
  const breakEven = crossing(quoted, model);
  const near = range === "crossing" && breakEven !== null;
  const last = near ? breakEven * 4n : lastRequests(quoted.work.requests);
  const plot = plotFor(container.clientWidth || 640, lines, last);
  const drawing = svg("svg", { width: plot.width, height: HEIGHT, role: "img", "aria-labelledby": "chart-title" },
    svg("title", { id: "chart-title" }, description(quoted, lines, breakEven)),
    ...grid(plot), ...mark(plot, breakEven, near), ...here(plot, quoted.work.requests, lines),
    ...lines.map((line) => path(plot, line)), ...labels(plot, lines));
  container.replaceChildren(drawing);
  return { breakEven };
}

/** Fill the table that stands beside the drawing. */
export function showChartTable(table, quoted, model) {
  const lines = linesOf(quoted, model);
  const breakEven = crossing(quoted, model);
  const { requests } = quoted.work;
  const picked = [1n, breakEven, requests / 10n, requests / 4n, requests / 2n, requests, requests * 2n];
  const rows = [...new Set(picked.filter((count) => count))].sort((a, b) => (a < b ? -1 : 1));
  const cell = (line, count) => {
    const usd = line.at(count);
    return el("td", {}, money(usd, { text: shownBeside(usd, lines[0].at(count)) }));
  };
  const name = (count) => counted(whole(count)) + (count === breakEven ? " (caching pays)" : "");
  table.replaceChildren(
    el("caption", {}, "Cost by number of requests"),
    el("thead", {}, el("tr", {}, ...["requests", ...lines.map((line) => line.name)]
      .map((title) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, ...rows.map((count) => el("tr", {}, el("th", { scope: "row" }, name(count)),
      ...lines.map((line) => cell(line, count))))));
}

function lastRequests(requests) {
  return requests < 8n ? 10n : (requests * 5n) / 4n;
}

/** Scales from requests and dollars to the drawing's points. */
function plotFor(width, lines, last) {
  const top = Math.max(...lines.map((line) => approximate(line.at(last))), Number.MIN_VALUE);
  const step = niceStep(top / (width < 480 ? 3 : 4));
  const highest = Math.ceil(top / step) * step;
  const left = 14 + 7.2 * dollars(highest, step).length;
  const right = width < 480 ? 16 : 128;
  const bottom = HEIGHT - 34;
  return {
    width, left, right: width - right, top: 14, bottom, step, highest, last: Number(last), lastRequests: last,
    hasRoom: width >= 480,
    x: (requests) => left + (Number(requests) / Number(last)) * (width - right - left),
    y: (usd) => bottom - (usd / highest) * (bottom - 14),
  };
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
}

function grid(plot) {
  const parts = [];
  for (let usd = 0; usd <= plot.highest * 1.001; usd += plot.step) {
    const y = plot.y(usd);
    parts.push(svg("line", { class: usd ? "gridline" : "axis", x1: plot.left, x2: plot.right, y1: y, y2: y }),
      svg("text", { class: "tick", x: plot.left - 8, y: y + 4, "text-anchor": "end" }, dollars(usd, plot.step)));
  }
  // There is no half a request.
  const step = Math.ceil(niceStep(plot.last / (plot.hasRoom ? 5 : 3)));
  for (let requests = 0; requests <= plot.last * 1.001; requests += step) {
    parts.push(svg("text", { class: "tick", x: plot.x(requests), y: plot.bottom + 20, "text-anchor": "middle" },
      short(requests)));
  }
  return parts;
}

function path(plot, line) {
  const steps = plot.last <= 40 ? plot.last : 2;
  const points = [];
  for (let index = 0; index <= steps; index += 1) {
    const requests = index === 0 ? 1n : (plot.lastRequests * BigInt(index)) / BigInt(steps);
    if (requests < 1n) continue;
    points.push(`${plot.x(requests).toFixed(1)},${plot.y(approximate(line.at(requests))).toFixed(1)}`);
  }
  return svg("polyline", { class: `line ${line.id}`, points: points.join(" ") });
}

/** Name each line at its end, apart enough to be read; on narrow drawings above the line. */
function labels(plot, lines) {
  const placed = lines
    .map((line) => ({ line, y: plot.y(approximate(line.at(plot.lastRequests))) }))
    .sort((a, b) => a.y - b.y);
  for (let index = 1; index < placed.length; index += 1) {
    placed[index].y = Math.max(placed[index].y, placed[index - 1].y + LABEL_GAP);
  }
  return placed.map(({ line, y }) => svg("text", plot.hasRoom
    ? { class: `name ${line.id}`, x: plot.right + 10, y: y + 4 }
    : { class: `name ${line.id}`, x: plot.right, y: Math.max(12, y - 7), "text-anchor": "end" }, line.name));
}

/** Mark the number of requests that was asked for, and its points on the lines. */
function here(plot, requests, lines) {
  if (requests > plot.lastRequests) return [];
  const x = plot.x(requests);
  return [svg("line", { class: "here", x1: x, x2: x, y1: plot.top, y2: plot.bottom }),
    ...lines.map((line) => svg("circle", { class: `dot ${line.id}`, cx: x, r: 4.5,
      cy: plot.y(approximate(line.at(requests))) }))];
}

/** Mark from where caching pays. */
function mark(plot, breakEven, near) {
  if (breakEven === null || breakEven > plot.lastRequests) return [];
  const x = plot.x(breakEven);
  const leftward = x > (plot.left + plot.right) / 2;
  const shade = svg("rect", { class: "pays", x, y: plot.top, width: Math.max(0, plot.right - x),
    height: plot.bottom - plot.top });
  return [...(near ? [shade] : []), svg("line", { class: "break-even", x1: x, x2: x, y1: plot.top, y2: plot.bottom, "data-requests": String(breakEven) }),
    svg("text", { class: "break-even-name", x: x + (leftward ? -8 : 8), y: plot.top + 12,
      "text-anchor": leftward ? "end" : "start" },
      near ? `caching pays from ${counted(whole(breakEven))} requests on` : `caching pays from ${counted(whole(breakEven))}`)];
}

function description(quoted, lines, breakEven) {
  const { requests } = quoted.work;
  const amounts = lines.map((line) => `${line.name} ${shownBeside(line.at(requests), lines[0].at(requests))}`);
  const from = breakEven === null ? "" : ` Caching pays from ${counted(whole(breakEven))} requests on.`;
  return `Cost by number of requests. At ${counted(whole(requests))}: ${amounts.join(", ")}.${from}`;
}

function dollars(usd, step) {
  const places = step >= 1 ? 0 : Math.min(8, 1 - Math.floor(Math.log10(step)));
  return usd >= 10_000 ? `$${short(usd)}` : `$${usd.toFixed(usd ? places : 0)}`;
}

function short(count) {
  const [letter, size] = [["T", 1e12], ["B", 1e9], ["M", 1e6], ["k", 1e3]].find(([, unit]) => count >= unit) ?? ["", 1];
  return `${Number((count / size).toPrecision(4))}${letter}`;
}
