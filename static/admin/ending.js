// Ending sessions: one, those that were selected, or all that a choice meets. Asked before, and said afterwards.

import { call } from "./api.js";
import { ask, withProgress } from "./ask.js";
import { say, sayProblem } from "./said.js";
import { count, counted, date, named, shortRef } from "./words.js";

const STEP = 250;
const AT_ONCE = 4;
const MEANING = "Their WebSockets close, and what they hold is gone.";

/** End one. Returns whether it was this call that ended it. */
export async function endOne(ref, user) {
  const whose = user === null ? `session ${shortRef(ref)}` : `the session ${shortRef(ref)} of ${named(user)}`;
  if (!await ask(`End ${whose}?`, "Its WebSockets close, and what it holds is gone.", "End session")) return false;
  try {
    await call("DELETE", `sessions/${ref}`);
    say(`Ended ${whose}.`);
    return true;
  } catch (error) {
    if (error.status === 404) say(`Too late: ${whose} had ended already.`);
    else sayProblem(error);
    return false;
  }
}

/** End those with these refs. Returns whether anything was done. */
export async function endSelected(refs) {
  const sessions = counted(refs.length, "session");
  if (!await ask(`End ${sessions}?`, MEANING, `End ${sessions}`)) return false;
  return inSteps(refs.length, async (report, signal) => {
    const waiting = [...refs];
    let ended = 0;
    const work = async () => {
      while (waiting.length && !signal.aborted) {
        const one = await endQuietly(waiting.pop()); // before it is added: the others count meanwhile
        ended += one;
        report(ended);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return ended;
  });
}

async function endQuietly(ref) {
  try {
    await call("DELETE", `sessions/${ref}`);
    return 1;
  } catch (error) {
    if (error.status === 404) return 0; // it ended by itself
    throw error;
  }
}

/**
 * End all that a choice meets: `user`, `ip`, `before`, or none for all.
 *
 * `total` is how many that are, as far as it is known.
 */
export async function endFound(choice, total) {
  const those = inWords(choice);
  const many = total === null ? "How many that are shows as they end." : `That is ${counted(total, "session")}.`;
  if (!await ask(`End ${those}?`, `${many} ${MEANING}`, `End ${those}`)) return false;
  return inSteps(total, async (report, signal) => {
    const query = { ...(isEverybody(choice) ? { all: 1 } : choice), limit: STEP };
    let [ended, cursor] = [0, ""];
    do {
      const step = await call("DELETE", "sessions", { query: { ...query, cursor } });
      ended += step.ended;
      cursor = step.cursor;
      report(ended);
    } while (cursor && !signal.aborted);
    return ended;
  });
}

const isEverybody = ({ user, ip, before }) => !user && !ip && !before;

/** What a choice meets, in words. */
export function inWords(choice) {
  const { user, ip, before } = choice;
  if (isEverybody(choice)) return "all sessions";
  const parts = [user && `of ${named(user)}`, ip && `from ${named(ip)}`, before && `started before ${date(before)}`];
  return `all sessions ${parts.filter(Boolean).join(", ")}`;
}

async function inSteps(total, work) {
  let ended = 0;
  const counting = (report) => (done) => { ended = done; report(done); };
  try {
    let stopped = false;
    await withProgress("Ending sessions", total, progressInWords, async (report, signal) => {
      await work(counting(report), signal);
      stopped = signal.aborted;
    });
    say(`${stopped ? "Stopped: ended" : "Ended"} ${counted(ended, "session")}.`);
  } catch (error) {
    say(`Ended ${counted(ended + (error.ended ?? 0), "session")}, then: ${error.message}`, "failed");
  }
  return true;
}

const progressInWords = (done, total) => `${count(done)}${total === null ? "" : ` of ${count(total)}`} ended`;
