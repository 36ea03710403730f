// What can be done with a session, asked for before what cannot be undone.

import { Refused, api, attempt, confirm, toast } from "./page.js";
import { duration, shortId } from "./format.js";

export const titleOf = (session) => session.name || shortId(session.id);

const path = (session, verb) => `v1/sessions/${session.id}${verb ? `/${verb}` : ""}`;

export const interrupt = (session) => attempt(() => api("POST", path(session, "interrupt")), `${titleOf(session)} is interrupted.`);

export async function restart(session) {
  const text = "What runs is ended, and all variables are lost. Files in /workspace stay.";
  if (!await confirm({ title: `Restart the kernel of ${titleOf(session)}?`, text, verb: "Restart" })) return;
  await attempt(() => api("POST", path(session, "restart")), `The kernel of ${titleOf(session)} is started anew.`);
}

export const extend = (session) => attempt(async () => {
  await api("POST", path(session, "extend"), {});
  toast(session.ttl_seconds ? `${titleOf(session)} has ${duration(session.ttl_seconds)} again.` : `${titleOf(session)} lives until it is ended.`);
});

const LOSS = "Its kernel, its variables and all files that are not in a named workspace are lost.";
const LOSSES = "Their kernels, variables and all files that are not in a named workspace are lost.";

/** End one session; resolves to whether it was. */
export async function end(session) {
  if (!await confirm({ title: `End ${titleOf(session)}?`, text: LOSS, verb: "End session" })) return false;
  return attempt(() => api("DELETE", path(session)), `${titleOf(session)} is ended.`);
}

/** End several, a few at a time; resolves to the ids of those that are ended. */
export async function endAll(sessions) {
  if (sessions.length === 1) return await end(sessions[0]) ? [sessions[0].id] : [];
  const names = sessions.slice(0, 6).map(titleOf).join(", ") + (sessions.length > 6 ? ` and ${sessions.length - 6} more` : "");
  if (!await confirm({ title: `End ${sessions.length} sessions?`, text: [names, LOSSES], verb: "End them" })) return [];
  const ended = [];
  const refusals = [];
  const queue = [...sessions];
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let session = queue.shift(); session; session = queue.shift()) {
      try {
        await api("DELETE", path(session));
        ended.push(session.id);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        refusals.push(error.message);
      }
    }
  }));
  if (ended.length) toast(`${ended.length === 1 ? "One session is" : `${ended.length} sessions are`} ended.`);
  if (refusals.length) toast(`${refusals.length} could not be ended: ${refusals[0]}`, "bad");
  return ended;
}
