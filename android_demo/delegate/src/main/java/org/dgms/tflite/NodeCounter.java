package org.dgms.tflite;

/**
 * What one operator that a {@link DgmsDelegate} runs, or one chain of them, has cost so far. Immutable;
 * {@link DgmsDelegate#counters} reads it. Interpreters of one delegate that run the same model share an
 * operator's counter.
 */
public final class NodeCounter {
  private final String name;
  private final String kernel;
  private final long calls;
  private final long macs;
  private final long packedBytes;
  private final long totalNanos;
  private final long fastestNanos;

  /** Called by the native library only, so the package's rules for R8 keep it. */
  NodeCounter(
      String name,
      String kernel,
      long calls,
      long macs,
      long packedBytes,
      long totalNanos,
      long fastestNanos) {
    this.name = name;
    this.kernel = kernel;
    this.calls = calls;
    this.macs = macs;
    this.packedBytes = packedBytes;
    this.totalNanos = totalNanos;
    this.fastestNanos = fastestNanos;
  }

  /** Name of the operator's output tensor, of a chain's last one. */
  public String name() {
    return name;
  }

  /**
   * The kernel of the last call, e.g. {@code "f32_5x16_neon"}; {@code "chain(3) f32_5x16_neon"} for three
   * layers that run depth first, as one, the last of them with that kernel.
   */
  public String kernel() {
    return kernel;
  }

  /** How often it ran. */
  public long calls() {
    return calls;
  }

  /** Multiply-adds of the last call. */
  public long macs() {
    return macs;
  }

  /** Memory of its packed weights, in bytes. */
  public long packedBytes() {
    return packedBytes;
  }

  /** Time of all calls, in nanoseconds, by the monotonic clock around the operator. */
  public long totalNanos() {
    return totalNanos;
  }

  /** Time of the fastest call, in nanoseconds. */
  public long fastestNanos() {
    return fastestNanos;
  }

  @Override
  public String toString() {
    return name + " (" + kernel + "): " + calls + " calls, " + totalNanos + " ns, fastest " + fastestNanos
        + " ns, " + macs + " multiply-adds, " + packedBytes + " bytes";
  }
}
