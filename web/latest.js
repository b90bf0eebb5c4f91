// Asynchronous helpers that end with their view: actions whose latest call wins, and a pause.

/**
 * Wraps an action so that its latest call wins: a call aborts the one before.
 * Returns a function that resolves to the action's result, or to undefined if the call was aborted.
 * @template {unknown[]} Args
 * @template Result
 * @param {AbortSignal} signal aborts all calls, when the view is left
 * @param {(signal: AbortSignal, ...args: Args) => Promise<Result>} action
 *   passes its signal to its requests, and checks it after them before it changes anything
 * @returns {(...args: Args) => Promise<Result | undefined>}
 */
export function latest(signal, action) {
  let call = new AbortController();
  return async (...args) => {
    call.abort();
    call = new AbortController();
    const own = AbortSignal.any([signal, call.signal]);
    try {
      const result = await action(own, ...args);
      return own.aborted ? undefined : result;
    } catch (error) {
      if (own.aborted) return undefined;
      throw error;
    }
  };
}

/**
 * Waits for some milliseconds. Clears its timer and rejects with an AbortError if `signal` aborts.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal.addEventListener('abort', abort, { once: true });
  });
}
