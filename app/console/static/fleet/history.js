// The state of the fleet, read every two seconds while anybody looks, and how its devices were in the last hour.
import { get } from "../lib/api.js";
import { createStore } from "../lib/store.js";

const KEPT_MS = 3_600_000;
const READ_MS = 60_000;

/** The present state: `{fleet, queue, error}`. */
export const state = createStore({ fleet: null, queue: null, error: null });
/** Slot → list of `{at, memory, busy, temperature}`, oldest first: shares from 0 to 1, temperature in °C. */
let samples = new Map();
let read_at = -READ_MS;

function sampleOf(facts, at) {
  const { memory_used_bytes: used, memory_total_bytes: total, utilization_percent: percent, load_1min: load, cores, temperature_c: temperature = null } = facts;
  const busy = percent !== undefined ? percent / 100 : load !== undefined && cores ? load / cores : null;
  return { at, memory: total ? used / total : null, busy, temperature };
}

/** Return the samples of the last hour of a slot; the last one shows its present state. */
export function historyOf(slot) {
  const now = Date.now();
  return [...(samples.get(slot.name) ?? []).filter(({ at }) => at > now - KEPT_MS), sampleOf(slot.device_facts, now)];
}

async function readHistory() {
  if (performance.now() - read_at < READ_MS) return;
  read_at = performance.now();
  const { slots } = await get("/v1/fleet/history");
  samples = new Map(slots.map(({ name, samples: found }) => [name, found.map((one) => sampleOf(one, Date.parse(one.at)))]));
}

export async function look() {
  try {
    const [fleet, queue] = await Promise.all([get("/v1/fleet"), get("/v1/queue"), readHistory()]);
    state.set({ fleet, queue, error: null });
  } catch (error) {
    state.set((known) => ({ ...known, error }));
  }
}
