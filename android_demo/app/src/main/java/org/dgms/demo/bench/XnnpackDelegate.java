package org.dgms.demo.bench;

import org.tensorflow.lite.Delegate;
import org.tensorflow.lite.TensorFlowLite;

/**
 * XNNPACK with a chosen number of threads.
 *
 * <p>TFLite applies XNNPACK by itself, but in 2.16.1 {@code Interpreter.Options.setNumThreads} does not reach
 * that one: it always runs on one thread. A fair comparison therefore makes XNNPACK here, by the functions
 * that TFLite's own library exports, and switches the default one off ({@code setUseXNNPACK(false)}).
 */
public final class XnnpackDelegate implements Delegate {
  private long handle; // 0 after close(); guarded by `this`

  /**
   * Makes a delegate.
   *
   * @param numThreads 1 to {@link BenchmarkSettings#MAX_THREADS}, the calling thread included
   * @throws IllegalArgumentException for another number
   * @throws UnsupportedOperationException the native library is missing, or TFLite's has no XNNPACK; the
   *     message says which
   */
  public XnnpackDelegate(int numThreads) {
    if (numThreads < 1 || numThreads > BenchmarkSettings.MAX_THREADS) {
      throw new IllegalArgumentException(
          "numThreads must be from 1 to " + BenchmarkSettings.MAX_THREADS + ". Received: " + numThreads);
    }
    NativeBench.require();
    TensorFlowLite.init(); // the native half finds TFLite's library by name, among the loaded ones
    handle = nativeCreate(numThreads);
  }

  /** Why no such delegate can be made, or null. */
  public static String unavailableReason() {
    return NativeBench.unavailableReason();
  }

  /**
   * The address of the native delegate, for TFLite.
   *
   * @throws IllegalStateException the delegate is closed
   */
  @Override
  public synchronized long getNativeHandle() {
    if (handle == 0) {
      throw new IllegalStateException(
          "an XnnpackDelegate must not be used after close(). Received: a closed one");
    }
    return handle;
  }

  /** Releases the delegate; a second time does nothing. Its interpreters must have been closed before. */
  @Override
  public synchronized void close() {
    if (handle != 0) {
      nativeDelete(handle);
      handle = 0;
    }
  }

  /** Never 0: throws UnsupportedOperationException instead. */
  private static native long nativeCreate(int numThreads);

  private static native void nativeDelete(long handle);
}
