package org.dgms.demo.bench;

import java.util.Arrays;

/** The cores that the calling thread may run on. Threads that it starts later inherit them. */
public final class CpuAffinity {
  private CpuAffinity() {}

  /** Why it can be neither read nor set here, or null if it can. */
  public static String unavailableReason() {
    return NativeBench.unavailableReason();
  }

  /**
   * The numbers of the cores that the calling thread may run on, ascending.
   *
   * @throws UnsupportedOperationException the native library is missing
   * @throws IllegalStateException the system refuses; the message is its own
   */
  public static int[] get() {
    NativeBench.require();
    return nativeGet();
  }

  /**
   * Binds the calling thread to some cores. Those that are offline or forbidden are left out by the system.
   *
   * @param cpus core numbers, at least one
   * @throws IllegalArgumentException no core, or a negative number
   * @throws UnsupportedOperationException the native library is missing
   * @throws IllegalStateException the system refuses, such as where none of them is online; the message is
   *     its own
   */
  public static void set(int[] cpus) {
    boolean valid = cpus.length > 0;
    for (int cpu : cpus) {
      valid &= cpu >= 0 && cpu < 1024; // as many as the kernel's own cpu_set_t holds
    }
    if (!valid) {
      throw new IllegalArgumentException(
          "cpus must be at least one core number, each from 0 to 1023. Received: " + Arrays.toString(cpus));
    }
    NativeBench.require();
    nativeSet(cpus);
  }

  private static native int[] nativeGet();

  private static native void nativeSet(int[] cpus);
}
