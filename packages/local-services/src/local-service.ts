/** A server on this machine that a test or the demo may hurt. */
export interface LocalService extends AsyncDisposable {
  /** How clients connect, with the password in it. Stays the same after `restart()`. */
  readonly url: string;
  /** The server was given by the environment: it cannot be killed, paused or restarted, and lives on after disposal. */
  readonly external: boolean;
  /** SIGKILL to all processes of the server; resolves when they are gone. Does nothing when it has ended already. */
  kill(): Promise<void>;
  /** SIGSTOP to all processes of the server: connections stay open, nobody answers. */
  pause(): Promise<void>;
  /** SIGCONT after `pause()`. */
  resume(): Promise<void>;
  /** Stops the server if it runs, starts it on the same port with the same password, and resolves when it answers. */
  restart(): Promise<void>;
}
