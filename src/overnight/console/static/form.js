/** The calculator's form: what was asked, what is wrong with it, and how to fill it in. */

import { findBook, findModel } from "./book.js";
import { ONE, ZERO, compare, isZero, whole } from "./decimal.js";
import { byId, el, tell } from "./dom.js";
import { readDay } from "./link.js";
import { InputError, MAX_REQUESTS, MAX_TOKENS, asPercent, brief, readNumber, readShare, readWhole } from "./quantity.js";
import { workload } from "./workload.js";

const FIELDS = {
  requests: (text) => readWhole(text, MAX_REQUESTS, 1n),
  input: (text) => readNumber(text, MAX_TOKENS),
  output: (text) => readNumber(text, MAX_TOKENS),
  shared: (text) => (text.trim() ? readNumber(text, MAX_TOKENS) : ZERO),
  "hit-rate": (text) => (text.trim() ? readShare(text) : ONE),
  on: readDay,
};

/** Read the form: a question, or undefined when a field is marked as wrong. */
export function readForm(form, books, unknown) {
  const values = {};
  let sound = true;
  for (const [name, read] of Object.entries(FIELDS)) {
    sound = attempt(form.elements[name], () => { values[name] = read(form.elements[name].value); }) && sound;
  }
  const models = [...form.querySelectorAll("[name=model]:checked")].map((box) => box.value);
  tell(byId("models-error"), models.length ? "" : "choose at least one model");
  if (!sound || !models.length) return undefined;
  const question = {
    models,
    tier: form.elements.tier.value,
    book: form.elements.book.value,
    on: values.on,
    unknown,
  };
  sound = attempt(form.elements.shared, () => {
    question.work = workload({ ...values, ttl: form.elements.ttl.value, hitRate: values["hit-rate"] });
  });
  return sound && findBook(books, question.book) ? question : undefined;
}

/** Fill the form in from a question. */
export function fillForm(form, question, books) {
  const { work } = question;
  const texts = {
    requests: brief(whole(work.requests)),
    input: brief(work.input),
    output: brief(work.output),
    shared: isZero(work.shared) ? "" : brief(work.shared),
    "hit-rate": compare(work.hitRate, ONE) === 0 ? "100%" : asPercent(work.hitRate),
    on: question.on,
    ttl: work.ttl,
    tier: question.tier,
  };
  for (const [name, text] of Object.entries(texts)) form.elements[name].value = text;
  const book = findBook(books, question.book) ?? books[0];
  fillBooks(form.elements.book, books, book);
  fillModels(byId("models"), book, question.models);
  if (!isZero(work.shared)) byId("caching").open = true;
}

/** Show a book's models as boxes; those of `chosen` that it has are checked, or else its first. */
export function fillModels(container, book, chosen) {
  const ids = new Set(chosen.map((name) => findModel(book, name)?.id));
  if (!book.models.some((model) => ids.has(model.id))) ids.add(book.models[0].id);
  container.replaceChildren(...book.models.map((model) => el("label", { class: "chip" },
    el("input", { type: "checkbox", name: "model", value: model.id, checked: ids.has(model.id) }),
    el("span", {}, model.name.replace(/^Claude /, "")))));
}

function fillBooks(select, books, chosen) {
  select.replaceChildren(...books.map((book) => el("option", { value: book.name }, book.title)));
  select.value = chosen.name;
}

/** Run a reader; on a wrong input mark the field and say why. */
function attempt(field, read) {
  let problem = "";
  try {
    read();
  } catch (error) {
    if (!(error instanceof InputError || error instanceof RangeError)) throw error;
    problem = error.message;
  }
  field.setAttribute("aria-invalid", problem ? "true" : "false");
  tell(byId(`${field.id}-error`), problem);
  return !problem;
}
