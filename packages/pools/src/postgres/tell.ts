/** Calls a listener. What it throws is its own affair: it must not stop the others, nor the pool. */
export function tell(listener: () => unknown): void {
  try {
    // What an async one throws is a rejection, which would end the process.
    Promise.resolve(listener()).catch(() => {});
  } catch {
    // As said.
  }
}
