// Actions on sessions. Those that cannot be undone ask for confirmation first.

import { Refused, api, attempt, confirm, toast } from "./page.js";
import { duration, shortId } from "./format.js";

export const titleOf = (session) => session.name || shortId(session.id);

const path = (session, verb) => `v1/sessions/${session.id}${verb ? `/${verb}` : ""}`;

export const interrupt = (session) =>
  attempt(() => api("POST", path(session, "interrupt")), `Interrupted ${titleOf(session)}.`);

export async function restart(session) {
  const text = "Running code stops, and all variables are lost. Files in /workspace stay.";
  if (!(await confirm({ title: `Restart the kernel of ${titleOf(session)}?`, text, verb: "Restart" }))) return;
  await attempt(() => api("POST", path(session, "restart")), `Restarted the kernel of ${titleOf(session)}.`);
}

export const extend = (session) =>
  attempt(async () => {
    await api("POST", path(session, "extend"), {});
    toast(
      session.ttl_seconds
        ? `${titleOf(session)} now has ${duration(session.ttl_seconds)} left.`
        : `${titleOf(session)} has no time limit.`,
    );
  });

const LOSS = "Its kernel, its variables and all files that are not in a named workspace are lost.";
const LOSSES = "Their kernels, variables and all files that are not in a named workspace are lost.";

/** End one session, after confirmation; resolve to whether it ended. */
export async function end(session) {
  if (!(await confirm({ title: `End ${titleOf(session)}?`, text: LOSS, verb: "End session" }))) return false;
  return attempt(() => api("DELETE", path(session)), `Ended ${titleOf(session)}.`);
}

/** End several sessions, four at a time, after confirmation; resolve to the ids of those that ended. */
export async function endAll(sessions) {
  if (sessions.length === 1) return (await end(sessions[0])) ? [sessions[0].id] : [];
  const names =
    sessions.slice(0, 6).map(titleOf).join(", ") + (sessions.length > 6 ? ` and ${sessions.length - 6} more` : "");
  if (!(await confirm({ title: `End ${sessions.length} sessions?`, text: [names, LOSSES], verb: "End them" })))
    return [];
  const ended = [];
  const refusals = [];
  const queue = [...sessions];
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let session = queue.shift(); session; session = queue.shift()) {
        try {
          await api("DELETE", path(session));
          ended.push(session.id);
        } catch (error) {
          if (!(error instanceof Refused)) throw error;
          refusals.push(error.message);
        }
      }
    }),
  );
  if (ended.length) toast(`Ended ${ended.length === 1 ? "one session" : `${ended.length} sessions`}.`);
  if (refusals.length) toast(`Could not end ${refusals.length}: ${refusals[0]}`, "bad");
  return ended;
}
