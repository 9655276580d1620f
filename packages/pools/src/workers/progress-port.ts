import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';

/** The way of a running task's progress to its caller, in the order in which it was told of, and before the result. */
export class ProgressPort {
  /** For the thread. */
  readonly remote: MessagePort;
  readonly #port: MessagePort;
  readonly #onProgress: (value: unknown) => void;

  /** Made in the caller's own call: that is the asynchronous context in which it will hear of it. */
  constructor(onProgress: (value: unknown) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#onProgress = onProgress;
    this.#port = port1;
    this.remote = port2;
    port1.on('message', (value) => this.#tell(value));
    // The task itself keeps the process.
    port1.unref();
  }

  /** The task is over: what it told last is passed on before anybody hears of the end. */
  finish(): void {
    for (;;) {
      try {
        const left = receiveMessageOnPort(this.#port);
        if (left === undefined) break;
        this.#tell(left.message);
      } catch {
        // What was sent cannot be received: an error that is its own cause, before Node 22.
      }
    }
    this.close();
  }

  /** Nobody wants to hear of it any more. */
  close(): void {
    this.#port.close();
  }

  #tell(value: unknown): void {
    try {
      this.#onProgress(value);
    } catch {
      // A listener that throws is no failure of the task.
    }
  }
}
