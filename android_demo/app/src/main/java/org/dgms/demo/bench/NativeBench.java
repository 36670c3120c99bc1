package org.dgms.demo.bench;

/**
 * Loads libdgms_bench.so, which has what Java cannot do: XNNPACK with a chosen number of threads, and CPU
 * affinity.
 */
final class NativeBench {
  private static final String NAME = "dgms_bench";
  private static final String WHY_NOT = load(); // null: it is there

  private NativeBench() {}

  private static String load() {
    try {
      System.loadLibrary(NAME);
      return null;
    } catch (LinkageError | SecurityException error) {
      return "the native library `" + NAME + "` must be loadable. Received: " + error.getMessage();
    }
  }

  /** Why the library is not there, or null if it is. */
  static String unavailableReason() {
    return WHY_NOT;
  }

  /** Throws UnsupportedOperationException if the library is not there. */
  static void require() {
    if (WHY_NOT != null) {
      throw new UnsupportedOperationException(WHY_NOT);
    }
  }
}
