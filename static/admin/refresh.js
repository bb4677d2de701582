// When to ask again for what is shown: soon after something happened, now and then in any case, never while nobody looks.

const SOON = 1500; // milliseconds

export class Refresh {
  every = 10_000;
  #asked = 0;
  #wanted = false;

  /** `isShown` says whether anybody sees what `again` brings. */
  constructor(again, { isShown }) {
    Object.assign(this, { again, isShown });
    all.add(this);
  }

  soon() {
    this.#wanted = true;
  }

  look(now) {
    if (!this.isShown()) return;
    const pause = this.#wanted ? Math.max(SOON, this.every / 10) : this.every;
    if (now - this.#asked < pause) return;
    [this.#asked, this.#wanted] = [now, false];
    this.again();
  }
}

const all = new Set();

/** Look what is due. */
export function refreshAll() {
  for (const each of all) each.look(performance.now());
}
