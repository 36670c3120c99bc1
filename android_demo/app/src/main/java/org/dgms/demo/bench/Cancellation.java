package org.dgms.demo.bench;

/** A wish to stop, made by any thread and heeded by the runner's. */
final class Cancellation {
  private boolean cancelled;

  synchronized void cancel() {
    cancelled = true;
    notifyAll();
  }

  /** Throws if the wish was made. */
  synchronized void check() throws BenchmarkException {
    if (cancelled) {
      throw new BenchmarkException(BenchmarkException.Reason.CANCELLED, "the benchmark was cancelled", null);
    }
  }

  /** Waits, but no longer than until the wish is made. An interrupt of the thread counts as one. */
  synchronized void sleep(long ms) throws BenchmarkException {
    long end = System.nanoTime() + ms * 1000000;
    try {
      for (long left = ms; left > 0 && !cancelled; left = (end - System.nanoTime()) / 1000000) {
        wait(left);
      }
    } catch (InterruptedException e) {
      cancelled = true;
      Thread.currentThread().interrupt();
    }
    check();
  }
}
