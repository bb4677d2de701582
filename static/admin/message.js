// A message to open WebSockets.

import { call } from "./api.js";
import { ask } from "./ask.js";
import { element, setText } from "./element.js";
import { say } from "./said.js";
import { counted } from "./words.js";

const WHOM = { user: "User", topic: "Topic", session: "Ref" };

export class Message {
  constructor() {
    const form = element("message-form");
    form.onsubmit = (event) => { event.preventDefault(); this.#send(form.elements); };
    form.elements.for.onchange = () => this.#choose(form.elements);
    this.#choose(form.elements);
  }

  #choose({ for: choice, name }) {
    const label = WHOM[choice.value];
    element("message-whom").hidden = !label;
    name.required = Boolean(label);
    if (label) setText(element("message-whom").querySelector("label"), label);
  }

  async #send({ for: choice, name, text, json }) {
    setText(element("message-error"), "");
    try {
      const body = { message: json.checked ? parsed(text.value) : text.value };
      if (choice.value) body[choice.value] = name.value;
      else if (!await askAboutEverybody()) return;
      const { sent, others } = await call("POST", "broadcast", { body });
      const elsewhere = others ? `; ${counted(others, "other node")} told` : "";
      say(`Sent to ${counted(sent, "connection")} of this node${elsewhere}.`);
      text.value = "";
    } catch (error) {
      setText(element("message-error"), error.message);
    }
  }
}

const askAboutEverybody = () => (
  ask("Send to everybody?", "It goes to all open WebSockets of all nodes.", "Send to everybody")
);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is no JSON: ${error.message}.`);
  }
}
