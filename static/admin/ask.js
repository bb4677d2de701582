// One question at a time, and how far what was agreed to is.

import { element } from "./element.js";

/** Ask; true where the answer is yes. Escape is no. */
export function ask(title, text, yes) {
  show(title, text);
  element("ask-yes").textContent = yes;
  element("ask-yes").hidden = false;
  element("ask-no").textContent = "Cancel";
  element("ask-progress").hidden = true;
  // The answer is given when the dialog has closed: its event comes late, and must not meet what is shown next.
  return new Promise((resolve) => {
    let answer = false;
    element("ask-yes").onclick = () => { answer = true; element("ask").close(); };
    element("ask-no").onclick = () => element("ask").close();
    element("ask").onclose = () => { if (!element("ask").open) resolve(answer); };
    element("ask").showModal();
    element("ask-no").focus(); // a key too many must not end anything
  });
}

/**
 * Do something long in the dialog, with a way to stop it: `work(report, signal)`.
 *
 * `report(done)` says how many of `total` are done; with a total of `null`, that it goes on. Escape stops it, too.
 */
export async function withProgress(title, total, inWords, work) {
  const stopping = new AbortController();
  show(title, "What has been done stays done when you stop.");
  element("ask-yes").hidden = true;
  element("ask-no").textContent = "Stop";
  element("ask-no").onclick = () => stopping.abort();
  element("ask").onclose = () => stopping.abort();
  const bar = element("ask-bar");
  if (total === null) bar.removeAttribute("value");
  else [bar.max, bar.value] = [Math.max(1, total), 0];
  element("ask-progress").hidden = false;
  element("ask-count").textContent = "";
  element("ask").showModal();
  try {
    return await work((done) => {
      if (total !== null) bar.value = Math.min(done, bar.max);
      element("ask-count").textContent = inWords(done, total);
    }, stopping.signal);
  } finally {
    await close();
  }
}

function close() {
  return new Promise((resolve) => {
    element("ask").onclose = resolve;
    if (element("ask").open) element("ask").close();
    else resolve();
  });
}

function show(title, text) {
  element("ask-title").textContent = title;
  element("ask-text").textContent = text;
}
