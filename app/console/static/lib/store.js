// Values that components share: read, write, subscribe.
import { useEffect, useState } from "./html.js";

/** Return a value with subscribers; `set` takes a value or a function of the present one. */
export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      value = typeof next === "function" ? next(value) : next;
      listeners.forEach((listener) => listener(value));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Return the present value, and render again when it changes. */
export function useStore(store) {
  const [value, setValue] = useState(store.get());
  useEffect(() => {
    setValue(store.get());
    return store.subscribe(setValue);
  }, [store]);
  return value;
}

/** Return a value of localStorage, or `fallback`. Storage may be full or forbidden: then nothing is remembered. */
export function remembered(name, fallback) {
  try {
    const text = localStorage.getItem(`framemill.${name}`);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** Keep a value in localStorage. */
export function remember(name, value) {
  try {
    localStorage.setItem(`framemill.${name}`, JSON.stringify(value));
  } catch {
    // full or forbidden
  }
}

/** Render again every `interval_ms` while `active`; return the time, milliseconds since 1970. */
export function useNow(active = true, interval_ms = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!active) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), interval_ms);
    return () => clearInterval(timer);
  }, [active, interval_ms]);
  return now;
}

/** Call a function now and every `interval_ms` while the page is visible. */
export function useInterval(action, interval_ms, inputs = []) {
  useEffect(() => {
    action();
    const timer = setInterval(() => document.hidden || action(), interval_ms);
    return () => clearInterval(timer);
  }, inputs);
}
