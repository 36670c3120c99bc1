package org.dgms.demo.bench;

/**
 * A benchmark could not be carried out as a whole; the failure of a single path is in its {@link PathResult}
 * instead.
 */
public final class BenchmarkException extends Exception {
  /** What kind of failure it is, for a text that tells what to do. */
  public enum Reason {
    /** The file is missing or cannot be read. */
    MODEL_UNREADABLE,
    /**
     * TFLite's own kernels cannot open or run the file either: it is damaged, or no model, or has unknown
     * operators.
     */
    MODEL_BROKEN,
    /** The model is sound, but its inputs are of a kind that this program cannot fill. */
    MODEL_UNSUPPORTED,
    /** TFLite's own native library cannot be loaded. */
    RUNTIME_UNAVAILABLE,
    /** Memory ran out. */
    OUT_OF_MEMORY,
    /** {@link BenchmarkRunner#cancel} was called. */
    CANCELLED
  }

  private static final long serialVersionUID = 1L;

  private final Reason reason;

  BenchmarkException(Reason reason, String message, Throwable cause) {
    super(message, cause);
    this.reason = reason;
  }

  /** What kind of failure it is. */
  public Reason reason() {
    return reason;
  }
}
