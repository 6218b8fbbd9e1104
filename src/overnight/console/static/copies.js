/** The question and its answer in other forms: link, command, Python, Markdown, CSV. */

import { LABELS } from "./book.js";
import { ONE, compare, isZero, plain, whole } from "./decimal.js";
import { fragment } from "./link.js";
import { exact, shownBeside, shownSmall } from "./money.js";
import { compact, counted } from "./quantity.js";
import { usage } from "./workload.js";

/** Give the text to copy for each form. `question` is what the link says, `quoted` the answer. */
export const COPIES = {
  link: (question) => `${location.href.split("#")[0]}#${fragment(question)}`,
  command: asCommand,
  python: asPython,
  markdown: (_, quoted) => quoted.options.map((option) => asMarkdown(quoted, option)).join("\n\n"),
  csv: (_, quoted) => asCsv(quoted),
};

function asCommand({ work, models, tier, book, on }) {
  const flags = models.map((model) => `--model ${quotedForShell(model)}`);
  flags.push(`--requests ${compact(whole(work.requests))}`);
  flags.push(`--in ${compact(work.input)}`, `--out ${compact(work.output)}`);
  if (!isZero(work.shared)) {
    flags.push(`--shared ${compact(work.shared)}`, `--cache-ttl ${work.ttl}`);
    if (compare(work.hitRate, ONE) !== 0) flags.push(`--hit-rate ${plain(work.hitRate)}`);
  }
  if (tier !== "batch") flags.push(`--tier ${tier}`);
  flags.push(`--price-book ${quotedForShell(book)}`, `--on ${on}`);
  return `overnight price ${flags.join(" ")}`;
}

function asPython({ work, models, tier, book, on }) {
  const counts = Object.entries(usage(work)).filter(([, count]) => count);
  const [year, month, day] = on.split("-").map(Number);
  return [
    "from datetime import date",
    "",
    "import overnight",
    "",
    "usage = {",
    ...counts.map(([name, count]) => `    "${name}_tokens": ${pythonNumber(count)},`),
    "}",
    `for model in [${models.map((model) => JSON.stringify(model)).join(", ")}]:`,
    "    cost = overnight.cost(",
    `        usage, model, "${tier}", on=date(${year}, ${month}, ${day}), `
      + `book=${JSON.stringify(book)}, requests=${pythonNumber(work.requests)}`,
    "    )",
    "    print(model, cost.usd, cost.standard_usd, cost.saving_usd)",
  ].join("\n");
}

function asMarkdown(quoted, { cost }) {
  const total = cost.standardUsd;
  const amount = (usd) => shownBeside(usd, total);
  const rows = cost.lines.map((line) => [LABELS[line.class], counted(whole(line.count)),
    shownSmall(line.rate), amount(line.usd), shownSmall(line.standardRate), amount(line.standardUsd)]);
  const atLeast = (usd, complete) => `${complete ? "" : "at least "}${amount(usd)}`;
  rows.push(["**total**", "", "", `**${atLeast(cost.usd, cost.complete)}**`, "",
    atLeast(total, cost.standardComplete)]);
  const written = rows.map((row) => `| ${row.join(" | ")} |`);
  return [`| ${cost.name} | count | batch / M | batch | standard / M | standard |`,
    "|---|--:|--:|--:|--:|--:|", ...written, "",
    `${counted(whole(quoted.work.requests))} requests, prices of ${quoted.on}, ${quoted.book.name}.`].join("\n");
}

function asCsv(quoted) {
  const rows = [["model", "token_class", "count", "batch_rate_usd", "batch_usd", "standard_rate_usd",
    "standard_usd", "price_book", "on"]];
  const amount = (usd) => (usd ? exact(usd) : "");
  for (const { cost } of quoted.options) {
    for (const line of cost.lines) {
      rows.push([cost.model ?? cost.asked, line.class, line.count, amount(line.rate), amount(line.usd),
        amount(line.standardRate), amount(line.standardUsd), quoted.book.name, quoted.on]);
    }
  }
  return `${rows.map((row) => row.map(csvField).join(",")).join("\r\n")}\r\n`;
}

function csvField(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function quotedForShell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function pythonNumber(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, "_");
}
