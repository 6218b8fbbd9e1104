/** Prompts counted here in the browser, from a text or a file; nothing is sent anywhere. */

import { promptParts, promptTokens } from "./tokens.js";

const MAX_PROBLEMS = 20;

/** Count a pasted text: a request when it is one in JSON, else the text of one message. */
export function countText(text) {
  const params = paramsIn(text);
  return promptTokens(params ?? { messages: [{ role: "user", content: text }] });
}

/**
 * Count a file of requests, one in a line: { requests, input, maxOutput, shared, problems }.
 * Means are sums here, for whoever divides exactly; `shared` is what all prompts begin with.
 */
export async function countFile(file) {
  const count = new FileCount();
  for await (const [number, line] of linesOf(file)) {
    if (line.trim()) count.add(number, line);
  }
  return count.result();
}

class FileCount {
  requests = 0n;
  input = 0n;
  maxOutput = 0n;
  problems = [];
  problemCount = 0;
  beginning = null;

  add(number, line) {
    let read;
    try {
      read = JSON.parse(line);
    } catch {
      this.refuse(number, "not JSON");
      return;
    }
    const requests = Array.isArray(read?.requests) ? read.requests : [read];
    for (const request of requests) this.addRequest(number, request);
  }

  addRequest(number, request) {
    const params = request?.params ?? request;
    if (!Array.isArray(params?.messages)) {
      this.refuse(number, "messages: missing");
      return;
    }
    const parts = promptParts(params);
    this.requests += 1n;
    this.input += BigInt(parts.reduce((sum, part) => sum + part.tokens, 0));
    this.maxOutput += BigInt(Number.isInteger(params.max_tokens) ? params.max_tokens : 0);
    this.beginning = this.beginning === null ? parts : common(this.beginning, parts);
  }

  refuse(number, reason) {
    this.problemCount += 1;
    if (this.problems.length < MAX_PROBLEMS) this.problems.push(`line ${number}: ${reason}`);
  }

  result() {
    const { requests, input, maxOutput, problems, problemCount } = this;
    const shared = requests > 1n ? this.beginning.reduce((sum, part) => sum + part.tokens, 0) : 0;
    return { requests, input, maxOutput, shared, problems, problemCount };
  }
}

function common(ours, theirs) {
  const differs = ours.findIndex((part, index) => part.text !== theirs[index]?.text);
  return differs < 0 ? ours : ours.slice(0, differs);
}

function paramsIn(text) {
  try {
    const read = JSON.parse(text);
    const params = read?.params ?? read;
    return Array.isArray(params?.messages) ? params : null;
  } catch {
    return null;
  }
}

/** Give the lines of a file with their numbers, without holding more than one piece of it. */
async function* linesOf(file) {
  const reader = file.stream().pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let number = 0;
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) yield [(number += 1), line];
    if (done) return;
  }
}
