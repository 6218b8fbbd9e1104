/** The parts of the page around the calculator: theme, anchors, code, questionnaire. */

import { copy } from "./clipboard.js";
import { byId, el } from "./dom.js";
import { InputError, MAX_REQUESTS, readWhole } from "./quantity.js";
import { decide } from "./questionnaire.js";

const STORAGE = "overnight-theme";

/** Let a person choose light, dark or what the system says. */
export function wireTheme(select) {
  select.value = document.documentElement.dataset.theme ?? "system";
  select.addEventListener("change", () => {
    const chosen = select.value === "system" ? null : select.value;
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    try {
      if (chosen) localStorage.setItem(STORAGE, chosen);
      else localStorage.removeItem(STORAGE);
    } catch {
      // Storage is switched off: the choice lasts as long as the page.
    }
  });
}

/** Let links within the page move it without touching the hash, which holds the question. */
export function wireAnchors() {
  for (const link of document.querySelectorAll("a[href^='#']:not([href*='='])")) {
    link.addEventListener("click", (event) => {
      const target = byId(link.getAttribute("href").slice(1));
      if (!target) return;
      event.preventDefault();
      goTo(target);
    });
  }
}

/** Scroll to a part of the page and let the keyboard go on from there. */
export function goTo(target) {
  target.setAttribute("tabindex", "-1");
  target.focus({ preventScroll: true });
  target.scrollIntoView();
}

/** Copy on a click and say so on the button, and to screen readers. */
export function wireCopy(button, text, announce) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const worked = await copy(text());
    announce(worked ? `${label}: copied` : "The browser does not allow copying: select the text instead");
    button.dataset.copied = worked ? "yes" : "no";
    setTimeout(() => delete button.dataset.copied, 1600);
  });
}

/** Show one sample at a time, as tabs that arrow keys move through. */
export function wireTabs(list) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
  };
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1, Home: -index, End: tabs.length - 1 - index }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      const next = tabs[(index + move + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  }
  list.hidden = false;
  choose(tabs[0]);
}

/** Fill address and model into the samples. */
export function fillSamples(samples, { baseUrl, model }) {
  for (const [id, text] of Object.entries(samples)) {
    byId(`code-${id}`).textContent = text.replaceAll("{{base_url}}", baseUrl).replaceAll("{{model}}", model);
  }
}

/** Answer the questionnaire while it is filled in. */
export function wireQuestionnaire(form, answer, rules) {
  const update = () => {
    const { verdict, reasons } = decide(answersOf(form), rules);
    const words = { batch: "Use a batch.", "real-time": "Use the real-time API.", either: "It depends." }[verdict];
    answer.dataset.verdict = verdict;
    answer.replaceChildren(el("strong", {}, words ?? "Answer the first question."),
      ...(reasons.length ? [` ${capitalized(reasons.join("; "))}.`] : []));
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
}

function answersOf(form) {
  const { waiting, deadline, requests, repeats } = form.elements;
  const yesOrNo = (value) => ({ yes: true, no: false })[value];
  return {
    waiting: yesOrNo(waiting.value),
    deadlineH: deadline.value === "" ? undefined : Number(deadline.value),
    requests: count(requests.value),
    repeats: yesOrNo(repeats.value),
  };
}

function count(text) {
  try {
    return Number(readWhole(text, MAX_REQUESTS, 0n));
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

function capitalized(text) {
  return text[0].toUpperCase() + text.slice(1);
}
