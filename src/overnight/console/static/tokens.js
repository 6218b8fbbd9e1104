/**
 * How many tokens a prompt has, by the rule of overnight/tokens.py: an ASCII character is a
 * quarter of a token, one of two UTF-8 bytes 5/8, of three bytes 1, of four bytes 11/8; each text
 * is rounded up. Messages, tools, images and pages add fixed costs.
 */

const MESSAGE_TOKENS = 4;
const TOOL_USE_TOKENS = 346;
const TOOL_TOKENS = 8;
const TOOL_CALL_TOKENS = 12;
const IMAGE_TOKENS = 1600;
const PAGE_TOKENS = 2500;
const PAGE_BASE64_CHARACTERS = 100_000;

export function textTokens(text) {
  let eighths = 0;
  for (let index = 0; index < text.length; index += 1) {
    const point = text.codePointAt(index);
    if (point > 0xffff) index += 1;
    eighths += point < 0x80 ? 2 : point < 0x800 ? 5 : point < 0x10000 ? 8 : 11;
  }
  return Math.ceil(eighths / 8);
}

/** Count the whole prompt of a Messages request, given as decoded JSON. */
export function promptTokens(params) {
  return promptParts(params).reduce((sum, part) => sum + part.tokens, 0);
}

/** Give the prompt as the parts a cache sees, in its order: { text, tokens } each. */
export function promptParts(params) {
  const parts = [];
  const add = (value, tokens) => parts.push({ text: JSON.stringify(value), tokens });
  const tools = Array.isArray(params.tools) && params.tools.length ? params.tools : [];
  if (tools.length) add("tools", TOOL_USE_TOKENS);
  for (const tool of tools) add(tool, TOOL_TOKENS + other(tool));
  const format = isObject(params.output_config) ? params.output_config.format : undefined;
  if (format !== undefined && format !== null) add(format, jsonTokens(format));
  if (params.system && params.system.length !== 0) {
    add(params.system, MESSAGE_TOKENS + contentTokens(params.system));
  }
  for (const message of Array.isArray(params.messages) ? params.messages : []) {
    const content = isObject(message) ? message.content : message;
    add(message?.role ?? "", MESSAGE_TOKENS);
    for (const block of Array.isArray(content) ? content : [content]) {
      add(block, Array.isArray(content) ? blockTokens(block) : contentTokens(block));
    }
  }
  return parts;
}

const BLOCKS = {
  text: (block) => (typeof block.text === "string" ? textTokens(block.text) : jsonTokens(block.text)),
  image: () => IMAGE_TOKENS,
  document: (block) => documentTokens(block.source),
  tool_use: toolCall,
  server_tool_use: toolCall,
  tool_result: (block) => TOOL_CALL_TOKENS + contentTokens(block.content),
  search_result: (block) =>
    contentTokens(block.title) + contentTokens(block.source) + contentTokens(block.content),
  thinking: (block) => contentTokens(block.thinking),
};

function blockTokens(block) {
  if (typeof block === "string") return textTokens(block);
  if (!isObject(block)) return jsonTokens(block);
  return Object.hasOwn(BLOCKS, block.type) ? BLOCKS[block.type](block) : other(block);
}

function contentTokens(content) {
  if (typeof content === "string") return textTokens(content);
  if (Array.isArray(content)) return content.reduce((sum, block) => sum + blockTokens(block), 0);
  return content === undefined || content === null ? 0 : jsonTokens(content);
}

function toolCall(block) {
  return TOOL_CALL_TOKENS + contentTokens(block.name) + jsonTokens(block.input);
}

function documentTokens(source) {
  if (!isObject(source)) return PAGE_TOKENS;
  if (source.type === "text") return contentTokens(source.data);
  if (source.type === "content") return contentTokens(source.content);
  if (source.type !== "base64") return PAGE_TOKENS;
  const characters = typeof source.data === "string" ? source.data.length : 0;
  return PAGE_TOKENS * Math.max(1, Math.ceil(characters / PAGE_BASE64_CHARACTERS));
}

function other(block) {
  if (!isObject(block)) return jsonTokens(block);
  const { cache_control: _, ...rest } = block;
  return jsonTokens(rest);
}

function jsonTokens(value) {
  return textTokens(JSON.stringify(value ?? null));
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
