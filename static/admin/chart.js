// A small chart: what was, in the last minutes, as lines or as bars on each other.

import { make, setText } from "./element.js";
import { timeOfDay } from "./words.js";

const [WIDTH, HEIGHT] = [300, 72];
const SVG = "http://www.w3.org/2000/svg";

/** Seconds that a chart shows. */
export const SPAN = 300;

function drawn(name, attributes) {
  const shape = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
  return shape;
}

/** The next of 1, 2, 5, 10, 20 …, so that the scale jumps seldom. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

export class Chart {
  /**
   * `series` are names, in the order of the values; `lines` of them are lines, the others bars on each other.
   *
   * `format` makes words of a value.
   */
  constructor(place, { title, series, lines = series.length, format }) {
    Object.assign(this, { title, series, lines, format });
    this.value = make("p", { className: "value" });
    this.top = make("span", { className: "top" });
    this.plot = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.legend = make("ul", { className: "legend" });
    this.keys = series.map((name, index) => this.#key(name, index));
    this.plot.addEventListener("pointermove", (event) => this.#point(event));
    this.plot.addEventListener("pointerleave", () => this.#settle());
    place.append(make(
      "figure", { className: "box chart" },
      make("figcaption", {}, title), this.value, make("div", { className: "plot" }, this.top, this.plot), this.legend,
    ));
  }

  #key(name, index) {
    const key = make("li", { className: `s${index}`, hidden: this.series.length < 2 }, name);
    this.legend.append(key);
    return key;
  }

  /** Show samples, `{at, values}` with `null` for what is not known; `value` and `keys` are what stands beside them. */
  draw(samples, now, { value, keys = [] }) {
    Object.assign(this, { samples, from: now - SPAN, said: value });
    const highest = Math.max(0, ...samples.map(({ values }) => this.#height(values)));
    this.most = ceiling(highest);
    const isKnown = samples.some(({ values }) => values.some((value) => value !== null));
    setText(this.top, isKnown ? this.format(this.most) : "");
    this.keys.forEach((key, index) => this.#label(key, keys[index]));
    const bars = samples.flatMap((sample, index) => this.#bars(sample, samples[index - 1]));
    const lines = Array.from({ length: this.lines }, (_, index) => this.#line(index)).flat();
    this.plot.replaceChildren(...bars, ...lines);
    const span = `${this.title}, the last ${SPAN / 60} minutes`;
    this.plot.setAttribute("aria-label", `${span}: ${value}, at most ${this.format(highest)}`);
    if (!this.plot.matches(":hover")) this.#settle();
  }

  #label(key, text) {
    if (text === undefined) return;
    key.hidden = text === null;
    if (text !== null) setText(key, text);
  }

  #height(values) {
    const known = values.map((value) => value ?? 0);
    return Math.max(...known.slice(0, this.lines), known.slice(this.lines).reduce((sum, value) => sum + value, 0));
  }

  #x(at) {
    return (at - this.from) / SPAN * WIDTH;
  }

  #y(value) {
    return (HEIGHT - 2) * (1 - value / this.most) + 1;
  }

  #line(index) {
    const runs = [[]];
    for (const { at, values } of this.samples) {
      if (values[index] === null) runs.push([]);
      else runs.at(-1).push(`${this.#x(at).toFixed(1)},${this.#y(values[index]).toFixed(1)}`);
    }
    const points = runs.filter((run) => run.length > 1);
    const area = (run) => drawn("polygon", { class: `s${index}`, points: this.#under(run) });
    const line = (run) => drawn("polyline", { class: `s${index}`, points: run.join(" ") });
    return [...(this.series.length > 1 ? [] : points.map(area)), ...points.map(line)];
  }

  #under(run) {
    const x = (point) => point.split(",")[0];
    return `${x(run[0])},${HEIGHT} ${run.join(" ")} ${x(run.at(-1))},${HEIGHT}`;
  }

  #bars({ at, values }, before) {
    if (!before) return [];
    const [left, right] = [this.#x(before.at), this.#x(at)];
    let sum = 0;
    return values.slice(this.lines).flatMap((value, index) => {
      if (!value) return [];
      const [low, high] = [this.#y(sum), this.#y(sum += value)];
      const place = { x: left, y: high, width: right - left, height: low - high };
      return drawn("rect", { class: `s${this.lines + index}`, ...place });
    });
  }

  // --- what is under the pointer ---

  #point({ offsetX }) {
    if (!this.samples?.length) return;
    const at = this.from + offsetX / this.plot.clientWidth * SPAN;
    const distance = (sample) => Math.abs(sample.at - at);
    const nearest = this.samples.reduce((best, each) => (distance(each) < distance(best) ? each : best));
    setText(this.value, `${timeOfDay(nearest.at)}: ${this.#inWords(nearest.values)}`);
  }

  #inWords(values) {
    const known = values.map((value, index) => [this.series[index], value]).filter(([, value]) => value !== null);
    const told = known.length > 2 ? known.filter(([, value]) => value > 0) : known;
    const prefix = (name) => (this.series.length > 1 ? `${name} ` : "");
    return told.map(([name, value]) => prefix(name) + this.format(value)).join(", ") || this.format(0);
  }

  #settle() {
    setText(this.value, this.said ?? "");
  }
}
