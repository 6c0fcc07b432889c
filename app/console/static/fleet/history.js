// What the page has seen of each slot: the server stores no history. Read every two seconds while anybody looks.
import { get } from "../lib/api.js";
import { createStore } from "../lib/store.js";

const KEPT = 150;

/** The present state: `{fleet, queue, error}`. */
export const state = createStore({ fleet: null, queue: null, error: null });
/** Slot → list of `{memory, busy, temperature}`, oldest first; numbers from 0 to 1, temperature in °C. */
const samples = new Map();

export const historyOf = (slot) => samples.get(slot) ?? [];

export async function look() {
  try {
    const [fleet, queue] = await Promise.all([get("/v1/fleet"), get("/v1/queue")]);
    for (const slot of fleet.slots) {
      const facts = slot.device_facts;
      const memory = facts.memory_total_bytes ? facts.memory_used_bytes / facts.memory_total_bytes : null;
      const busy = facts.utilization_percent === undefined ? null : facts.utilization_percent / 100;
      samples.set(slot.name, [...historyOf(slot.name).slice(1 - KEPT), { memory, busy, temperature: facts.temperature_c ?? null }]);
    }
    state.set({ fleet, queue, error: null });
  } catch (error) {
    state.set((known) => ({ ...known, error }));
  }
}
